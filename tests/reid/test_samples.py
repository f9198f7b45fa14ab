"""Labels of a run, and which sets it refuses."""

from pathlib import Path

import numpy as np
import pytest

from dlcr.data import load_manifest, save_manifest
from dlcr.reid.samples import load_samples


def test_labels_and_owners(make_toy) -> None:
    dataset, generated = make_toy((4, 2, 2), skipped=((1, 0), (2, 6)))
    samples = load_samples(dataset, generated, "paired")
    assert samples.subjects.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert samples.clothes.tolist() == [0, 1, 0, 1, 2, 3, 4, 5]
    assert samples.owners == [0, 0, 1, 1, 2, 2]
    assert samples.present.shape == (3, 8)
    assert np.argwhere(~samples.present).tolist() == [[1, 0], [2, 6]]
    assert samples.name(0, 1) == "0/001.png"
    assert samples.name(3, 1) == "0/001.png variant 2"


def test_mode_none_opens_no_generated_set(make_toy) -> None:
    dataset, _ = make_toy()
    assert load_samples(dataset, Path("missing"), "none").present.shape == (0, 12)


def test_refused_sets(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy(k=2, dataset="elsewhere")
    with pytest.raises(ValueError, match=r"toyset: 2 variants, the run needs 3"):
        load_samples(dataset, generated, "paired", k=3)
    with pytest.raises(ValueError, match=r"made from dataset 'elsewhere', the run trains on 'toy'"):
        load_samples(dataset, generated, "paired")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"none: the set is empty, mode 'concat' needs variants"):
        load_samples(dataset, tmp_path / "none", "concat")


def test_a_set_of_other_images_is_refused(make_toy, tmp_path: Path) -> None:
    dataset, generated = make_toy((4, 4))
    generated = generated.rename(tmp_path / "old")
    (tmp_path / "data/toy/manifest.parquet").unlink()
    dataset, _ = make_toy((4, 4, 2))
    with pytest.raises(
        ValueError, match=r"not made from the training images of .*: '2/008.png' is in one of them only"
    ):
        load_samples(dataset, generated, "paired")


def test_a_subject_with_one_image_is_refused(make_toy) -> None:
    dataset, _ = make_toy((4, 1, 2))
    with pytest.raises(
        ValueError, match=r"toy: subject '1' has one training image, '1/004.png'; expected at least two"
    ):
        load_samples(dataset, Path("missing"), "none")


def test_a_clips_sample_is_a_chunk_of_a_tracklet(make_toy) -> None:
    dataset, generated = make_toy((4, 4), skipped=((1, 2),))
    manifest = load_manifest(dataset)
    tracklet = np.where(manifest["split"] == "train", "t" + manifest["clothes"], "tg")
    frame = [3, 2, 1, 0, 0, 1, 2, 3, 0]
    save_manifest(manifest.assign(tracklet=tracklet, frame=frame), dataset / "manifest.parquet")
    samples = load_samples(dataset, generated, "paired", frames=2)
    assert [images.tolist() for images in samples.images] == [[2, 0], [3, 1], [4, 6], [5, 7]]
    assert samples.subjects.tolist() == [0, 0, 1, 1]
    assert samples.clothes.tolist() == [0, 1, 2, 3]
    assert np.argwhere(~samples.present).tolist() == [[1, 0]]  # variant 1 of image 2 is missing
    assert samples.name(2, 1) == "0/003.png variant 1"
