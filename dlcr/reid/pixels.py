"""The pixels of training images: decoded once where they fit, and read ahead of the model.

All images of a run, resized, go into one file of raw uint8 that every process maps into memory: an epoch then costs no
decoding. The file lies with the run's checkpoints and goes with them. What would not fit is decoded from the shards
batch by batch. Either way a batch is ready before the model asks for it, and its pixels are the same.
"""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlcr.data import open_generated, open_images
from dlcr.reid.samples import Samples
from dlcr.runtime.files import atomic_path
from dlcr.runtime.progress import progress

PART = 1024  # images that are decoded before the next are asked for
AHEAD = 2  # batches that wait, decoded, for the model

Cells = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass
class Pixels:
    """The images of a run by (layer, image): layer 0 the real ones, 1 + j their variants j.

    `cache`: the file of `write_pixels`, or None to decode from the shards. `bicubic`: how images are resized.
    """

    samples: Samples
    dataset: Path
    generated: Path
    size: tuple[int, int]
    cache: Path | None = None
    bicubic: bool = False
    seconds_waited: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.stored = None if self.cache is None else np.load(self.cache, mmap_mode="r")
        self.real = open_images(self.dataset / "images")
        self.variants = open_generated(self.generated) if len(self.samples.made) else None

    def __reduce__(self) -> tuple:
        """Another process opens the files itself."""
        return Pixels, (self.samples, self.dataset, self.generated, self.size, self.cache, self.bicubic)

    def read(self, cells: Cells) -> NDArray[np.uint8]:
        """uint8 [..., H, W, 3] of layers and images of one shape."""
        layers, images = cells
        if self.stored is not None:
            return self.stored[layers, images]
        found = [self._decode(layer, image) for layer, image in zip(layers.ravel(), images.ravel(), strict=True)]
        return np.stack(found).reshape(*layers.shape, *self.size, 3)

    def batches(self, batches: Sequence[Cells], threads: int) -> Iterator[NDArray[np.uint8]]:
        """`read` of each, AHEAD batches in advance, `threads` at once; counts the seconds that it kept the caller."""
        with ThreadPoolExecutor(threads) as pool:
            waiting = []
            try:
                for i in range(len(batches)):
                    while len(waiting) < AHEAD + threads and i + len(waiting) < len(batches):
                        waiting.append(pool.submit(self.read, batches[i + len(waiting)]))
                    start = time.perf_counter()
                    found = waiting.pop(0).result()
                    self.seconds_waited += time.perf_counter() - start
                    yield found
            finally:
                for future in waiting:
                    future.cancel()

    def _decode(self, layer: int, image: int) -> NDArray[np.uint8]:
        image_id = self.samples.image_ids[image]
        return resize(self.variants[image_id, layer - 1] if layer else self.real[image_id], self.size, self.bicubic)


def fits(samples: Samples, size: tuple[int, int], folder: Path) -> bool:
    """Whether `write_pixels` should be called: the file takes at most half of the free disk and half of the memory."""
    bytes_ = (1 + len(samples.made)) * len(samples.image_ids) * size[0] * size[1] * 3
    folder.mkdir(parents=True, exist_ok=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return bytes_ <= min(shutil.disk_usage(folder).free, memory) / 2


def write_pixels(path: Path, pixels: Pixels, threads: int) -> None:
    """Write the NPY file `path`, uint8 [1 + K, N, H, W, 3]: real images, variants; skipped ones are 0."""
    samples = pixels.samples
    layers, count = len(samples.made), len(samples.image_ids)
    cells = [(0, image) for image in range(count)] + [(1 + j, i) for j, i in np.argwhere(samples.made).tolist()]
    with (
        atomic_path(path) as part,
        ThreadPoolExecutor(threads) as pool,
        progress(len(cells), "decode") as bar,
    ):
        shape = (1 + layers, count, *pixels.size, 3)
        stored = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        for start in range(0, len(cells), PART):
            chunk = cells[start : start + PART]
            for cell, image in zip(chunk, pool.map(lambda cell: pixels._decode(*cell), chunk), strict=True):
                stored[cell] = image
            bar.update(len(chunk))
        stored.flush()


def resize(image: NDArray[np.uint8], size: tuple[int, int], bicubic: bool = False) -> NDArray[np.uint8]:
    """An RGB image at `size` (height, width), with area averaging when it shrinks; bilinear, as in CAL for images, or
    bicubic, as there for tracklets."""
    if image.shape[:2] == tuple(size):
        return image
    kind = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), kind))
