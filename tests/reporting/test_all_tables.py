"""Every table of a made-up run: what each cell is, gaps, notes, and the same bytes twice."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_up import make_pipeline
from test_formats import read_latex

from dlcr.params import Params, Row, load_params
from dlcr.reporting import claims
from dlcr.reporting import tables as every
from dlcr.reporting.formats import csv_bytes, latex, markdown
from dlcr.reporting.parts import Cell, Table
from dlcr.reporting.results import Result, load_results
from dlcr.reporting.statements import Statement
from dlcr.reporting.survey import load_survey
from dlcr.reporting.tables import make_tables

ORDER = [
    *("t1", "t2", "t3", "t4", "a1", "oracle", "precision", "a3", "a4", "a5", "a6", "a8"),
    *("ccfa-main", "ccfa", "guidance", "garments", "combinations", "settings", "cmc", "quality", "diversity"),
    *("claims", "wall"),
]
MISSING = ("standard", "crowd-progressive", "k-5")
NO_TIMINGS = pd.DataFrame(columns=["stage", "name"])
TIMINGS = pd.DataFrame(
    [
        {"stage": "train", "name": "progressive", "seconds": 80.0, "epoch_seconds": 3.4},
        {"stage": "parse", "name": "minicc", "seconds": 12.0, "images_per_second": 65.0},
    ]
)


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    return load_params(repository / "profiles" / "minicc.yaml").model_copy(update={"seeds": [0, 1, 2, 3]})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    root = tmp_path_factory.mktemp("pipeline")
    make_pipeline(root, params, MISSING)
    return root


@pytest.fixture(scope="module")
def results(root: Path, params: Params) -> dict[str, Result | None]:
    return load_results(root, params)


@pytest.fixture(scope="module")
def tables(root: Path, params: Params, results: dict) -> dict[str, Table]:
    return make_tables(params, results, TIMINGS, load_survey(root))


def with_report(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"report": params.report.model_copy(update=changes)})


def filled(params: Params, table: str, rows: dict[str, str]) -> Params:
    """The profile with these rows of a table, the others as they are."""
    new = {key: Row(evaluation=place) for key, place in rows.items()}
    return with_report(params, tables=params.report.tables | {table: new})


def cells(table: Table, where: Callable[[Cell], bool] = lambda cell: True) -> list[Cell]:
    found = (value for column in table.view for value in table.view[column] if isinstance(value, Cell))
    return [cell for cell in found if where(cell)]


def test_every_table_is_there_in_the_papers_order(tables: dict[str, Table]) -> None:
    assert list(tables) == ORDER
    for name, table in tables.items():
        assert table.name == name
        assert len(table.view) == len(table.numbers) > 0
        assert (table.folder == "timings") == (name in ("a5", "a6", "wall"))


def test_every_file_of_a_table_can_be_read(tables: dict[str, Table]) -> None:
    for table in tables.values():
        columns, _, rows = read_latex(latex(table))
        assert len(rows) == len(table.view) + 1
        assert {len(row) for row in rows} == {len(columns)}
        lines = markdown(table.view, table.notes).decode().splitlines()[: len(table.view) + 2]
        assert {line.replace("\\|", "").count("|") for line in lines} == {len(table.view.columns) + 1}


def test_every_number_says_what_it_is_and_where_it_is_from(tables: dict[str, Table], results: dict) -> None:
    for name, table in tables.items():
        assert {cell.mark for cell in cells(table)} <= {"paper", "measured", "not run", ""}
        assert all(cell.text == "–" for cell in cells(table, lambda cell: cell.mark == ""))
        for cell in cells(table, lambda cell: cell.mark == "measured"):
            assert any(character.isdigit() for character in cell.text)
            assert name in ("t1", "a5", "a6", "quality", "diversity", "wall") or results[cell.source] is not None
        for cell in cells(table, lambda cell: cell.mark in ("paper", "not run")):
            assert cell.source == ""
    assert not any(value == 0 for name in ("t2", "t4", "a1", "a8") for value in tables[name].numbers["top1"])


def test_what_was_not_run_is_a_gap_in_every_file(tables: dict[str, Table]) -> None:
    view = tables["a1"].view.set_index("Row")
    assert view.loc["2", "This run top-1"] == Cell("not run", "not run")
    assert view.loc["2", "Paper top-1"] == Cell("55.7", "paper")
    assert view.loc["1", "This run top-1"].source == "baseline"
    assert view.loc["1", "Difference to row 1 top-1"] == Cell("–")
    number = tables["a1"].numbers.set_index("row")["top1"]
    assert number.isna().to_dict() == {row: row == "2" for row in number.index}
    crowd = tables["t2"].view.query("Dataset == 'minicc-crowd'").set_index("Method")["This run top-1"]
    assert crowd["CAL"].mark == "measured"
    assert crowd["CAL + DLCR"].mark == "not run"


def test_cited_methods_are_marked_and_never_not_run(tables: dict[str, Table]) -> None:
    view = tables["t2"].view
    row = view[(view["Dataset"] == "PRCC") & (view["Method"] == "FSAM")].iloc[0]
    assert row["Paper's number"] == "cited only"
    assert row["Venue"] == "CVPR 2021"
    assert row["Paper top-1"] == Cell("54.5", "paper")
    assert row["This run top-1"] == Cell("–")
    ours = view[(view["Dataset"] == "PRCC") & (view["Method"] == "CAL")].iloc[0]
    assert ours["This run top-1"].mark == "not run"
    slides = tables["ccfa-main"].view.set_index("Method")
    assert slides.loc["SPS", "Paper PRCC, clothes-changing"] == Cell("62.8 / 57.2", "paper")
    assert slides.loc["SPS", "This run, clothes-changing"] == Cell("–")
    assert slides.loc["CAL", "This run, same clothes"].source == "baseline"
    assert slides.loc["CCFA (phase I)", "This run, clothes-changing"].source == "ccfa-ablations/phase-1"
    assert slides.loc["CESD", "Paper PRCC, same clothes"] == Cell("–")


def test_a1s_columns_are_those_of_the_readme(tables: dict[str, Table], repository: Path) -> None:
    heading = next(line for line in (repository / "README.md").read_text().splitlines() if line.startswith("| Row | "))
    assert markdown(tables["a1"].view).decode().splitlines()[0] == heading


def test_datasets_count_what_training_can_use(
    tables: dict[str, Table], root: Path, params: Params, results: dict
) -> None:
    row = tables["t1"].view.set_index("Dataset").loc["minicc"]
    found = [str(row[f"This run {name}"]) for name in ("training images", "generated images", "queries")]
    assert found == ["24", "72", "24"]  # of four variants per image the last was not made
    assert row["Redistribution"] == "yes"
    assert tables["t1"].view.set_index("Dataset").loc["PRCC", "This run queries"] == Cell("–")
    none = make_tables(with_report(params, datasets={"minicc": "none"}), results, NO_TIMINGS, load_survey(root))[
        "t1"
    ].view
    assert none.set_index("Dataset").loc["minicc", "This run generated images"] == Cell("–")
    gaps = make_tables(params, dict.fromkeys(results), NO_TIMINGS, load_survey(root / "empty"))["t1"].view.set_index(
        "Dataset"
    )
    assert gaps.loc["minicc", "This run queries"] == Cell("not run", "not run")
    private = params.model_copy(update={"private": params.private.model_copy(update={"datasets": params.datasets})})
    view = make_tables(private, results, NO_TIMINGS, load_survey(root))["t1"].view.set_index("Dataset")
    assert view.loc["minicc", "Redistribution"] == "no: private in this profile"
    with pytest.raises(ValueError, match=r"report\.datasets\.minicc-crowd: .*'inpainting', which is of 'minicc'"):
        make_tables(
            with_report(params, datasets={"minicc-crowd": "inpainting"}), results, NO_TIMINGS, load_survey(root)
        )


def test_a_papers_dataset_stands_in_the_papers_row(root: Path, params: Params, results: dict) -> None:
    prcc = params.datasets["minicc"].model_copy(update={"reader": "prcc"})
    there = params.model_copy(update={"datasets": params.datasets | {"minicc": prcc}})
    tables = make_tables(there, results, NO_TIMINGS, load_survey(root))
    row = tables["t2"].numbers.set_index(["dataset", "method"]).loc[("PRCC", "CAL + DLCR")]
    assert row["paper_top1"] == 66.5
    assert row["top1"] > 0
    assert tables["t1"].numbers.set_index("dataset").loc["PRCC", "original_images"] == 24
    assert set(tables["t4"].numbers["trained_on"]) == {"PRCC", "LTCC"}


def test_notes_say_where_sources_disagree_and_what_numbers_mean(
    tables: dict[str, Table], root: Path, params: Params
) -> None:
    text = {name: " ".join(table.notes) for name, table in tables.items()}
    assert "RCSANet" in text["t2"]
    assert "RCSANet" in text["ccfa-main"]
    assert "CAL on LTCC is 39.5" in text["t2"]
    assert "64.0" in text["a1"]
    assert "GEFF 1.0" in text["t3"]
    assert "trains with the generated data in stage 1: paired." in text["t3"]
    assert "trains with the generated data in stage 1 + 2, which is refined too: progressive." in text["t3"]
    assert "trained with: paired; the paper concatenates them (Sec. 15)" in text["a8"]
    assert "this run's are on minicc: compare order and differences, not levels" in text["a3"]
    assert "Rankings of this run: plain. The paper names no refinement here." in text["t4"]
    assert "a difference is over the seeds that both rows have" in text["a8"]
    assert "mean nothing" not in text["a1"]
    smoke = make_tables(with_report(params, mark="smoke"), load_results(root, params), NO_TIMINGS, load_survey(root))
    assert "the scores mean nothing" in " ".join(smoke["a1"].notes)
    assert {cell.mark for cell in cells(smoke["a1"])} == {"paper", "smoke", "not run", ""}


def test_hashed_tables_hold_no_times_and_are_the_same_twice(
    tables: dict[str, Table], root: Path, params: Params, results: dict
) -> None:
    again = make_tables(params, results, NO_TIMINGS, load_survey(root))
    for name, table in tables.items():
        same = csv_bytes(table.numbers) == csv_bytes(again[name].numbers) and latex(table) == latex(again[name])
        assert same == (table.folder == "tables")
    seconds = tables["a5"].view.set_index("Progressive learning")["This run: seconds an epoch"]
    assert seconds.tolist() == [Cell("not timed here", "not run"), Cell("3.4", "measured")]
    assert tables["a6"].view["This machine images/s"][0] == Cell("65.0", "measured")


def test_nothing_run_is_all_gaps(root: Path, params: Params, results: dict) -> None:
    tables = make_tables(params, dict.fromkeys(results), NO_TIMINGS, load_survey(root / "empty"))
    assert list(tables) == ORDER
    assert [cell for table in tables.values() for cell in cells(table, lambda cell: cell.mark == "measured")] == []


def test_an_ablation_has_the_recipe_and_the_times_of_its_run(tmp_path: Path, params: Params) -> None:
    timings = pd.DataFrame([{"stage": "train", "name": "ccfa-ablations", "epoch_seconds": 1.5}])
    asked = filled(params, "a5", {"progressive": "ccfa-ablations/normal"})
    row = (
        make_tables(asked, load_results(tmp_path, asked), timings, load_survey(tmp_path))["a5"]
        .numbers.set_index("row")
        .loc["progressive"]
    )
    assert row[["epoch_seconds", "epochs"]].tolist() == [1.5, params.recipes["ccfa-ablations"].epochs]


@pytest.mark.parametrize("modes", [{"concat"}, {"paired", "concat"}])
def test_k_may_be_swept_with_concatenated_data(modes: set[str], tmp_path: Path, params: Params) -> None:
    """The figure's note follows the runs that report.tables.a8 names."""
    rows = {"0": "baseline", "10": "concat"} | ({"20": "k-20"} if "paired" in modes else {})
    asked = filled(params, "a8", rows)
    note = make_tables(asked, load_results(tmp_path, asked), NO_TIMINGS, load_survey(tmp_path))["a8"].notes[-1]
    assert (
        note == f"How the variants are trained with: {', '.join(sorted(modes))}; the paper concatenates them (Sec. 15)."
    )


