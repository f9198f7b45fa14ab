"""`dlcr fetch-released` against a small hub: what it downloads, checks, and says when it cannot."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hubs import commit_of, serve

OWNER = "authors/variants"
FILES = {
    "PRCC/train/001/A_cropped_rgb001.png": b"strip" * 500,
    "PRCC/train/001/A_cropped_rgb001.txt": b"Gray shirt| Blue jeans| Black shoes\n",
    "LaST/train/000001/000001_film_sc1_1.png": b"other",
    "README.md": b"variants",
}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "origin" / OWNER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "origin"


@pytest.fixture(params=["dataset", "model"])
def hub(origin: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    with serve(origin, kind=request.param) as served:
        yield served


def fetch(hub: tuple[str, list[str]], home: Path, *words: str, offline: str = "0") -> subprocess.CompletedProcess:
    """The command in a process of its own: the hub's library reads its address once."""
    settings = {"HF_ENDPOINT": hub[0], "HF_HOME": str(home), "HF_HUB_OFFLINE": offline, "HF_HUB_DISABLE_XET": "1"}
    arguments = ["dlcr", "fetch-released", "--repository", OWNER, *words]
    code = f"import sys; from dlcr.cli import main; sys.argv = {arguments!r}; main()"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), **settings}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def downloaded(hub: tuple[str, list[str]]) -> list[str]:
    """The files that were asked for, heads of them apart."""
    return [path.split("/resolve/")[1].split("/", 1)[1] for path in hub[1] if path[:3] == "GET" and "/resolve/" in path]


def test_files_of_a_dataset_once(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    """Those with its name, of one commit; a second time nothing is downloaded, and a damaged file is noticed."""
    done = fetch(hub, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.split(": ")[0])
    wanted = {name for name in FILES if name.startswith("PRCC")}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()} == wanted
    assert all((folder / name).read_bytes() == FILES[name] for name in wanted)
    assert f"commit {commit_of(OWNER)}" in done.stdout
    assert f"Next: dlcr import-released {folder} --dataset prcc" in done.stdout
    assert sorted(downloaded(hub)) == sorted(wanted)

    hub[1].clear()
    assert fetch(hub, tmp_path / "home", "--revision", commit_of(OWNER)).stdout == done.stdout
    assert downloaded(hub) == []

    strip = min(wanted)
    damaged = bytearray(FILES[strip])
    damaged[7] ^= 1
    (folder / strip).resolve().write_bytes(damaged)
    refused = fetch(hub, tmp_path / "home")
    assert refused.returncode == 1
    assert f"1 files are not what the hub has ({strip}) and were deleted; fetch again" in refused.stderr
    hub[1].clear()
    assert fetch(hub, tmp_path / "home").stdout == done.stdout
    assert downloaded(hub) == [strip]


def test_what_cannot_be_fetched(origin: Path, tmp_path: Path) -> None:
    """One line each: no such dataset, revision or repository, no network, a hub that is not there."""
    with serve(origin, kind="dataset") as hub:
        cases = {
            ("--dataset", "ccvid"): "no files of 'ccvid'; it has LaST, PRCC, README.md",
            ("--revision", "older"): "no revision 'older'",
            ("--repository", "authors/others"): "authors/others: not on the hub, or not open to you",
        }
        for words, message in cases.items():
            refused = fetch(hub, tmp_path / "home", *words)
            assert (refused.returncode, refused.stdout) == (1, ""), words
            assert message in refused.stderr
            assert len(refused.stderr.strip().splitlines()) == 1
        refused = fetch(hub, tmp_path / "home", offline="1")
        assert "cannot be downloaded" in refused.stderr
    refused = fetch(hub, tmp_path / "home")
    assert "cannot be downloaded" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_archives_are_named(origin: Path, tmp_path: Path) -> None:
    (origin / OWNER / "prcc.zip").write_bytes(b"PK")
    with serve(origin, kind="dataset") as hub:
        done = fetch(hub, tmp_path / "home")
    assert "Unpack its 1 archives (prcc.zip)" in done.stdout
    assert "Next: dlcr import-released FOLDER --dataset prcc" in done.stdout
