"""K and seeds grow and nothing is lost: `dvc exp run -S k=...` makes only the new variants, wherever and however it
runs, and `-S 'seeds=[...]'` trains the new seeds only.

Real commands in copies of one clone, profile smoke (k: 2), set `oracle`: nothing to inpaint, so little but the commands
takes time. Where the store is said to be empty, the earlier variants can only come from DVC's cache.
"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from clones import command, documented, follow, made_clone, output, start

from dlcr.data import load_manifest, read_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STAGE = "inpaint@oracle"
FOLDER = Path("generated", "oracle")


@pytest.fixture(scope="module")
def two(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that holds the first two variants, in its store and in DVC's cache; committed."""
    return made_clone(repository, tmp_path_factory, "two")


@pytest.fixture(scope="module")
def four(two: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of four variants that were made at once, where none is left of earlier ones."""
    fresh = shutil.copytree(two, tmp_path_factory.mktemp("four") / "dlcr", symlinks=True)
    for path in (fresh / ".dlcr" / "store", fresh / ".dvc" / "cache"):
        shutil.rmtree(path)
    assert grow(fresh, 4) == (4, 0)
    return files(fresh)


@pytest.fixture
def clone(two: Path, tmp_path: Path) -> Path:
    return shutil.copytree(two, tmp_path / "dlcr", symlinks=True)


def counts(printed: str) -> tuple[float, float] | None:
    """Variants (made, taken) that the stage tells of, by their share of the images; None where DVC did not run it."""
    found = re.search(r"^oracle: \d+ variants of (\d+) images; (\d+) made, (\d+) taken", printed, flags=re.MULTILINE)
    if found is None:
        return None
    images, made, taken = (int(number) for number in found.groups())
    return made / images, taken / images


def start_growing(folder: Path, k: int, *options: str) -> subprocess.Popen:
    return start(folder, "dvc", "exp", "run", *options, "-S", f"k={k}", STAGE)


def grow(folder: Path, k: int, *options: str) -> tuple[float, float] | None:
    return counts(output(start_growing(folder, k, *options)))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / FOLDER).glob("*.arrow"))}


def variants(contents: dict[str, bytes], k: int) -> dict[str, bytes]:
    """The files of the first k variants."""
    return {name: data for name, data in contents.items() if int(name.split("-")[1]) < k}


def objects(root: Path) -> set[str]:
    """The hashes of what a cache or a remote of DVC holds, each checked against the bytes."""
    found = [path for path in (root / "files" / "md5").glob("??/*") if not path.name.endswith(".tmp")]
    for path in found:
        assert hashlib.md5(path.read_bytes()).hexdigest() == (path.parent.name + path.name).removesuffix(".dir"), path
    return {path.parent.name + path.name for path in found}


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def cached(clone: Path, data: bytes) -> Path:
    """Where DVC's cache keeps these bytes."""
    return clone / ".dvc" / "cache" / "files" / "md5" / md5(data)[:2] / md5(data)[2:]


def flip(path: Path) -> None:
    """Damage one byte of a file's fingerprint, and so its links'; neither its size nor its mode tells."""
    position = path.read_bytes().rindex(b'"inputs"')  # in Arrow's footer, where it is read
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"#")
    path.chmod(0o444)


def test_growing_makes_only_the_new_variants_and_going_back_makes_none(clone: Path, four: dict[str, bytes]) -> None:
    """The result is what making all of them at once gives."""
    assert files(clone) == variants(four, 2)
    assert grow(clone, 4) == (2, 2)
    assert files(clone) == four
    assert grow(clone, 2) in (None, (0, 2))  # DVC's run-cache knows it
    assert files(clone) == variants(four, 2)


def test_temporary_and_queued_experiments_grow_without_the_store(clone: Path, four: dict[str, bytes]) -> None:
    shutil.rmtree(clone / ".dlcr" / "store")
    assert grow(clone, 3, "--temp") == (1, 2)
    assert files(clone) == variants(four, 2)
    shutil.rmtree(clone / ".dlcr" / "store")
    assert grow(clone, 4, "--queue") is None
    assert counts(command(clone, "dvc", "exp", "run", "--run-all")) == (2, 2)
    assert grow(clone, 4) in (None, (0, 4))  # in the workspace nothing is left to make
    assert files(clone) == four


def test_another_clone_grows_what_it_pulled_and_pushes_only_what_is_new(
    clone: Path, tmp_path: Path, four: dict[str, bytes]
) -> None:
    remote = tmp_path / "remote"
    command(clone, "dvc", "remote", "add", "--default", "shared", str(remote))
    command(clone, "git", "commit", "--quiet", "--all", "--message", "remote")
    command(clone, "dvc", "push", "--with-deps", STAGE)
    before = objects(remote)
    command(tmp_path, "git", "clone", "--quiet", str(clone), "other")
    other = tmp_path / "other"
    command(other, "dvc", "pull", "--with-deps", STAGE)
    assert grow(other, 4) == (2, 2)
    assert files(other) == four
    command(other, "dvc", "push", STAGE)
    new = objects(remote) - before
    listings = {name for name in new if name.endswith(".dir")}
    assert len(listings) == 1
    assert new - listings == {md5(data) for name, data in four.items() if name not in variants(four, 2)}


