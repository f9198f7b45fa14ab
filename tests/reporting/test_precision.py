"""The table that says how precise the differences are, on made-up evaluations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import make_data, make_evaluation

from dlcr.params import load_params
from dlcr.reporting.results import load_result, query_scores
from dlcr.reporting.tables.precision import FORESEEN, numbers, view
from dlcr.reporting.tables.specs import Sources

SHARES = {"baseline": 0.3, "standard": 0.35, "paired": 0.6}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    root = tmp_path_factory.mktemp("precision")
    manifest = make_data(root, "minicc")
    queries, gallery = (manifest[manifest["split"] == split] for split in ("query", "gallery"))
    results = {}
    for name, share in SHARES.items():
        folder = root / "evaluations" / name
        make_evaluation(folder, queries["image_id"].tolist(), gallery, manifest, share, [0, 1, 2])
        results[name] = load_result(folder)
    return Sources(load_params("profiles/minicc.yaml"), results, pd.DataFrame(), {}, None)


def test_each_row_is_compared_with_the_first_and_the_one_before(sources: Sources) -> None:
    table = numbers(sources)
    assert set(zip(table["row"], table["base"], strict=True)) == {("2", "1"), ("4", "1")}  # 3 was not run, nor 5
    row = table.query("row == '4' and measure == 'map'").iloc[0]
    a, b = (query_scores(sources.results[name], "plain", "map") for name in ("paired", "baseline"))
    assert row["difference"] == pytest.approx((a - b).to_numpy().mean())
    assert (row["seeds"], row["people"]) == (3, a.index.get_level_values("subject").nunique())
    assert row[["of_seeds", "of_people", "of_rest"]].sum() == pytest.approx(100)
    errors = [row[f"error_{seeds}"] for seeds in FORESEEN]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > row["error"] > errors[-1]
    assert 2 * row["error"] < row["smallest"]


def test_what_a_single_seed_cannot_say_is_left_out(sources: Sources) -> None:
    alone = {}
    for name, result in sources.results.items():
        queries = result.queries[result.queries["seed"] == 1]
        alone[name] = type(result)(name, Path(name), result.scores, queries)
    table = numbers(Sources(sources.params, alone, pd.DataFrame(), {}, None))
    assert np.isfinite(table["error"]).all()
    assert table["error_8"].isna().all()
    shown = view(table.iloc[0].to_dict(), "measured")
    assert (shown["Rows"], str(shown["Seeds, people, rest"]), str(shown["Error with 8 seeds"])) == ("2 - 1", "–", "–")
    assert numbers(Sources(sources.params, {}, pd.DataFrame(), {}, None)).empty
