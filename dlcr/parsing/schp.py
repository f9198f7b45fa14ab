"""SCHP, the paper's parser, from its ONNX exports; see `dlcr.parsing.load_parser`.

Self-Correction for Human Parsing (Li et al., 2020). The exports `humanparsing/parsing_lip.onnx` (473 x 473 pixels,
20 labels) and `parsing_atr.onnx` (512 x 512, 18 labels) that virtual try-on models ship map an image to three outputs:
the parsing branch, the fusion of parsing and edges, which is the result, and the edges. The arithmetic around the
network is that of SCHP's own extractor: the image is laid into the square with its aspect ratio kept, centre on centre
and black around it; blue comes first; and the logits go the same way back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from dlcr.parsing.batches import check_logits, in_parts
from dlcr.runtime.determinism import thread_count
from dlcr.runtime.networks import device
from dlcr.runtime.weights import find_hub_file

if TYPE_CHECKING:
    import onnxruntime

# fmt: off
LIP = [
    "Background", "Hat", "Hair", "Glove", "Sunglasses", "Upper-clothes", "Dress", "Coat", "Socks", "Pants",
    "Jumpsuits", "Scarf", "Skirt", "Face", "Left-arm", "Right-arm", "Left-leg", "Right-leg", "Left-shoe",
    "Right-shoe",
]
ATR = [
    "Background", "Hat", "Hair", "Sunglasses", "Upper-clothes", "Skirt", "Pants", "Dress", "Belt",
    "Left-shoe", "Right-shoe", "Face", "Left-leg", "Right-leg", "Left-arm", "Right-arm", "Bag", "Scarf",
]
# fmt: on
MEAN, STD = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)  # blue, green, red, of values in [0, 1]


def load(model: str) -> tuple[dict[int, str], Callable[[Sequence[np.ndarray]], list[np.ndarray]]]:
    """The label names of an ONNX file, and the function from one batch of RGB images to their label maps.

    model: as `find_hub_file` takes it. A batch is run a few images at a time (`in_parts`) where the file's first
    dimension is open, and image by image where it is 1. Raises FileNotFoundError if the file isn't there, ValueError
    without onnxruntime and if it is no model of this kind. The function raises ValueError for logits that are not
    finite.
    """
    session = open_session(find_hub_file(model, "onnx"))
    name, count, size = input_form(model, session)
    # Exports often leave the shapes of their outputs open: a run on nothing tells them.
    empty = session.run(None, {name: np.zeros((1, 3, *size), np.float32)})
    shapes = {output.name: array.shape for output, array in zip(session.get_outputs(), empty, strict=True)}
    labels = label_names(model, session.get_modelmeta().custom_metadata_map.get("labels"), shapes)
    result = result_name(model, shapes, len(labels))

    def work(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        inputs = torch.stack([network_input(image, size) for image in images]).cpu()
        parts = inputs.split(count) if count else in_parts(inputs)
        logits = [torch.from_numpy(run(session, result, {name: part.numpy()})).to(device()) for part in parts]
        rows = [row for part in logits for row in check_logits(model, part)]
        return [best_labels(row, size, image.shape[:2]) for row, image in zip(rows, images, strict=True)]

    return dict(enumerate(labels)), work


def run(session: onnxruntime.InferenceSession, output: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """One output of the model. Raises torch.OutOfMemoryError, as any other model would, if the GPU's memory is full."""
    try:
        return session.run([output], inputs)[0]
    except Exception as error:  # onnxruntime has no class of its own for it, only these words
        if re.search("Failed to allocate memory|out of memory|ALLOC_FAILED", str(error)):
            raise torch.OutOfMemoryError(str(error)) from error
        raise


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """The file in onnxruntime, on the GPU if onnxruntime can, with as many threads as the stage may use.

    Raises ValueError without onnxruntime and if it cannot load the file.
    """
    try:
        import onnxruntime  # only this kind of parser needs it
    except ImportError as error:
        raise ValueError(
            f"{path}: needs the package onnxruntime ({error}); install it with: pip install 'dlcr[onnx]'"
        ) from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors; older exports are full of constants that it warns about
    providers = ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        # the default searches for the fastest convolution by trying, so that results depend on the moment
        providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "DEFAULT"}))
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's own errors share no other base
        raise ValueError(f"{path}: onnxruntime cannot load it as an ONNX model: {error}") from error


