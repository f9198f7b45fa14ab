"""What the retrieval browser shows: every ranking of the dataset that may be shown, votes that add up, gaps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import make_pipeline

from dlcr.data import load_manifest
from dlcr.params import Params, load_params
from dlcr.reporting import rankings
from dlcr.reporting.album import Album
from dlcr.reporting.rankings import choose_queries, gather_retrievals, load_all_rankings, load_votes
from dlcr.reporting.results import Result, load_result

SHOWN = ("baseline", "paired", "progressive", "baseline-on-night")


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    return load_params(repository / "profiles" / "minicc.yaml")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    root = tmp_path_factory.mktemp("pipeline")
    make_pipeline(root, params, missing=tuple(set(params.evaluations) - set(SHOWN)))
    return root


@pytest.fixture(scope="module")
def results(root: Path, params: Params) -> dict[str, Result | None]:
    return {name: load_result(root / "evaluations" / name, name) for name in SHOWN} | {"oracle": None}


@pytest.fixture(scope="module")
def album() -> Album:
    return Album()


@pytest.fixture(scope="module")
def gathered(root: Path, params: Params, results: dict, album: Album) -> tuple[list[dict], list[dict], list[int]]:
    return gather_retrievals(root, params, results, load_manifest(root / "data" / "minicc"), album)


def test_every_query_with_every_ranking(gathered: tuple, album: Album, root: Path) -> None:
    items, shown, pair = gathered
    kinds = ("plain", "refined")
    assert [(one["name"], one["kind"]) for one in shown] == [(name, kind) for name in SHOWN[:3] for kind in kinds]
    assert [shown[place]["row"] for place in pair] == ["1", "6"]
    assert [one["row"] for one in shown] == ["1", "", "4", "", "5", "6"]
    for place, one in enumerate(shown):
        table = pd.read_parquet(root / "evaluations" / one["name"] / "rankings.parquet")
        scores = pd.read_parquet(root / "evaluations" / one["name"] / "per_query.parquet")
        scores["hit"] = (scores["rank"] == 1).astype(int)
        scores = scores[(scores["setting"] == "cc") & (scores["kind"] == one["kind"])].set_index(["seed", "image_id"])
        table = table[table["refined"] == (one["kind"] == "refined")].sort_values("rank")
        assert {item["id"] for item in items} == set(table["query"])
        for item in items:
            wanted = table[table["query"] == item["id"]]
            hits = item["ranked"][place]["hits"]
            assert [album.pictures[at][0] for at, _ in hits] == wanted["gallery"].tolist()
            assert [album.pictures[at][2] == item["subject"] for at, _ in hits] == wanted["correct"].tolist()
            found = [[scores.loc[(seed, item["id"])][column] for column in ("hit", "ap")] for seed in one["seeds"]]
            np.testing.assert_allclose(item["ranked"][place]["seeds"], found, atol=5e-4)
    right = [[item["ranked"][place]["seeds"][0][0] for place in pair] for item in items]
    kinds = {(0, 1): "fixed", (1, 0): "broken", (0, 0): "failed", (1, 1): "right"}
    assert [item["kind"] for item in items] == [kinds[tuple(pair)] for pair in right]


def test_votes_add_up_to_the_scores(gathered: tuple, album: Album, params: Params) -> None:
    items, shown, _ = gathered
    refined = {str(place) for place, one in enumerate(shown) if one["kind"] == "refined"}
    for item in items:
        assert set(item["votes"]) == refined
        for votes in item["votes"].values():
            assert list(votes["sources"]) == [str(number) for number in range(-1, len(item["variants"]))]
            assert all(len(source["hits"]) == params.refine.m for source in votes["sources"].values())
            cast = [
                (album.pictures[at][2], vote)
                for source in votes["sources"].values()
                for at, _, vote, counted in source["hits"]
                if counted
            ]
            own = [(album.pictures[at][2], vote) for at, _, vote, counted in votes["sources"]["-1"]["hits"] if counted]
            scores = votes["scores"]["hits"]
            assert {album.pictures[at][2] for at, _, _ in scores} == {person for person, _ in cast}
            assert scores == sorted(scores, key=lambda score: -score[1])
            for at, *found in scores:
                for total, counted in zip(found, (cast, own), strict=True):
                    added = sum(vote for person, vote in counted if person == album.pictures[at][2])
                    assert total == pytest.approx(added, abs=0.001 * len(counted))  # each is rounded


def test_private_evaluations_are_no_choice(params: Params, results: dict) -> None:
    private = {"paired": params.evaluations["paired"]}
    hidden = params.model_copy(update={"private": params.private.model_copy(update={"evaluations": private})})
    assert {ranking.result.name for ranking in load_all_rankings(hidden, results)} == {"baseline", "progressive"}


def test_without_the_rows_of_table_a1_the_first_and_the_last(root: Path, params: Params, results: dict) -> None:
    tables = params.report.tables | {"a1": {}}
    bare = params.model_copy(update={"report": params.report.model_copy(update={"tables": tables})})
    manifest = load_manifest(root / "data" / "minicc")
    items, shown, pair = gather_retrievals(root, bare, {"paired": results["paired"]}, manifest, Album())
    assert (len(shown), pair) == (2, [0, 1])
    assert all(item["variants"] == [] for item in items)  # nothing says which set refines
    assert gather_retrievals(root, bare, {"paired": None}, manifest, Album()) == ([], [], [])


def test_seeds_that_lack_a_query_are_gaps(params: Params, results: dict) -> None:
    result = results["paired"]
    few = result.queries[(result.queries["seed"] == 0) | (result.queries["image_id"] != "query/00/00.png")]
    ranking = load_all_rankings(params, {"paired": Result("paired", result.folder, result.scores, few)})[0]
    assert ranking.seeds() == params.seeds
    assert [outcome is None for outcome in ranking.outcomes()["query/00/00.png"]] == [False] + [True] * (
        len(params.seeds) - 1
    )


def test_votes_that_were_not_recorded_are_gaps(
    root: Path, params: Params, results: dict, gathered: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rankings, "load_votes", lambda result: None)
    items, _, _ = gather_retrievals(root, params, results, load_manifest(root / "data" / "minicc"), Album())
    assert [item["id"] for item in items] == [item["id"] for item in gathered[0]]
    assert all(item["votes"] == {} for item in items)
    assert len(items[0]["variants"]) > 1  # the variants are there all the same


def test_votes_file_is_checked(tmp_path: Path, results: dict) -> None:
    result = results["baseline"]
    assert load_votes(Result(result.name, tmp_path, result.scores, result.queries)) is None
    pd.DataFrame({"query": ["a"]}).to_parquet(tmp_path / "votes.parquet")
    with pytest.raises(ValueError, match=r"votes\.parquet: no column variant, rank, .*; it has query"):
        load_votes(Result(result.name, tmp_path, result.scores, result.queries))


def test_queries_of_each_category_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"query": [f"q{number:03d}" for number in range(400)], "category": ["fixed"] + [""] * 399})
    monkeypatch.setattr(rankings, "QUERIES", 10)
    chosen = choose_queries(table, 3)
    assert len(chosen) == 10
    assert [category for _, category in chosen].index("fixed") <= 1  # rare, and not lost
    assert chosen == choose_queries(table.sample(frac=1, random_state=0), 3)  # whatever the order of the file
    assert chosen != choose_queries(table, 4)
