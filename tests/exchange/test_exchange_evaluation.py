"""A file of features is worth what the pipeline's own evaluation says of the same features; leaks are told."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from exchange.people import DIMENSIONS, compared, made_up, make_people, write_images, write_npz
from typer.testing import CliRunner

from dlcr.cli import app
from dlcr.data import load_manifest, open_images
from dlcr.evaluation.features import extract_features
from dlcr.evaluation.runs import Cost, Trial, evaluate_model
from dlcr.evaluation.tracklets import compared_tracklets
from dlcr.exchange.evaluation import evaluate_files, records, render
from dlcr.exchange.leaks import find_leaks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_people(tmp_path / "data" / "people")
    return tmp_path / "data" / "people"


@pytest.fixture
def features(folder: Path, tmp_path: Path) -> Path:
    rows = compared(folder)
    write_npz(tmp_path / "features.npz", made_up(rows), rows["image_id"].tolist())
    return tmp_path / "features.npz"


class Eye(torch.nn.Module):
    """A foreign model: colours through a random matrix."""

    frames, size, bicubic = 1, (8, 4), False

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(8 * 4 * 3, DIMENSIONS)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1)) + self.layer(images.flip(3).flatten(1))


def test_it_gives_the_scores_of_the_pipelines_evaluation(folder: Path, tmp_path: Path) -> None:
    model, tracklets = Eye().eval(), compared_tracklets(load_manifest(folder))
    images = open_images(folder / "images")
    expected = evaluate_model(model, Trial(tracklets, "prcc", images), Cost(), None).scores
    keys = tracklets.rows["image_id"].tolist()
    write_npz(tmp_path / "x.npz", extract_features(model, images, model.size, keys=keys, desc=None), keys)
    lines = {(line.setting, line.ranking): line for line in evaluate_files(tmp_path / "x.npz", folder, "prcc").lines}
    assert lines.keys() == {("cc", "plain"), ("cc", "single-shot"), ("sc", "plain"), ("general", "plain")}
    for setting in ("cc", "sc", "general"):
        found, scores = lines[setting, "plain"], expected[setting]
        assert (found.queries, found.unmatched) == (scores.queries, scores.unmatched)
        for rank, value in ((1, found.top1), (5, found.top5), (10, found.top10)):
            assert value == pytest.approx(100 * scores.cmc[rank - 1])
        assert found.map == pytest.approx(100 * scores.map)
        assert found.top1_low <= found.top1 <= found.top1_high
    assert lines["cc", "single-shot"].top1 == pytest.approx(100 * expected["cc_single_shot"].top1)


def test_variants_refine_and_are_averaged(folder: Path, features: Path, tmp_path: Path) -> None:
    """Variants that look like their person help; averaged is the mean of unit features, by hand."""
    rows = compared(folder)
    queries = rows[rows["split"] == "query"]
    own = made_up(rows)[(rows["split"] == "query").to_numpy()]
    variants = np.stack([made_up(rows, 0.3, seed)[queries.index] for seed in (5, 6)], axis=1)
    variants[3, 1] = np.nan
    write_npz(tmp_path / "v.npz", variants, queries["image_id"].tolist())
    lines = evaluate_files(features, folder, "prcc", variants=tmp_path / "v.npz", centralize=True).lines
    found = {line.ranking: line for line in lines if line.setting == "cc"}
    assert list(found) == ["plain", "refined", "averaged", "centralized", "single-shot"]
    assert found["averaged"].map > found["plain"].map
    assert "refined" not in {line.ranking for line in lines if line.setting == "sc"}
    unit = [values / np.linalg.norm(values, axis=-1, keepdims=True) for values in (own[:, None], variants)]
    mean = np.nanmean(np.concatenate(unit, axis=1), axis=1)
    table = made_up(rows)
    table[queries.index] = mean
    write_npz(tmp_path / "mean.npz", table, rows["image_id"].tolist())
    by_hand = evaluate_files(tmp_path / "mean.npz", folder, "prcc").lines[0]
    assert (by_hand.top1, by_hand.map) == pytest.approx((found["averaged"].top1, found["averaged"].map))
    write_npz(tmp_path / "w.npz", variants[:, :, :3], queries["image_id"].tolist())
    with pytest.raises(ValueError, match=r"w\.npz: variants of 3 dimensions, the features have 8"):
        evaluate_files(features, folder, "prcc", variants=tmp_path / "w.npz")


def test_against_another_file(folder: Path, features: Path, tmp_path: Path) -> None:
    rows = compared(folder)
    write_npz(tmp_path / "worse.npz", made_up(rows, 4.0, 9), None)
    found = evaluate_files(features, folder, "prcc", against=tmp_path / "worse.npz")
    worse = {line.setting: line for line in evaluate_files(tmp_path / "worse.npz", folder, "prcc").lines[::-1]}
    plain = {line.setting: line for line in found.lines if line.ranking == "plain"}
    expected = [(setting, measure) for setting in ("cc", "sc", "general") for measure in ("top-1", "mAP")]
    assert [(line.setting, line.measure) for line in found.differences] == expected
    for line in found.differences:
        key = "top1" if line.measure == "top-1" else "map"
        assert line.difference == pytest.approx(getattr(plain[line.setting], key) - getattr(worse[line.setting], key))
        assert line.low <= line.difference <= line.high
        assert line.p <= line.corrected <= 1
    assert found.differences[1].corrected < 0.05
    same = evaluate_files(features, folder, "prcc", against=features).differences
    assert [(line.difference, line.p) for line in same] == [(0.0, 1.0)] * 6


def test_made_up_people_have_no_leak(folder: Path, features: Path) -> None:
    found = evaluate_files(features, folder, "prcc")
    assert found.leaks == []
    assert render(found).endswith("No leak was found.")
    assert json.loads(json.dumps(records(found), allow_nan=False))["scores"][1]["top5"] is None


def leaking(change: Callable[[pd.DataFrame], dict], folder: Path) -> list[str]:
    manifest = load_manifest(folder)
    return [leak.kind for leak in find_leaks(manifest.assign(**change(manifest)))]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda table: {}, []),
        (lambda table: {"subject": table["subject"].replace({"t0": "p00"})}, ["subjects"]),
        (lambda table: {"clothes": table["subject"]}, ["clothes"]),
        (lambda table: {"clothes": table["image_id"]}, ["clothes"]),
        (lambda table: {"clothes": ""}, []),  # clothes that nobody knows are told by the settings that are left
        (lambda table: {"camera": "A"}, ["cameras"]),
        (lambda table: {"camera": ""}, ["cameras"]),
        (lambda table: {"tracklet": table["subject"]}, ["tracklets"]),
        (lambda table: {"camera": "", "clothes": table["subject"]}, ["clothes", "cameras"]),
    ],
)
def test_leaks_of_a_manifest(folder: Path, change: Callable, kinds: list[str]) -> None:
    assert leaking(change, folder) == kinds


def test_the_same_files_and_the_same_features(folder: Path, tmp_path: Path) -> None:
    """One query is a gallery image's file; another one was trained on."""
    manifest, images = load_manifest(folder), open_images(folder / "images")
    by_split = {split: part["image_id"].tolist() for split, part in manifest.groupby("split")}
    files = {image_id: images.encoded(image_id) for image_id in manifest["image_id"]}
    files[by_split["query"][0]] = files[by_split["gallery"][5]]
    files[by_split["query_sc"][1]] = files[by_split["train"][2]]
    write_images(folder, files)
    rows = compared(folder)
    values = made_up(rows)
    values[(rows["image_id"] == by_split["query"][0]).to_numpy()] = values[5]
    assert rows["image_id"].iloc[5] == by_split["gallery"][5]
    write_npz(tmp_path / "x.npz", values, rows["image_id"].tolist())
    said = {leak.kind + str(number): leak.says for number, leak in
            enumerate(evaluate_files(tmp_path / "x.npz", folder, "prcc").leaks)}  # fmt: skip
    assert list(said) == ["files0", "files1", "features2"]
    assert "1 files are in query and in gallery" in said["files0"]
    assert "1 files are in train and in query" in said["files1"]
    assert by_split["gallery"][5] in said["features2"]


def test_one_camera_leaves_no_answers(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    rows = make_people(folder, camera="A")
    write_npz(tmp_path / "x.npz", made_up(compared(folder)), None)
    found = evaluate_files(tmp_path / "x.npz", folder, "prcc")
    counts = {line.setting: (line.queries, line.unmatched) for line in found.lines}
    assert counts == {"cc": (0, 24), "sc": (0, 12), "general": (0, 36)}
    assert "what a query's own camera took is removed" in render(found)
    assert len(rows) == 66


def test_the_command(folder: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["evaluate", str(features), "--dataset", "people"]
    done = CliRunner().invoke(app, [*asked, "--reader", "prcc", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["scores"][0]["queries"] == 24
    with pytest.raises(ValueError, match=r"--dataset people: not under `datasets` of params.yaml"):
        CliRunner().invoke(app, asked, catch_exceptions=False)
    other = ["evaluate", str(features), "--dataset", "nobody", "--reader", "prcc"]
    with pytest.raises(FileNotFoundError, match="nobody"):
        CliRunner().invoke(app, other, catch_exceptions=False)
    make_people(folder, camera="")
    assert CliRunner().invoke(app, [*asked, "--reader", "prcc"]).exit_code == 3
