"""The table of clothes from a picture, and how sets are scored for it, against the definitions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kornia.metrics import ssim
from made_up import make_data, make_pipeline, make_set

from dlcr.data import (
    GENERATED_SCHEMA,
    decode_rgb,
    encode_png,
    open_generated,
    open_images,
    open_masks,
    read_table,
    write_shard,
)  # fmt: skip
from dlcr.data.shards import shard_paths
from dlcr.params import Params, load_params
from dlcr.reporting import scores
from dlcr.reporting.parts import Cell, Table
from dlcr.reporting.results import load_results
from dlcr.reporting.survey import load_survey
from dlcr.reporting.tables import make_tables

NO_TIMINGS = pd.DataFrame(columns=["stage", "name"])
SETS = {
    "inpainting": {"words": 80.2, "difference": 30.9, "similarity": 0.425},
    "oracle": {"words": 88.7, "difference": 0.0, "similarity": 1.0},
}


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    return load_params(repository / "profiles" / "minicc.yaml").model_copy(update={"seeds": [0, 1]})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    root = tmp_path_factory.mktemp("pipeline")
    make_pipeline(root, params, tuple(set(params.evaluations) - {"progressive", "garment", "oracle"}))
    return root


def table_of(root: Path, params: Params, sets: dict | None) -> Table:
    found = {} if sets is None else {"sets": sets}
    return make_tables(params, load_results(root, params), NO_TIMINGS, load_survey(root), found)["garments"]


def test_each_row_has_its_sets_pictures_and_its_models_scores(root: Path, params: Params) -> None:
    table = table_of(root, params, SETS)
    view = table.view.set_index("Outfits from")
    assert list(view.index) == ["Text", "Picture", "Text and picture", "Colour change", "Oracle"]
    assert list(view["Training"]) == ["progressive", "progressive", "progressive", "paired", "progressive"]
    assert view.loc["Text", "Difference to the truth"] == Cell("30.9", "measured")
    assert view.loc["Oracle", "SSIM to the truth"] == Cell("1.000", "measured")
    assert view.loc["Picture", "Prompt alignment"] == Cell("not run", "not run")
    assert view.loc["Picture", "This run top-1"].source == "garment"
    assert "(" in str(view.loc["Picture", "Difference to text top-1"])
    assert view.loc["Text and picture", "This run mAP"] == Cell("not run", "not run")
    assert not any("Paper" in heading for heading in table.view)
    assert list(table.numbers.columns[:5]) == ["what", "mode", "words", "difference", "similarity"]


def test_without_the_scores_and_in_a_profile_without_such_sets_there_are_gaps(
    root: Path, params: Params, repository: Path
) -> None:
    gaps = table_of(root, params, None).view["Prompt alignment"]
    assert all(cell == Cell("not run", "not run") for cell in gaps)
    prcc = load_params(repository / "profiles" / "prcc.yaml")
    found = make_tables(prcc, dict.fromkeys(prcc.evaluations), NO_TIMINGS, {"sets": {}, "datasets": {}})["garments"]
    assert (found.view["Training"] == "–").all()


def make_negative(folder: Path) -> None:
    """The set `truth`: that called `toy` with other pictures."""
    for path in shard_paths(folder / "toy"):
        columns = read_table(path).to_pydict()
        columns["image"] = [data and encode_png(255 - decode_rgb(data, "toy") // 2) for data in columns["image"]]
        write_shard(folder / "truth" / path.name, columns, GENERATED_SCHEMA, {"set": {}, "inputs": ""})


def test_nearness_to_the_truth_is_by_its_definition(tmp_path: Path, params: Params) -> None:
    dataset = params.report.dataset
    manifest = make_data(tmp_path, dataset)
    make_set(tmp_path, "toy", manifest)
    make_negative(tmp_path / "generated")
    found = scores.truth_nearness(tmp_path, dataset, "toy", "truth")
    toy, truth = (open_generated(tmp_path / "generated" / name) for name in ("toy", "truth"))
    masks, images = open_masks(tmp_path / "masks" / dataset), open_images(tmp_path / "data" / dataset / "images")
    differences, similarities = [], []
    for image_id in toy.image_ids:
        mask = masks[image_id]
        for number in range(scores.NEAR_VARIANTS):
            made, true = toy[image_id, number], truth[image_id, number]
            if made is None or true is None or not mask.any():
                continue
            differences.append(np.abs(made[mask].astype(float) - true[mask]).mean())
            pair = [np.where(mask[..., None], one, images[image_id]) for one in (made, true)]
            tensors = [torch.from_numpy(one).permute(2, 0, 1)[None].float() / 255 for one in pair]
            similarities.append(ssim(*tensors, 7)[0].numpy()[:, mask].mean())
    assert len(differences) > 10
    assert found["difference"] == pytest.approx(np.mean(differences), rel=1e-5)
    assert found["difference"] > 1
    assert found["similarity"] == pytest.approx(np.mean(similarities), rel=1e-4)
    same = scores.truth_nearness(tmp_path, dataset, "truth", "truth")
    assert same == {"difference": 0, "similarity": pytest.approx(1)}
