"""`dlcr embed`: the features of a folder's pictures, in every kind of file; what is odd is told, and harms nothing."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from exchange.people import make_people
from exchange.trained_runs import write_pictures, write_run
from PIL import ExifTags, Image
from typer.testing import CliRunner, Result

from dlcr.cli import app
from dlcr.data import decode_rgb
from dlcr.evaluation.features import extract_features
from dlcr.exchange import embedding, trained
from dlcr.exchange.embedding import embed
from dlcr.exchange.feature_files import WRITTEN, read_features, write_features
from dlcr.exchange.pictures import find_pictures
from dlcr.exchange.trained import find_run
from dlcr.reid import load_model

NAMES = ["10/b.png", "9/a.jpg", "c.PNG", "deep/er/d.webp"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a trained run and a folder of four pictures."""
    write_run(tmp_path / "runs/mine/seed-0")
    write_pictures(tmp_path / "photos", NAMES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["embed", *words])


@pytest.mark.parametrize("suffix", WRITTEN)
def test_every_kind_of_file(place: Path, suffix: str) -> None:
    """Names are sorted paths below the folder, features those of the library; notes and hidden files are left."""
    (place / "photos/notes.txt").write_text("not a picture")
    write_pictures(place / "photos", [".hidden/x.png", "9/.y.png"])
    done = run("mine", "photos", "--out", f"x{suffix}")
    assert done.exit_code == 0, done.exception
    assert f"x{suffix}: 4 pictures, 320 dimensions, by runs/mine/seed-0; 0 could not be read" in done.stdout
    found = read_features(Path(f"x{suffix}"))
    assert found.names[""] == NAMES
    images = [decode_rgb((place / "photos" / name).read_bytes(), name) for name in NAMES]
    expected = extract_features(load_model("runs/mine/seed-0"), images, (48, 24), desc=None)
    np.testing.assert_allclose(found.features[""], expected, atol=1e-6)
    assert np.ptp(expected @ expected.T) > 1e-3  # they are not all the same


def test_a_packed_dataset_is_embedded_and_evaluated(place: Path) -> None:
    make_people(place / "data/people")
    assert run("mine", "data/people").exit_code == 0
    words = ["evaluate", "features.parquet", "--dataset", "people", "--reader", "prcc"]
    scored = CliRunner().invoke(app, words)
    assert scored.exit_code == 0
    assert "cc" in scored.stdout


def test_threads_change_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, pictures = load_model("runs/mine/seed-0"), find_pictures(place / "photos")
    monkeypatch.setattr(embedding, "CHUNK", 2)
    found = []
    for workers in (1, 2):
        monkeypatch.setattr(embedding, "worker_count", lambda most, workers=workers: workers)
        found.append(embed(model, pictures, "photos"))
    assert found[0].names == found[1].names == NAMES
    np.testing.assert_array_equal(found[0].features, found[1].features)


def test_what_cannot_be_read_is_told_and_left_out(place: Path) -> None:
    write_pictures(place, ["outside.png"])
    (place / "photos/0-broken.png").write_bytes((place / "photos/c.PNG").read_bytes()[:-30])
    (place / "photos/0-text.jpg").write_text("no picture")
    (place / "photos/0-out.png").symlink_to(place / "outside.png")
    (place / "photos/0-in.png").symlink_to(place / "photos/c.PNG")
    Path(os.fsdecode(bytes(place / "photos") + b"/\xff.png")).write_bytes((place / "photos/c.PNG").read_bytes())
    done = run("mine", "photos", "--out", "x.npz")
    assert "5 pictures, 320 dimensions, by runs/mine/seed-0; 4 could not be read" in done.stdout
    assert read_features(Path("x.npz")).names[""] == ["0-in.png", *NAMES]
    for name, reason in {
        "0-broken.png": "the image is truncated or damaged",
        "0-text.jpg": "not a readable image",
        "0-out.png": "a link to a file outside the folder",
        r"\udcff.png": "its name is not UTF-8",
    }.items():
        assert f"warning: photos: {name} is left out: {reason}" in done.stderr
    assert " at 0x" not in done.stderr