def test_every_cache_type_and_damage(two: Path, tmp_path: Path, four: dict[str, bytes]) -> None:
    """A file that is damaged in the store, and in DVC's cache with it, is noticed and made again."""
    clones = {link: shutil.copytree(two, tmp_path / link, symlinks=True) for link in ("copy", "hardlink", "symlink")}
    for link, clone in clones.items():
        command(clone, "dvc", "config", "--local", "cache.type", link)
        command(clone, "dvc", "checkout", "--relink", "--with-deps", STAGE)
    for process in [start_growing(clone, 3) for clone in clones.values()]:
        assert counts(output(process)) == (1, 2)
    for link, clone in clones.items():
        check_links(clone, link, variants(four, 3))

    name = "variant-002-block-0000.arrow"
    images = load_manifest(two / "data" / "minicc").query("split == 'train'")
    share = read_table(clones["copy"] / FOLDER / name).num_rows / len(images)
    digest = hashlib.sha256(four[name]).hexdigest()
    for link, clone in clones.items():
        stored, kept = clone / ".dlcr/store/objects" / digest[:2] / digest, cached(clone, four[name])
        assert stored.samefile(kept) == (link == "hardlink")
        for path in {stored.stat().st_ino: stored, kept.stat().st_ino: kept}.values():
            flip(path)
    for process, clone in [(start_growing(clone, 4), clone) for clone in clones.values()]:
        printed = output(process)
        assert f"{clone / '.dlcr/store/objects' / digest[:2] / digest}: damaged or missing, it will be made" in printed
        assert counts(printed) == (pytest.approx(1 + share), pytest.approx(3 - share))
    for link, clone in clones.items():
        check_links(clone, link, four)


def images_trained(printed: str) -> int:
    """How many images of training a command cost, by what it printed."""
    return sum(int(images) for images in re.findall(r"^train \w+: 100% (\d+)/", printed, flags=re.MULTILINE))


def train(folder: Path, seeds: list[int]) -> int:
    """How many images of training the run `baseline` with these seeds cost, and that it has them."""
    printed = output(start(folder, "dvc", "exp", "run", "-S", f"seeds={seeds}", "train@baseline"))
    assert {path.name for path in (folder / "runs/baseline").iterdir()} == {f"seed-{seed}" for seed in seeds}
    return images_trained(printed)


def trained(folder: Path) -> dict[str, bytes]:
    paths = [path for path in (folder / "runs/baseline").rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}


def test_only_new_seeds_are_trained_in_another_clone_too(clone: Path, tmp_path: Path) -> None:
    one = trained(clone)
    cost = train(clone, [0, 1])
    assert cost > 0
    two = trained(clone)
    assert one.items() <= two.items()
    assert train(clone, [1, 2, 3]) == 2 * cost
    assert {name: data for name, data in two.items() if "seed-1" in name}.items() <= trained(clone).items()
    assert train(clone, [0]) == 0
    assert trained(clone) == one
    remote = tmp_path / "remote"
    command(clone, "dvc", "remote", "add", "--default", "shared", str(remote))
    command(clone, "git", "commit", "--quiet", "--all", "--message", "remote")
    command(clone, "dvc", "push", "--with-deps", "train@baseline")
    command(tmp_path, "git", "clone", "--quiet", str(clone), "other")
    command(tmp_path / "other", "dvc", "pull", "--with-deps", "train@baseline")
    assert train(tmp_path / "other", [0, 1]) == cost
    assert trained(tmp_path / "other") == two


def test_more_seeds_as_documented(repository: Path, clone: Path) -> None:
    """From the one seed of this clone to two and to four."""
    two, four = (images_trained(printed) for printed in follow(clone, documented(repository, "More seeds")))
    assert 0 < two < four == 2 * two
    scores = json.loads((clone / "evaluations/progressive/scores.json").read_text())
    assert list(scores["seeds"]) == ["0", "1", "2", "3"]


def check_links(clone: Path, link: str, expected: dict[str, bytes]) -> None:
    """The set holds what it should, linked to DVC's cache as that says; the cache is whole and read-only."""
    assert files(clone) == expected
    assert objects(clone / ".dvc" / "cache") >= {md5(data) for data in expected.values()}
    for name, data in expected.items():
        path, kept = clone / FOLDER / name, cached(clone, data)
        assert path.is_symlink() == (link == "symlink")
        assert path.samefile(kept) == (link != "copy")
        assert kept.stat().st_mode & 0o222 == 0