@pytest.mark.parametrize(
    "profile",
    ["ccvid", "last", "ltcc", "paper", "prcc", "prcc-klein", "prcc-models", "prcc-sdxl", "smoke", "vc-clothes"],
)
def test_every_profile_has_its_tables(profile: str, repository: Path, tmp_path: Path) -> None:
    params = load_params(repository / "profiles" / f"{profile}.yaml")
    assert list(make_tables(params, load_results(tmp_path, params), NO_TIMINGS, load_survey(tmp_path))) == ORDER


NEW_TABLE = """
from dlcr.reporting.tables.specs import Line, Spec

SPEC = Spec(
    name="seasons",
    place=145,
    title="Seasons",
    lines=lambda params: [Line({"season": key}, key, "summer") for key in ("summer", "winter")],
    headings={"season": "Season"},
    base="summer",
)
"""


def test_a_new_table_is_a_module_and_a_new_claim_a_row(
    root: Path, params: Params, results: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seasons.py").write_text(NEW_TABLE)
    monkeypatch.setattr(every, "__path__", [*every.__path__, str(tmp_path)])
    colder = Statement("colder", "difference", "seasons/winter", "seasons/summer", "Winter is harder.", "Nowhere.")
    monkeypatch.setattr(claims, "STATEMENTS", (*claims.STATEMENTS, colder))
    every.specs.cache_clear()
    try:
        filled_too = filled(params, "seasons", {"summer": "progressive", "winter": "baseline"})
        found = make_tables(filled_too, results, NO_TIMINGS, load_survey(root))
        place = ORDER.index("combinations") + 1
        assert list(found) == [*ORDER[:place], "seasons", *ORDER[place:]]
        assert found["seasons"].view["Season"].tolist() == ["summer", "winter"]
        assert found["seasons"].numbers.set_index("season").loc["winter", "top1_p"] <= 1
        verdict = claims.claims(filled_too, results, NO_TIMINGS)[-1]
        assert (verdict.name, verdict.sources) == ("colder", ["baseline", "progressive"])
        assert verdict.effect == found["seasons"].numbers.set_index("season").loc["winter", "top1_difference"]
    finally:
        every.specs.cache_clear()
