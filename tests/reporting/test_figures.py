"""The figures: made of what is there, left out otherwise, the same bytes twice."""

import io
import json
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import make_data, make_evaluation, make_set
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file

from dlcr.params import Params, Row, load_params
from dlcr.reid import build_model
from dlcr.reporting.figures import pictures, plot_data
from dlcr.reporting.figures.ablation import ablation
from dlcr.reporting.figures.activations import activation_maps, activations, blend, on_clothes
from dlcr.reporting.figures.cmc import cmc
from dlcr.reporting.figures.features import choose_training, embed, load_features, query_features, training_features
from dlcr.reporting.figures.models import load_first
from dlcr.reporting.figures.over_k import over_k
from dlcr.reporting.figures.schedule import schedule, schedule_table
from dlcr.reporting.figures.style import DARK, GREY, one_line, panel, short_lines, to_bytes
from dlcr.reporting.figures.training import COLOURS, training
from dlcr.reporting.parts import Picture, Table
from dlcr.reporting.results import Result, load_result
from dlcr.reporting.survey import survey

NAMES = ["a1", "cmc", "fig-1", "fig-a3", "fig-a4", "fig-a5", "fig-a6", "fig-a7", "fig-a8", "schedule", "training"]
IMAGES = {"fig-1", "fig-a3", "fig-a4", "fig-a6"}


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    params = load_params(repository / "profiles" / "minicc.yaml")
    recipe = params.recipes["cal-mini"].model_copy(update={"identities": 3, "images": 2, "epochs": 8})
    return params.model_copy(update={"recipes": params.recipes | {"cal-mini": recipe}, "k": 4})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """Data, sets, and the baseline and DLCR with models that were never trained."""
    root = tmp_path_factory.mktemp("made")
    manifest = make_data(root, params.report.dataset)
    for name in params.report.ways.values():
        make_set(root, name, manifest)
    queries, gallery = (manifest[manifest["split"] == split] for split in ("query", "gallery"))
    for name, top1 in (("baseline", 0.3), ("progressive", 0.7)):
        folder = root / "evaluations" / name
        make_evaluation(folder, queries["image_id"].tolist(), gallery, manifest, top1, params.seeds)
        make_features(folder, pd.concat([queries, gallery]), seed=len(name))
        make_model(root / "runs" / name / f"seed-{min(params.seeds)}", seed=len(name))
    return root


@pytest.fixture(scope="module")
def results(root: Path) -> dict[str, Result | None]:
    names = ("baseline", "progressive", "paired", "oracle")
    return {name: load_result(root / "evaluations" / name) for name in names}


def make_features(folder: Path, test: pd.DataFrame, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(len(test), 8)).astype(np.float32)
    test[["image_id", "split", "subject", "clothes"]].assign(feature=list(features)).to_parquet(
        folder / "features.parquet"
    )


def make_model(folder: Path, seed: int, name: str = "cal-mini") -> None:
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    config = {"model": name, "subjects": 3, "clothes": [0, 1, 2], "settings": {}, "size": [48, 24]}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(build_model(name, 3, [0, 1, 2]).state_dict(), folder / "model.safetensors")


def table_a1(gaps: bool = False) -> pd.DataFrame:
    rows = [("1", "none", 40.0, 55.2), ("2", "standard diffusion", np.nan, 55.7), ("oracle", "oracle: bound", 80, None)]
    table = pd.DataFrame(rows, columns=["row", "generated_data", "top1", "paper_top1"])
    table = table.assign(top1=np.nan if gaps else table["top1"])
    extras = {"progressive_learning": "yes", "prediction_refinement": "no"}
    return table.assign(top1_low=table["top1"] - 5, top1_high=table["top1"] + 5, **extras)


def table_a8(top1: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"k": [0, 2, 5, 10, 20][: len(top1)], "top1": top1, "map": top1})
    return table.assign(top1_low=table["top1"] - 5, top1_high=table["top1"] + 5)


def tables(gaps: bool = False) -> dict[str, Table]:
    numbers = {"a1": table_a1(gaps), "a8": table_a8([np.nan] * 5 if gaps else [20.0, np.nan, 40.0, 50.0, 51.0])}
    return {name: Table(name, name, item, item) for name, item in numbers.items()}


def histories() -> dict[str, pd.DataFrame]:
    table = pd.DataFrame({"epoch": range(5), "identity": [3.0, 2.0, np.nan, 1.5, 1.0]})
    return {"baseline": table, "progressive": table + 0.1, "ccfa/no-sta": table + 0.2}


