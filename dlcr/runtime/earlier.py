"""What DVC's cache still holds of a stage's earlier output, for stages that add to it.

DVC removes a stage's outputs before it runs, but dvc.lock names what they held and the cache keeps the files: after
`dvc pull` in a new clone too, where the store is empty. A running stage asks with `earlier_files(folder)`, decides by
each file's own fingerprint whether it is what would be made again, and takes it with `adopt`.

An accelerator only: without DVC, without the cache or with other code the answer is empty and everything is made.
"""

import hashlib
import os
import warnings
from pathlib import Path
from typing import NamedTuple

from dlcr.runtime.files import atomic_path
from dlcr.runtime.store import DamagedError, link_or_copy

# What decides about an output's bytes but is not written into its files' fingerprints: code, and image digests.
_CODE = ("dlcr", "stages", "containers")


class EarlierFile(NamedTuple):
    """A file in DVC's cache, not verified: `path` (read-only, never to be written to) should have the hash `md5`."""

    path: Path
    md5: str


def earlier_files(folder: str | Path) -> dict[str, EarlierFile]:
    """Return by file name what dvc.lock says that the output `folder` of the running stage held, as far as cached.

    Empty outside a DVC stage, and where the stage's code or container image is not what dvc.lock names: fingerprints
    say which models, settings and inputs made a file, not which code. Nothing is downloaded. An error of DVC is a
    warning, and the answer is empty.
    """
    stage_name = os.environ.get("DVC_STAGE")
    if not stage_name:
        return {}
    try:
        return _cached_files(stage_name, Path(folder).resolve())
    except Exception as error:  # whatever is wrong with DVC, the stage can do without
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"{folder}: its earlier files are not taken from DVC's cache: {reason}", stacklevel=2)
        return {}


def adopt(earlier: EarlierFile, destination: str | Path) -> bool:
    """Put an earlier file at `destination` and return True; False, with a warning, when it is damaged or gone.

    A hard link (read-only, as in the cache) where possible, else a copy; what was at `destination` is replaced.
    A damaged file is removed from the cache, as DVC itself would where it looks: DVC trusts read-only files unread,
    and would put the damage back in place of the bytes that are made again.
    """
    try:
        with atomic_path(destination) as part:
            link_or_copy(earlier.path, part)
            with part.open("rb") as file:
                if hashlib.file_digest(file, "md5").hexdigest() != earlier.md5:
                    earlier.path.unlink()
                    raise DamagedError
    except (DamagedError, FileNotFoundError, PermissionError):
        warnings.warn(f"{earlier.path}: damaged or missing, {Path(destination).name} will be made again", stacklevel=2)
        return False
    return True


def _cached_files(stage_name: str, folder: Path) -> dict[str, EarlierFile]:
    from dvc.repo import Repo  # half a second, and only inside a DVC stage

    with Repo() as repo:  # of the working directory: in DVC's temporary copies it knows the same cache
        (stage,) = repo.stage.collect(stage_name)
        code = [dep for dep in stage.deps if Path(dep.def_path).parts[0] in _CODE]
        out = {Path(out.fs_path).resolve(): out for out in stage.outs}[folder]
        if any(dep.status() for dep in code) or out.hash_name != "md5":  # DVC 2 had another
            return {}
        listing = out.get_obj() or ()  # None where dvc.lock or the cache has no such entry
        files = {
            "/".join(name): EarlierFile(Path(out.cache.oid_to_path(digest.value)), digest.value)
            for name, _, digest in listing
        }
    return {name: file for name, file in files.items() if file.path.is_file()}
