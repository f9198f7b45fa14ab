"""A content-addressed store of files that are costly to make; it may be deleted at any time.

`keys/<key>` names the SHA-256 of a file in `objects/`; the key stands for everything that makes the file. A
stage asks with `take` before it works and hands in with `put` after: an interrupted or enlarged run makes
only what is missing.

Libraries make files, too: where a container image is recorded for the stage (DLCR_IMAGE, which containers/run sets),
entries and work folders are those of this image, and another image finds nothing of them.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from dlcr.runtime.alone import hold
from dlcr.runtime.files import atomic_path, write_text

_KEY = re.compile(r"^[0-9A-Za-z._-]{1,200}$")
_LISTING = ".files"
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES}


def state_root() -> Path:
    """Return `.dlcr` of the main repository ($DVC_ROOT, in DVC's temporary copies too), else of the cwd."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()) / ".dlcr"


def work_folder(key: str) -> Path:
    """Return the folder in which the work `key` keeps what it continues from when it is started again, like the
    checkpoints of a training. This call does not make it, but has it for this process alone from now on: ValueError
    while another process has it (`dlcr.runtime.alone.hold`)."""
    folder = state_root() / "checkpoints" / _of_image(key)
    hold(folder)
    return folder


def key_of(obj: object) -> str:
    """Return the SHA-256 (hex) of `obj` as canonical JSON. Raises ValueError for other data."""
    try:
        text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a store key is made of plain JSON data: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """Files by key. `root`: default `$DVC_ROOT/.dlcr/store`. Safe for several processes at once."""

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = Path(root) if root is not None else state_root() / "store"

    def take(self, key: str, destination: str | Path) -> bool:
        """Put the file of `key` at `destination` and return True; False when the store lacks it.

        A hard link where possible, else a copy; what was at `destination` is replaced. The content is
        verified first: a damaged entry is removed, with a warning, and counts as lacking.
        """
        entry = self._entry(key)
        digest = _read(entry)
        if digest is None:
            return False
        source = self._object(digest)
        try:
            with atomic_path(destination) as part:
                link_or_copy(source, part)
                if _sha256(part) != digest:
                    raise DamagedError
        except (DamagedError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and source.exists():
                raise
            warnings.warn(f"{source}: damaged or missing, it will be made again", stacklevel=2)
            entry.unlink(missing_ok=True)
            source.unlink(missing_ok=True)
            return False
        return True

    def put(self, key: str, source: str | Path) -> None:
        """Keep `source` under `key` in place of an earlier entry. Where linked, `source` becomes read-only.

        The store only ever adds and replaces names, so no file that shares content with it is written into.
        """
        source = Path(source)
        if not source.is_file():
            raise FileNotFoundError(f"{source}: no such file to put into the store")
        digest = _sha256(source)
        target = self._object(digest)
        with atomic_path(target) as part:
            link_or_copy(source, part)
            if _sha256(part) != digest:
                raise ValueError(f"{source}: changed while it was put into the store")
            part.chmod(0o444)  # a writer that opens a linked file by mistake is refused
        write_text(self._entry(key), digest + "\n")

    def take_folder(self, key: str, destination: str | Path) -> bool:
        """`take` for a folder that `put_folder` put in; False, and no `destination`, where a file is lacking."""
        destination = Path(destination)
        listing = destination / _LISTING
        if not self.take(key, listing):
            return False
        names = json.loads(listing.read_text(encoding="utf-8"))
        listing.unlink()
        if all(self.take(key_of([key, name]), destination / name) for name in names):
            return True
        shutil.rmtree(destination)
        return False

    def put_folder(self, key: str, source: str | Path) -> None:
        """`put` of all files of a folder, the list of their names last."""
        source = Path(source)
        names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
        for name in names:
            self.put(key_of([key, name]), source / name)
        with TemporaryDirectory(dir=self.root) as folder:
            listing = Path(folder) / _LISTING
            write_text(listing, json.dumps(names))
            self.put(key, listing)

    def _entry(self, key: str) -> Path:
        name = _of_image(key)
        return self.root / "keys" / name[:2] / name

    def _object(self, digest: str) -> Path:
        return self.root / "objects" / digest[:2] / digest


class DamagedError(Exception):
    """The content of a file is not what its name says."""


def _of_image(key: str) -> str:
    """The key, or, where an image is recorded for the stage, the hash of both."""
    if not _KEY.match(key) or key.startswith("."):
        raise ValueError(f"store key {key!r}: expected letters, digits, '.', '_' and '-', as from key_of")
    image = os.environ.get("DLCR_IMAGE")
    return hashlib.sha256(f"{image} {key}".encode()).hexdigest() if image else key


def _read(entry: Path) -> str | None:
    """Return the digest that a key file holds, or None when it is missing or unreadable."""
    try:
        digest = entry.read_bytes().strip().decode("ascii", "replace")
    except FileNotFoundError:
        return None
    if re.fullmatch(r"[0-9a-f]{64}", digest):
        return digest
    warnings.warn(f"{entry}: damaged, it will be made again", stacklevel=3)
    entry.unlink(missing_ok=True)
    return None


def link_or_copy(source: Path, destination: Path) -> None:
    """Make `destination`, which must not exist, a hard link to `source`, or a copy where links do not work."""
    try:
        os.link(source, destination)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, destination)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