def plan(root: Path, params: Params) -> pd.DataFrame | None:
    return schedule_table(params, survey(root, params))


def check_picture(picture: Picture) -> None:
    assert picture.title
    assert picture.alt
    assert picture.caption
    assert not re.search(rb"<dc:date>|tEXtSoftware|tIME", picture.content)
    assert picture.content.startswith(b"<?xml")
    width = float(re.search(rb'<svg [^>]*width="([0-9.]+)pt"', picture.content)[1])
    assert width / 72 * 96 < 1300
    assert (b"<image" in picture.content) == (picture.name in IMAGES)  # lines stay lines
    assert "prefers-color-scheme: dark" in picture.content.decode()


def test_axes_stand_on_round_places() -> None:
    """The layout's last bits differ between calls; SVG files would with them."""
    figure = Figure(layout="constrained")
    for axes in figure.subplots(3, 2).flat:
        axes.set_ylabel("a label")
    to_bytes(figure)
    for axes in figure.axes:
        bounds = np.array(axes.get_position().bounds)
        np.testing.assert_allclose(bounds, bounds.round(4), rtol=0, atol=1e-12)


def test_every_colour_that_needs_one_has_a_dark_one(root: Path, params: Params) -> None:
    """Text and lines have at least a contrast of 3 on the dark ground, whatever colour they were given."""
    made = [ablation(table_a1()), over_k(table_a8([20.0, 30.0])), schedule(plan(root, params))]
    made.append(training(histories(), params))
    for picture in made:
        for colour in set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", picture.content.decode())) - {"#ffffff"}:
            assert contrast(DARK.get(colour, colour), DARK["#ffffff"]) >= (1.5 if colour == "#dddddd" else 3), colour


def test_colours_differ_on_both_grounds() -> None:
    for ground in (lambda colour: colour, lambda colour: DARK.get(colour, colour)):
        colours = [[int(ground(one)[at : at + 2], 16) for at in (1, 3, 5)] for one in (*COLOURS[:6], GREY)]
        apart = np.linalg.norm(np.subtract.outer(colours, colours).diagonal(axis1=1, axis2=3), axis=-1)
        assert (apart + 1000 * np.eye(len(colours))).min() > 60