def test_orientation_tags_are_not_applied_and_told(place: Path) -> None:
    picture = Image.open(place / "photos/c.PNG")
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    picture.save(place / "photos/c.PNG", exif=tags)
    done = run("mine", "photos", "--out", "x.npz")
    assert "1 pictures have an orientation tag, which is not applied, c.PNG for one" in done.stderr


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["mine", "nothing"], FileNotFoundError, "nothing: no such folder or picture"),
        (["mine", "empty"], ValueError, "empty: no pictures in it or below it; expected files .jpg, .jpeg"),
        (["mine", "broken"], ValueError, "embed: none of 1 pictures can be read, x.png for one: not a readable image"),
        (["theirs", "photos"], FileNotFoundError, "RUN theirs: no trained model; runs/ holds clips, mine, nan, and a"),
        (["mine/seed-7", "photos"], FileNotFoundError, "RUN mine/seed-7: no trained model"),
        (["nan", "photos"], ValueError, "the model's features of image '10/b.png' are not finite"),
        (["clips", "photos"], ValueError, "runs/clips/seed-0: a model of clips, 8 frames each"),
        (["mine", "photos", "--out", "photos"], ValueError, "photos: expected a name that ends in .parquet, .npz"),
        (["mine", "photos", "--out", "there.npz"], FileExistsError, "there.npz: is there already; remove it"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(place: Path, words: list[str], error: type, message: str) -> None:
    write_run(place / "runs/nan/seed-0", spoil=True)
    write_run(place / "runs/clips/seed-0", "c2d-mini")
    (place / "empty").mkdir()
    (place / "broken").mkdir()
    (place / "broken/x.png").write_text("no picture")
    (place / "there.npz").write_text("mine")
    before = sorted(path.name for path in place.iterdir())
    done = run(*words)
    assert isinstance(done.exception, error)
    assert message in str(done.exception)
    assert sorted(path.name for path in place.iterdir()) == before
    assert (place / "there.npz").read_text() == "mine"


def test_runs_by_their_names(place: Path) -> None:
    """The first seed by number, ablations, paths and folders elsewhere."""
    write_run(place / "runs/other/seed-10")
    write_run(place / "runs/other/seed-2")
    write_run(place / "runs/other/plain/seed-1")
    (place / "runs/other/seed-2").rename(place / "elsewhere")
    assert find_run("other") == Path("runs/other/seed-10")
    (place / "elsewhere").rename(place / "runs/other/seed-2")
    expected = {
        "other": "runs/other/seed-2",
        "other/seed-10": "runs/other/seed-10",
        "runs/other": "runs/other/seed-2",
        "other/plain": "runs/other/plain/seed-1",
        "runs/mine/seed-0": "runs/mine/seed-0",
    }
    assert {name: find_run(name).as_posix() for name in expected} == expected
    (place / "runs/mine/seed-0").rename(place / "elsewhere")
    assert find_run("elsewhere") == Path("elsewhere")


def test_code_beside_the_weights_is_run_only_where_params_name_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "runs/mine/seed-0/model.py").write_text("open('was-run', 'w').close()\n")
    (place / "params.yaml").touch()
    named = {"mine": SimpleNamespace(own_code=None)}
    monkeypatch.setattr(trained, "load_params", lambda: SimpleNamespace(runs=named))
    assert run("mine", "photos", "--out", "a.npz").exit_code == 0
    assert not Path("was-run").exists()
    named["mine"].own_code = "own.py"
    assert run("mine", "photos", "--out", "b.npz").exit_code == 0
    assert Path("was-run").exists()
    Path("was-run").unlink()
    Path("runs/mine/seed-0").rename("elsewhere")
    assert run("elsewhere", "photos", "--out", "c.npz").exit_code == 0
    assert not Path("was-run").exists()


def test_features_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    features = np.ones((2, 3), np.float32)
    features[1, 2] = np.inf
    with pytest.raises(ValueError, match="features must be finite"):
        write_features(tmp_path / "x.npz", features, ["a", "b"])
    assert list(tmp_path.iterdir()) == []
