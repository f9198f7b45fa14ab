"""A trained model's features of your own pictures.

found = embed(model, find_pictures(Path("photos")), "photos")
found.names, found.features, found.unreadable
"""

from __future__ import annotations

import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dlcr.data import decode_rgb
from dlcr.evaluation.features import extract_features
from dlcr.exchange.pictures import Pictures, is_turned
from dlcr.runtime.determinism import worker_count
from dlcr.runtime.progress import progress

if TYPE_CHECKING:
    from dlcr.reid import ReidModel

CHUNK = 64  # pictures that a thread works on, and that the model sees at a time


@dataclass(frozen=True, eq=False)
class Embedded:
    """Features of the pictures that could be read.

    names: of these, in the order of the pictures. features: float32 [N, D], rows of length 1. unreadable: why not, by
    name. turned: names of those with an orientation tag, which is not applied (`dlcr.data.decode_rgb`).
    """

    names: list[str]
    features: np.ndarray
    unreadable: dict[str, str]
    turned: list[str]

    def warn(self, what: str) -> None:
        """Say on stderr what could not be read, and what may lie on its side."""
        for name, reason in self.unreadable.items():
            print(f"warning: {what}: {shown(name)} is left out: {reason}", file=sys.stderr)
        if self.turned:
            print(
                f"warning: {what}: {len(self.turned)} pictures have an orientation tag, which is not applied, "
                f"{shown(self.turned[0])} for one: if people lie on their sides there, turn the pictures first",
                file=sys.stderr,
            )


def embed(model: ReidModel, pictures: Pictures, desc: str) -> Embedded:
    """Features of pictures from a model of images, with a progress bar of the name `desc`.

    A picture that cannot be read is left out and recorded. CHUNK pictures are worked on by one thread, several of them
    side by side where there are cores: features do not depend on how many. Raises ValueError if none can be read, and
    for features that are not finite, which names the picture.
    """
    names = pictures.names
    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    parts = []
    work = partial(_embed_chunk, model, pictures)
    with ThreadPoolExecutor(worker_count(len(chunks))) as pool, progress(len(names), desc) as bar:
        for chunk, part in zip(chunks, pool.map(work, chunks), strict=True):
            parts.append(part)
            bar.update(len(chunk))
    unreadable = {name: reason for part in parts for name, reason in part.unreadable.items()}
    if len(unreadable) == len(names):
        reason = unreadable[names[0]]
        raise ValueError(f"{desc}: none of {len(names)} pictures can be read, {shown(names[0])} for one: {reason}")
    return Embedded(
        [name for part in parts for name in part.names],
        np.concatenate([part.features for part in parts if part.names]),
        unreadable,
        [name for part in parts for name in part.turned],
    )


def shown(name: str) -> str:
    """A name as text that any terminal and any file takes: file names need be no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def _embed_chunk(model: ReidModel, pictures: Pictures, names: list[str]) -> Embedded:
    """The features of a few pictures; of none, where none can be read, [0, 0]."""
    there, unreadable, turned = {}, {}, []
    for name in names:
        try:
            there[name], is_turned = _load(name, pictures, model)
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split()).removeprefix(f"{name}: ")
            unreadable[name] = re.sub(r"<_io\.BytesIO object at \w+>", "it", reason)
            continue
        turned += [name] if is_turned else []
    features = extract_features(model, there, model.size, CHUNK, keys=list(there), desc=None) if there else None
    return Embedded(list(there), np.zeros((0, 0)) if features is None else features, unreadable, turned)


def _load(name: str, pictures: Pictures, model: ReidModel) -> tuple[np.ndarray, bool]:
    """A picture at the model's size, uint8 [height, width, 3], and whether it has an orientation tag. ValueError and
    OSError if it cannot be read."""
    from dlcr.reid.pixels import resize

    if shown(name) != name:
        raise ValueError("its name is not UTF-8")
    data = pictures.read(name)
    pixels = resize(decode_rgb(data, name), model.size, model.bicubic)
    return pixels, is_turned(io.BytesIO(data))