def contrast(*colours: str) -> float:
    """Of two colours #rrggbb (WCAG 2)."""
    channels = np.array([[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in colours]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (light + 0.05) / (dark + 0.05)


def test_panels_keep_small_pictures_as_they_are_and_no_large_ones() -> None:
    for width, kept in ((48, 48), (300, 96)):
        figure = Figure(figsize=(2, 3))
        panel(figure, 0, 0, 1, 2, np.zeros((2 * width, width, 3), np.uint8))
        image = re.search(rb"base64,\n([^\"]+)", to_bytes(figure))[1]
        assert Image.open(io.BytesIO(b64decode(image))).size == (kept, 2 * kept)


@pytest.mark.slow
def test_every_figure_twice_the_same(root: Path, params: Params, results: dict) -> None:
    made = pictures(root, params, results, tables(), histories(), plan(root, params))
    assert list(made) == NAMES
    assert {name for name, picture in made.items() if picture.folder == "pictures"} == {*IMAGES, "fig-a5", "fig-a7"}
    for name, picture in made.items():
        assert picture.name == name
        check_picture(picture)
    again = pictures(root, params, results, tables(), histories(), plan(root, params))
    assert [name for name in NAMES if made[name] != again[name]] == []
    assert sum(len(picture.content) for picture in made.values()) < 4_000_000
    assert "smoke" not in "".join(picture.caption for picture in made.values())


def test_what_was_not_made_is_left_out(tmp_path: Path, params: Params) -> None:
    assert pictures(tmp_path, params, {}, tables(gaps=True), {}, None) == {}
    make_data(tmp_path, params.report.dataset)
    found = pictures(tmp_path, params, {}, tables(gaps=True), {}, plan(tmp_path, params))
    assert list(found) == ["schedule"]  # a plan, not a result


def test_smoke_says_so(tmp_path: Path, params: Params) -> None:
    smoke = params.model_copy(update={"report": params.report.model_copy(update={"mark": "smoke"})})
    for picture in pictures(tmp_path, smoke, {}, tables(), histories(), None).values():
        assert "what it measured means nothing" in picture.caption


def test_plots_hold_what_was_run(root: Path, params: Params) -> None:
    files = plot_data(tables(), histories(), plan(root, params))
    read = {name: pd.read_csv(io.BytesIO(content)) for name, content in files.items()}
    assert read["plots/top1.csv"]["row"].tolist() == ["1", "oracle"]
    assert read["plots/k.csv"].to_numpy().tolist() == [[0, 20, 20], [5, 40, 40], [10, 50, 50], [20, 51, 51]]
    assert list(read["plots/training/ccfa/no-sta.csv"]["epoch"]) == [0.2, 1.2, 2.2, 3.2, 4.2]
    assert list(read["plots/schedule.csv"].columns) == ["epoch", "concat", "paired", "progressive"]
    gaps = plot_data(tables(gaps=True), {}, plan(root / "absent", params))
    assert gaps == {"plots/top1.csv": b"row,top1\n", "plots/k.csv": b"k,top1,map\n"}


def test_bars_name_gaps() -> None:
    picture = ablation(table_a1())
    assert "2  standard diffusion + progressive: not run" in picture.alt
    assert "oracle (upper bound): 80.0" in picture.alt
    assert ablation(table_a1(gaps=True)) is None


def test_k_has_no_point_that_was_not_run() -> None:
    picture = over_k(table_a8([20.0, np.nan, 40.0]).sample(frac=1, random_state=1))
    assert "K = 0: 20.0 (15.0 to 25.0); K = 2: not run; K = 5: 40.0" in picture.alt
    assert picture.content != over_k(table_a8([20.0, 30.0, 40.0])).content
    assert over_k(table_a8([np.nan])) is None


def test_the_caption_of_k_says_how_its_runs_train(tmp_path: Path, params: Params) -> None:
    def caption(**rows: str) -> str:
        filled = params.report.tables["a8"] | {key: Row(evaluation=place) for key, place in rows.items()}
        report = params.report.model_copy(update={"tables": params.report.tables | {"a8": filled}})
        asked = params.model_copy(update={"report": report})
        return pictures(tmp_path, asked, {}, tables(), {}, None)["fig-a8"].caption

    assert "trained with: paired; the paper concatenates them (Sec. 15)." in caption()
    assert "trained with: concat, paired; the paper" in caption(**{"10": "concat"})


def test_schedule_is_the_rule_of_training(root: Path, params: Params) -> None:
    table = plan(root, params)
    progressive, paired, concat = (table[table["mode"] == mode] for mode in ("progressive", "paired", "concat"))
    assert progressive["variants"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3]  # K = 4 in four parts of N = 3 epochs
    assert paired["variants"].tolist() == concat["variants"].tolist() == [4] * 8
    assert progressive["seen"].iloc[0] == 25  # all of the first variant
    assert progressive["seen"].is_monotonic_increasing
    assert progressive["seen"].max() <= 75
    assert concat["seen"].iloc[0] > 90
    assert progressive["images"].iloc[0] == 2
    assert concat["images"].iloc[0] == 5
    assert "progressive: 1 from epoch 1, 2 from epoch 4, 3 from epoch 7" in schedule(table).alt
    larger = params.generated | {"inpainting": params.generated["inpainting"].model_copy(update={"k": 12})}
    table = plan(root, params.model_copy(update={"generated": larger}))
    assert table["variants"].max() == 12
    assert plan(root / "absent", params) is None


def test_curves_name_what_they_reach(params: Params, results: dict) -> None:
    drawn = cmc({"1": np.linspace(20, 65, 10), "oracle": np.linspace(50, 95, 10)})
    assert "row 1: 20.0, 40.0, 65.0; oracle: 50.0, 70.0, 95.0" in drawn.alt
    assert cmc({}) is None


def test_runs_and_ablations_share_a_panel_by_model(params: Params) -> None:
    picture = training(histories(), params)
    assert "ccfa/no-sta: 1.20" in picture.alt
    assert training({}, params) is None


@given(st.integers(4, 25), st.integers(0, 2**62))
@settings(max_examples=8, deadline=None)
def test_points_of_any_few_features(count: int, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(count, 6))
    points = embed(features, seed)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points, embed(features, seed))


def test_both_sides_show_the_same_images(root: Path, tmp_path: Path, results: dict) -> None:
    base, dlcr = results["baseline"], results["progressive"]
    table = load_features(base)
    few = tmp_path / "few"
    few.mkdir()
    kept = table[table["subject"].isin(["query-0", "query-1", "test-0", "test-1"])]
    kept.to_parquet(few / "features.parquet")
    short = Result("few", few, base.scores, base.queries)
    assert f"the same {len(kept)} test images" in query_features(short, dlcr, 0).alt
    assert query_features(base, None, 0) is None
    kept.head(3).to_parquet(few / "features.parquet")
    assert query_features(base, short, 0) is None  # too few for t-SNE
    kept.drop(columns="subject").to_parquet(few / "features.parquet")
    with pytest.raises(ValueError, match=r"features\.parquet: no column subject"):
        query_features(base, short, 0)


def test_training_images_are_drawn_with_their_variants(root: Path, params: Params) -> None:
    table, images = choose_training(root, params, 5)
    assert len(table) == len(images)
    assert table["subject"].nunique() == 3
    assert set(table["variant"]) == {-1, 0, 1, 2}  # the last variant was skipped
    assert (table.groupby("image_id").size() == 4).all()
    assert table.equals(choose_training(root, params, 5)[0])
    assert set(choose_training(root, params, 6)[0]["subject"]) != set(table["subject"])
    strict = params.model_copy(update={"quality": params.quality.model_copy(update={"min_spread": 0.6})})
    assert choose_training(root, strict, 5) is None


def test_a_missing_model_is_a_gap_and_a_broken_one_an_error(root: Path, tmp_path: Path, params: Params) -> None:
    assert load_first(root, params, None) is None
    assert load_first(root, params, "paired") is None
    assert load_first(root, params, "ccfa/no-sta") is None
    folder = tmp_path / "runs" / "baseline" / "seed-0"
    make_model(folder, 0)
    assert load_first(tmp_path, params, "baseline").size == (48, 24)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_first(tmp_path, params, "baseline")
    assert activations(root, params, "baseline", None) is None
    assert training_features(root, params, None, 0) is None


def test_a_model_of_clips_has_no_such_figures(root: Path, tmp_path: Path, params: Params) -> None:
    make_model(tmp_path / "runs" / "baseline" / "seed-0", 0, "c2d-mini")
    assert load_first(tmp_path, params, "baseline") is None


class Body(torch.nn.Module):
    """One channel: the red of 4x4 blocks, in a tuple beside what does not count."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        red = torch.nn.functional.avg_pool2d((images[:, :1] - images[:, :1].amin()), 4)
        return red, torch.ones_like(red)


def test_maps_are_strong_where_features_are() -> None:
    image = np.zeros((32, 16, 3), np.uint8)
    image[4:12, 8:16, 0] = 255
    model = torch.nn.Module()
    model.body, model.size = Body(), (32, 16)
    (found,) = activation_maps(model, [image])
    assert found.shape == (32, 16)
    assert found.max() == pytest.approx(1)
    assert found[6, 12] > 0.9
    assert found[6, 3] < 0.1  # the mirror's map was turned back
    assert found[24:].max() < 0.01
    model.body = torch.nn.Flatten()
    assert activation_maps(model, [image]) is None


def test_the_share_on_clothes_is_measured_over_the_queries(root: Path, params: Params) -> None:
    """In the made-up data all queries have a mask of the rows below; the first map is everywhere, the other there."""
    below, even = torch.nn.Module(), torch.nn.Module()
    for model, rows in ((below, slice(28, None)), (even, slice(None))):
        model.body, model.size = Rows(rows), (48, 24)
    said = on_clothes(root, params, [even, below])
    assert re.search(r"^ Over 24 queries \(all\) 41\.7 % of the baseline’s maps and 100\.0 % of DLCR’s", said)
    assert re.search(r"which cover 41\.7 % of the images: \+58\.3 points \(95 % interval .*, p\W<\W0\.001\)\.$", said)


class Rows(torch.nn.Module):
    """One channel: 1 in the given rows of the image."""

    def __init__(self, rows: slice) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = torch.zeros_like(images[:, :1])
        found[:, :, self.rows] = 1
        return found


def test_blended_maps_are_lighter_where_strong() -> None:
    image = np.full((4, 4, 3), 128, np.uint8)
    strength = np.repeat(np.linspace(0, 1, 4, dtype=np.float32)[:, None], 4, axis=1)
    grey = np.asarray(Image.fromarray(blend(image, strength)).convert("L"))[:, 0].astype(int)
    assert (np.diff(grey) > 10).all()


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_texts_of_models_stay_in_their_place(text: str) -> None:
    lines = short_lines(text).split("\n")
    assert len(lines) <= 5
    assert all(len(line) <= 16 for line in lines)
    assert len(one_line(text, 30)) <= 30
    assert "\n" not in one_line(text, 30)
