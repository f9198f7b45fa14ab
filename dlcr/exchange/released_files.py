"""The variants that the authors of DLCR published, downloaded: `dlcr fetch-released`.

    fetched = fetch_released("prcc")            # into the hub's cache; a stopped download goes on
    import_released(fetched.folder, ...)        # dlcr.inpainting.released

Which files there are is asked of the hub at one commit. After the download each file's checksum is compared with the
hub's.
"""

import glob
import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HTTPError, RepositoryNotFoundError, RevisionNotFoundError

REPOSITORY = "ihaveamoose/DLCR"
KINDS = ("dataset", "model")
"""What the repository may be on the hub, in the order in which it is looked for."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")


@dataclass(frozen=True)
class Fetched:
    """What was downloaded: its folder in the hub's cache, the commit, how many files and bytes, archives among them."""

    folder: Path
    commit: str
    files: int
    size: int
    archives: list[str]


def fetch_released(dataset: str, revision: str = "main", repository: str = REPOSITORY) -> Fetched:
    """Download what a repository of the hub holds of a dataset: the files with its name in their paths, in any case.

    revision: a commit, a branch or a tag. Files that are in the hub's cache are not downloaded again. Raises
    ValueError, one line, for a repository or revision that is not there, a dataset that it has no files of, a hub that
    cannot be reached, a disk that is too small, and files whose checksums are not the hub's; these are deleted.
    """
    api = HfApi()
    try:
        kind, commit, sizes = _listed(api, repository, revision)
        name = dataset.casefold()
        wanted = {
            path: size for path, size in sizes.items() if any(name in part.casefold() for part in path.split("/"))
        }
        if not wanted:
            there = sorted({path.split("/")[0] for path in sizes})[:20]
            raise ValueError(f"{repository}: no files of {dataset!r}; it has {', '.join(there) or 'nothing'}")
        _check_disk(wanted, repository)
        patterns = sorted({_pattern(path, name) for path in wanted})  # each file is held against each pattern
        folder = snapshot_download(repository, repo_type=kind, revision=commit, allow_patterns=patterns)
        found = api.verify_repo_checksums(repository, repo_type=kind, revision=commit)
    except (HfHubHTTPError, HTTPError, OSError) as error:
        raise ValueError(f"{repository}: cannot be downloaded: {' '.join(str(error).split())}") from error
    broken = [*(entry["path"] for entry in found.mismatches), *sorted(wanted.keys() & set(found.missing_paths))]
    for path in broken:
        (Path(folder) / path).resolve().unlink(missing_ok=True)
        (Path(folder) / path).unlink(missing_ok=True)
    if broken:
        raise ValueError(
            f"{repository}: {len(broken)} files are not what the hub has ({broken[0]}) and were deleted; fetch again"
        )
    archives = sorted(path for path in wanted if path.casefold().endswith(ARCHIVES))
    return Fetched(Path(folder), commit, len(wanted), sum(wanted.values()), archives)


def _listed(api: HfApi, repository: str, revision: str) -> tuple[str, str, dict[str, int]]:
    """What kind of repository it is, the commit of a revision, and its files' sizes by path."""
    for kind in KINDS:
        try:
            commit = api.repo_info(repository, repo_type=kind, revision=revision).sha
            entries = api.list_repo_tree(repository, repo_type=kind, revision=commit, recursive=True)
            return kind, commit, {entry.path: entry.size for entry in entries if hasattr(entry, "size")}
        except RevisionNotFoundError as error:
            raise ValueError(f"{repository}: no revision {revision!r}") from error
        except RepositoryNotFoundError:
            continue
    raise ValueError(f"{repository}: not on the hub, or not open to you (`hf auth login`)")


def _pattern(path: str, name: str) -> str:
    """A pattern for a file with `name` in its path, and others that have it: the first folder with the name and all
    below it, or the file itself."""
    parts = path.split("/")
    count = next(place for place, part in enumerate(parts, start=1) if name in part.casefold())
    return glob.escape("/".join(parts[:count])) + ("/*" if count < len(parts) else "")


def _check_disk(wanted: dict[str, int], repository: str) -> None:
    """Raises ValueError where the hub's cache has no room for the files, were none of them there."""
    cache = Path(constants.HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    needed, free = sum(wanted.values()), shutil.disk_usage(place).free
    have = sum(path.stat().st_size for path in cache.glob(f"*--{repository.replace('/', '--')}/blobs/*"))
    if needed - have > free:
        raise ValueError(
            f"{cache}: the download needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; HF_HOME names another "
            "place"
        )
