"""Files made so that nothing is made twice: the one way in which stages that work through images go on after a stop.

    made = make_files(Path("masks/minicc"), {"masks-00000.arrow": ids}, build, payload, key, write, "parse")

A file is taken from the store where everything that makes it is as it was; the others are made, by workers where there
are several (`runtime.executor`), and each is put into the store as soon as it is written. So a stopped run goes on with
the same bytes, and an enlarged one makes only what is new.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from dlcr.runtime.alone import hold
from dlcr.runtime.code import code_of
from dlcr.runtime.earlier import adopt, earlier_files
from dlcr.runtime.executor import Work, run_chunks
from dlcr.runtime.files import is_part, remove_leftovers
from dlcr.runtime.progress import progress
from dlcr.runtime.store import Store, key_of, state_root

Rows = Any  # what a file is about, with a length: image_ids, a table


def make_files(
    folder: Path,
    files: Mapping[str, Rows],
    build: Callable[[], Work],
    payload: Callable[[Rows], Any],
    key: Callable[[Rows], object],
    write: Callable[[Path, Rows, Any], None],
    desc: str,
    *,
    store: Store | None = None,
    same: Callable[[Path, Rows], bool] | None = None,
) -> int:
    """Make the files of `folder`, by name their rows, remove others, and return how many rows were made now.

    build: makes what works, payload to result, once in each process and only if something is to be made; payload: plain
        data from a file's rows; both as for `run_chunks`.
    key: plain JSON data that says what a file is made from: inputs, model, settings. The code is added here.
    write: writes a file of rows and their result, whole (`runtime.files.atomic_path`), in a thread of its own.
    desc: what stands before the progress.
    same: whether a file that DVC kept of this folder says that it was made from these rows by the same; None: there are
        none to ask (`runtime.earlier`).

    What `build` and `write` use must not be defined in a stage, as all that a stage imports would enter the keys.
    """
    store = store or Store()
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    for path in folder.iterdir():
        if path.is_file() and path.name not in files and not is_part(path.name):
            path.unlink()
    code = code_of(build, write)
    keys = {name: key_of([code, key(rows)]) for name, rows in files.items()}
    total = sum(map(len, files.values()))

    def finish(name: str, result: Any) -> None:
        write(folder / name, files[name], result)
        store.put(keys[name], folder / name)

    with progress(total, desc) as bar, ThreadPoolExecutor(1) as writer:
        missing = [name for name in files if not store.take(keys[name], folder / name)]
        if missing and same is not None:
            earlier = earlier_files(folder)
            for name in [name for name in missing if name in earlier]:
                # Adopting verifies the file: only then what it says of itself is worth reading.
                if adopt(earlier[name], folder / name) and same(folder / name, files[name]):
                    store.put(keys[name], folder / name)
                    missing.remove(name)
        made = sum(len(files[name]) for name in missing)
        bar.skip(total - made)
        written: Future | None = None
        chunks = ((name, partial(payload, files[name])) for name in missing)
        with closing(run_chunks(build, chunks, desc)) as results:
            for name, result in results:
                if written is not None:
                    written.result()  # so that one file waits at most, and no failure is lost
                written = writer.submit(finish, name, result)
                bar.update(len(files[name]))
        if written is not None:
            written.result()
    return made


def split_rows(rows: list, size: int, name: str) -> dict[str, list]:
    """Files of at most `size` rows; name: a template that takes the number of the file, as "masks-{:05d}.arrow"."""
    return {name.format(number): rows[first : first + size] for number, first in enumerate(range(0, len(rows), size))}


@contextmanager
def parts_folder(stage: str, name: str) -> Iterator[Path]:
    """An empty folder for the parts that a stage joins into one file; what the store has of them outlives it.

    ValueError while another process has it (`dlcr.runtime.alone.hold`).
    """
    folder = state_root() / "parts" / f"{stage}@{name}"
    hold(folder)
    rmtree(folder, ignore_errors=True)  # of a run that was killed
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)
