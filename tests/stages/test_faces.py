"""Stage faces with the shipped model on a small MiniCC: faces in order, the same bytes, clear errors."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import dlcr.faces.finder
import stages.faces
from dlcr.data import encode_png, load_manifest, open_images
from dlcr.faces import face_maker, find_faces, join_parts, load_faces, open_faces, query_and_gallery, write_part
from dlcr.params import MiniCC
from dlcr.runtime import timing
from dlcr.runtime.store import state_root
from stages.prepare import render_minicc

SIZES = {"train_subjects": 1, "val_subjects": 1, "test_subjects": 5, "images_per_camera": 4, "seed": 0}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    render_minicc("minicc", MiniCC(**SIZES), folder)
    return folder


@pytest.fixture
def workplace(tmp_path, dataset, repository, monkeypatch) -> Path:
    """A folder with the shipped profile, the shipped face model and a small MiniCC."""
    params = yaml.safe_load((repository / "profiles" / "minicc.yaml").read_text(encoding="utf-8"))
    params |= {"minicc": SIZES, "faces": {"small": {"dataset": "minicc"}}, "find_faces": {"batch": 16}}
    params["models"]["faces"] = str(repository / "models" / "mini" / "faces")
    for evaluation in params["evaluations"].values():
        evaluation["faces"] = "none"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "minicc").symlink_to(dataset)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(stages.faces.app, arguments, catch_exceptions=False)


def test_faces_of_queries_and_gallery_are_those_of_the_images(workplace, repository):
    output = run("small").output
    manifest = load_manifest(Path("data/minicc"))
    expected = query_and_gallery(manifest)["image_id"].tolist()
    assert len(expected) == 5 * (4 + 4 + 2)
    faces = open_faces("faces/small/faces.parquet", manifest)
    assert faces.image_ids == expected
    images = open_images("data/minicc/images")
    finder = load_faces(str(repository / "models" / "mini" / "faces"))
    chosen = expected[::-7]
    scores, embeddings = find_faces(finder, [images[image_id] for image_id in chosen], batch=3)
    found = faces.of(chosen)
    assert found[0] == pytest.approx(scores, abs=1e-5)
    assert found[1] == pytest.approx(embeddings, abs=1e-4)
    assert f"small: {np.count_nonzero(faces.scores)} faces in 50 images" in output
    assert (faces.scores > 0.8).mean() > 0.8
    assert timing.load_all()["images"].tolist() == [50]


def test_a_stopped_stage_goes_on_with_the_same_bytes(workplace, monkeypatch):
    monkeypatch.setattr(stages.faces, "CHUNK", 16)
    run("small")
    whole = Path("faces/small/faces.parquet").read_bytes()
    Path("faces/small/faces.parquet").unlink()
    shutil.rmtree(state_root() / "store")
    worked, plain = [], dlcr.faces.finder.find_faces

    def watched(finder, images, batch):
        worked.append(len(images))
        if len(worked) == 3:
            raise KeyboardInterrupt
        return plain(finder, images, batch)

    monkeypatch.setattr(dlcr.faces.finder, "find_faces", watched)
    with pytest.raises(KeyboardInterrupt):
        stages.faces.main("small")
    assert not Path("faces/small/faces.parquet").exists()
    run("small")
    assert worked == [16, 16, 16, 16, 2]
    assert Path("faces/small/faces.parquet").read_bytes() == whole
    assert not list((state_root() / "parts").iterdir())


def test_an_unreadable_image_has_no_face_and_stops_nothing(workplace, repository):
    images = open_images("data/minicc/images")
    good = images.encoded(query_and_gallery(load_manifest(Path("data/minicc")))["image_id"].iloc[0])
    make = face_maker(str(repository / "models" / "mini" / "faces"), 2)
    odd = [good, good[:200], b"", encode_png(np.full((1, 1, 3), 90, np.uint8)), good]
    scores, embeddings, unreadable = make(list(zip("abcde", odd, strict=True)))
    assert unreadable == 2
    assert not scores[1:3].any()
    assert not embeddings[1:3].any()
    assert scores[0] > 0.5
    assert scores[4] == pytest.approx(scores[0], abs=1e-5)
    assert embeddings[4] == pytest.approx(embeddings[0], abs=1e-4)  # the batch may change the last bits
    scores, embeddings, unreadable = make([("a", b"")])
    assert (scores.tolist(), embeddings.shape, unreadable) == ([0.0], (1, 64), 1)


def test_parts_keep_how_many_images_are_unreadable(tmp_path):
    """So that the warning is right after a resume, too."""
    parts = {"a": 1, "bc": 0, "def": 2}
    for ids, unreadable in parts.items():
        found = np.zeros(len(ids), np.float32), np.zeros((len(ids), 4), np.float32), unreadable
        write_part(tmp_path / ids, list(ids), found)
    table, unreadable = join_parts([tmp_path / ids for ids in parts])
    assert table["image_id"].to_pylist() == list("abcdef")
    assert unreadable == 3


def test_bad_names_and_missing_models_are_one_clear_error(workplace):
    with pytest.raises(ValueError, match="faces has no 'prcc'; it has small"):
        run("prcc")
    path = workplace / "params.yaml"
    path.write_text(path.read_text().replace("models/mini/faces", "models/mini/none"), encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"models/mini/none: no such folder"):
        run("small")