def input_form(model: str, session: onnxruntime.InferenceSession) -> tuple[str, int | None, tuple[int, int]]:
    """The input's name, its batch size (1, or None where any will do) and its (height, width).

    Raises ValueError unless there is one input float32 [1 or open, 3, height, width].
    """
    inputs = session.get_inputs()
    if len(inputs) == 1 and inputs[0].type == "tensor(float)" and len(inputs[0].shape) == 4:
        count, channels, *size = inputs[0].shape
        if channels == 3 and all(isinstance(side, int) for side in size) and (count == 1 or not isinstance(count, int)):
            return inputs[0].name, 1 if count == 1 else None, tuple(size)
    found = ", ".join(f"{entry.type} {entry.shape}" for entry in inputs)
    raise ValueError(f"{model}: expected one input tensor(float) [1 or open, 3, height, width], found {found}")


def label_names(model: str, written: str | None, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """What the channels mean: as `written` in the file's metadata, else LIP's or ATR's labels by their number.

    written: a JSON list of names, or None. shapes: of the outputs, by name. Raises ValueError for anything else.
    """
    if written is not None:
        try:
            labels = json.loads(written)
        except json.JSONDecodeError:
            labels = None
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"{model}: metadata 'labels': expected a JSON list of names, found {written!r}")
        return labels
    for labels in (LIP, ATR):
        if any(len(shape) == 4 and shape[1] == len(labels) for shape in shapes.values()):
            return list(labels)
    raise ValueError(
        f"{model}: expected metadata 'labels' or an output with {len(LIP)} (LIP) or {len(ATR)} (ATR) channels, "
        f"found {shapes}"
    )


def result_name(model: str, shapes: dict[str, tuple[int, ...]], labels: int) -> str:
    """The output to use: SCHP gives the parsing branch, then the fusion, which is the result, then edges.

    So it is the last one with a channel for each label, unless one is called `logits`: so exports through Hugging
    Face's classes call the result. Raises ValueError if there is none.
    """
    fitting = [name for name, shape in shapes.items() if len(shape) == 4 and shape[1] == labels]
    if not fitting:
        expected = f"expected an output [N, {labels}, height, width], one channel per label"
        raise ValueError(f"{model}: {expected}, found {shapes}")
    return "logits" if "logits" in fitting else fitting[-1]


def network_input(image: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """What the network sees of an RGB image, uint8 [H, W, 3]: float32 [3, *size], blue first, normalised.

    As SCHP does it, the image is rounded to 8 bits again once it is laid into the square, and the black around it
    counts as image.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).to(device()).permute(2, 0, 1).float()
    laid = resample(pixels, size, magnification(image.shape[:2], size)).round() / 255
    mean, std = (torch.tensor(values, device=laid.device)[:, None, None] for values in (MEAN, STD))
    return (laid - mean) / std


def best_labels(logits: torch.Tensor, size: tuple[int, int], image: tuple[int, int]) -> np.ndarray:
    """The best label of every pixel of an image of (H, W) pixels, uint8 [H, W], from its logits [C, h, w].

    The logits are enlarged bilinearly, corner pixels on corner pixels, to the network's input `size` and from there
    laid back onto the image.
    """
    enlarged = functional.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=True)[0]
    return resample(enlarged, image, 1 / magnification(image, size)).argmax(0).to(torch.uint8).cpu().numpy()


def magnification(image: tuple[int, int], size: tuple[int, int]) -> float:
    """How many input pixels lie between two neighbouring pixels of an image, so that the whole image fits into `size`.

    Distances are measured between the centres of the outermost pixels; an image of one pixel has none and is taken as
    two pixels wide.
    """
    height, width = size
    return (width - 1) / max(image[1] - 1, (image[0] - 1) * width / height, 1)


def resample(pixels: torch.Tensor, size: tuple[int, int], zoom: float) -> torch.Tensor:
    """`pixels` [C, h, w] magnified `zoom` times about their centre into [C, *size], bilinearly; zero outside."""
    ratios = [[size[1] / (zoom * pixels.shape[2]), 0, 0], [0, size[0] / (zoom * pixels.shape[1]), 0]]
    grid = functional.affine_grid(torch.tensor([ratios], device=pixels.device), [1, 1, *size], align_corners=False)
    return functional.grid_sample(pixels[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
