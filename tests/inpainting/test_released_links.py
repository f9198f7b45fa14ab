"""Links in a release: those within it are followed, and none that leads out of it."""

from pathlib import Path

import pytest
from strips import FIRST, contents, text_of, write_strips

from dlcr.inpainting.released import import_released


def test_a_link_to_the_release_is_one_place(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release" / "real")
    (tmp_path / "release" / "link").symlink_to("real")
    assert import_released(tmp_path / "release", packed, tmp_path / "set").made == 3


@pytest.mark.parametrize("ending", [".txt", ".png"])
def test_a_link_out_of_the_release_is_not_followed(packed: Path, tmp_path: Path, ending: str) -> None:
    """A text file that is a link to a secret of three lines would become prompts."""
    write_strips(packed, tmp_path / "release")
    path, secret = tmp_path / "release" / f"{FIRST}{ending}", tmp_path / "secret"
    path.rename(secret)
    for target in (secret, Path("../../../../secret"), tmp_path / "detour"):
        path.unlink(missing_ok=True)
        (tmp_path / "detour").unlink(missing_ok=True)
        (tmp_path / "detour").symlink_to(secret)
        path.symlink_to(target)
        assert path.read_bytes() == secret.read_bytes()
        with pytest.raises(
            ValueError, match=rf"rgb001\{ending} is reached by a link .* to {secret}; .*cp -rL"
        ) as error:
            import_released(tmp_path / "release", packed, tmp_path / "set")
        assert text_of(0, 1) not in str(error.value)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("level", ["", "rgb", "rgb/train", "rgb/train/001"])
def test_a_folder_that_is_a_link_out_of_the_release_is_not_followed(packed: Path, tmp_path: Path, level: str) -> None:
    """But the release itself may be a link."""
    write_strips(packed, tmp_path / "elsewhere")
    (tmp_path / "release" / level).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "release" / level).symlink_to(tmp_path / "elsewhere" / level)
    for other in ("002", "003") if level.endswith("001") else ():
        (tmp_path / "release/rgb/train" / other).mkdir()
    if not level:
        assert import_released(tmp_path / "release", packed, tmp_path / "set").missing == 0
        return
    with pytest.raises(ValueError, match=r"link that leads out of the release, to .*/elsewhere/rgb"):
        import_released(tmp_path / "release", packed, tmp_path / "set", allow_missing=True)
    assert not (tmp_path / "set").exists()


def test_links_within_the_release_are_followed(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    import_released(tmp_path / "release", packed, tmp_path / "plain")
    path = tmp_path / "release" / f"{FIRST}.txt"
    path.rename(tmp_path / "release" / "text")
    path.symlink_to("../../../text")
    (tmp_path / "release" / "rgb").rename(tmp_path / "release" / ".strips")
    (tmp_path / "release" / "rgb").symlink_to(".strips")
    import_released(tmp_path / "release", packed, tmp_path / "set")
    assert contents(tmp_path / "set") == contents(tmp_path / "plain")


def test_a_snapshot_in_the_hubs_cache_is_a_release(packed: Path, tmp_path: Path) -> None:
    """All its files are links to the repository's blobs; a blob that is a link, or blobs elsewhere, are refused."""
    write_strips(packed, tmp_path / "plain")
    import_released(tmp_path / "plain", packed, tmp_path / "set")
    repository = tmp_path / "hub" / "datasets--owner--release"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / ("0" * 40)
    for number, file in enumerate(sorted(file for file in (tmp_path / "plain").rglob("*") if file.is_file())):
        path = snapshot / "PRCC" / file.relative_to(tmp_path / "plain")
        path.parent.mkdir(parents=True, exist_ok=True)
        (repository / "blobs" / f"{number:040}").write_bytes(file.read_bytes())
        path.symlink_to(Path(*[".."] * len(path.parent.relative_to(repository).parts), "blobs", f"{number:040}"))
    for release in (snapshot, snapshot / "PRCC"):
        import_released(release, packed, tmp_path / "again")
        assert contents(tmp_path / "again") == contents(tmp_path / "set")
    (repository / "blobs").rename(tmp_path / "blobs")
    (repository / "blobs").symlink_to(tmp_path / "blobs")
    with pytest.raises(ValueError, match=r"link that leads out of the release, to .*/blobs/0000"):
        import_released(snapshot, packed, tmp_path / "again")


def test_a_link_in_a_circle_is_a_missing_text(packed: Path, tmp_path: Path) -> None:
    write_strips(packed, tmp_path / "release")
    path = tmp_path / "release" / f"{FIRST}.txt"
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(ValueError, match=r"its text A_cropped_rgb001\.txt is not in the release"):
        import_released(tmp_path / "release", packed, tmp_path / "set")
