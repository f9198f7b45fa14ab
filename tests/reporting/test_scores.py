"""Stage scores against known truth."""

from pathlib import Path

import numpy as np
import pytest
from made_up import HOSTILE, make_data, make_set, make_texts

from dlcr.data import open_images, open_masks
from dlcr.inpainting.quality import word_hits
from dlcr.params import Params, load_params
from dlcr.reporting import scores


@pytest.fixture(scope="module")
def params(repository: Path) -> Params:
    return load_params(repository / "profiles" / "minicc.yaml")


def test_mask_iou_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    labels, mask = rng.integers(0, 7, (9, 5)), rng.random((9, 5)) < 0.5
    truth, found = set(zip(*np.nonzero(labels >= 4), strict=True)), set(zip(*np.nonzero(mask), strict=True))
    assert scores.mask_iou(mask, labels) == pytest.approx(len(truth & found) / len(truth | found))
    assert scores.mask_iou(np.zeros((2, 2), bool), np.zeros((2, 2))) == 1


def test_text_accuracy_by_part() -> None:
    found = scores.text_accuracy(
        ["Gray Shirt|Blue jeans| red boots", "gray shirt"], ["gray shirt| blue jeans| Black shoes"] * 2
    )
    assert found == {"upper": 100, "lower": 50, "footwear": 0, "all": 0, "texts": 2}


def test_scores_of_a_made_up_pipeline(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, generated = params.report.dataset, params.report.samples
    manifest = make_data(tmp_path, dataset)
    make_texts(tmp_path, params, manifest)
    make_set(tmp_path, generated, manifest)
    masks = scores.mask_scores(tmp_path, dataset, manifest)
    assert masks["train"] == {"iou": 100, "images": 24, "empty": 0}
    texts = scores.prompt_scores(tmp_path, dataset, dataset, params.generated[generated].outfits)
    assert (texts["descriptions"]["footwear"], texts["outfits"]["all"]) == (50, 100)
    assert scores.variant_scores(tmp_path, dataset, generated) == {
        "variants": 96,
        "skipped": 24,
        "outside_identical": 100,
    }

    def answers(describer: object, images: list, question: str, **settings: object) -> list[str]:
        assert all(image is not None for image in images)
        return ["red striped shirt| green trousers| black boots"] * len(images)

    monkeypatch.setattr(scores, "load_describer", lambda model: model)
    monkeypatch.setattr(scores, "describe", answers)
    found = scores.prompt_alignment(tmp_path, dataset, generated, "model", params.describe.model_dump(), 0)
    # All 72 variants that were made; the first has a hostile prompt, of which the describer says nothing.
    assert found["images"] == 72
    assert found["items"] == 3 * 72
    assert found["upper"] == pytest.approx(100 * 71 / 72)
    assert found["footwear"] == 0
    # Of the nine words of three items, the colour of the boots is wrong.
    assert found["words"] == pytest.approx(100 * (71 * 8 + found_in_hostile()) / (72 * 9))
    assert "bound" not in found


def found_in_hostile() -> int:
    """How many of the nine words of the hostile prompt the made-up describer names."""
    return int(word_hits(HOSTILE, "red striped shirt| green trousers| black boots").sum())


def test_bound_of_the_alignment_is_the_truth_within_the_masks(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = params.report.dataset
    manifest = make_data(tmp_path, dataset)
    make_set(tmp_path, "toy", manifest)
    make_set(tmp_path, "truth", manifest)
    masks, originals = open_masks(tmp_path / "masks" / dataset), open_images(tmp_path / "data" / dataset / "images")
    shown = []

    def answers(describer: object, images: list, question: str, **settings: object) -> list[str]:
        shown.extend(images)
        return ["red striped shirt| green trousers| white boots"] * len(images)

    monkeypatch.setattr(scores, "load_describer", lambda model: model)
    monkeypatch.setattr(scores, "describe", answers)
    settings = params.describe.model_dump()
    found = scores.prompt_alignment(tmp_path, dataset, "toy", "model", settings, 0, "truth")
    assert found["bound"] == {part: found[part] for part in found["bound"]}
    assert len(shown) == 2 * found["images"]
    outside = {image_id: originals[image_id] * ~masks[image_id][..., None] for image_id in masks}
    for image in shown[found["images"] :]:
        assert any(np.array_equal(image * ~masks[image_id][..., None], kept) for image_id, kept in outside.items())


def test_hidden_parts_do_not_count(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = params.report.dataset
    manifest = make_data(tmp_path, dataset)
    make_set(tmp_path, "toy", manifest)
    monkeypatch.setattr(scores, "load_describer", lambda model: model)
    monkeypatch.setattr(scores, "describe", lambda describer, images, question, **settings: [""] * len(images))
    monkeypatch.setattr(scores, "VISIBLE_PIXELS", 1 + 7 * 24)  # a stripe has 7 x 24 pixels, the last one 6 x 24
    found = scores.prompt_alignment(tmp_path, dataset, "toy", "model", params.describe.model_dump(), 0)
    assert found["items"] == 0
    assert np.isnan(found["all"])


def test_a_set_without_variants_is_an_error(tmp_path: Path, params: Params) -> None:
    manifest = make_data(tmp_path, params.report.dataset)
    make_set(tmp_path, "toy", manifest, variants=1)
    with pytest.raises(ValueError, match="no variants"):
        scores.prompt_alignment(tmp_path, params.report.dataset, "toy", "model", params.describe.model_dump(), 0)
