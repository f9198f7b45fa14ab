"""A trained model as an ONNX file that takes pictures and gives the features of `dlcr embed`.

difference = write_onnx(model, Path("model.onnx"))

Everything but resizing is in the file: colours are normalised, a picture and its mirror are added, and the sum has
length 1. So an ONNX Runtime without this package cannot get these wrong:

    session = onnxruntime.InferenceSession("model.onnx")
    features = session.run(None, {"images": images})[0]     # uint8 [N, H, W, 3] in RGB to float32 [N, D]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

from dlcr.evaluation.features import extract_features
from dlcr.reid.colours import normalise

if TYPE_CHECKING:
    from dlcr.reid import ReidModel

INPUT, OUTPUT, OPSET = "images", "features", 17
TOLERANCE = 1e-4
"""The largest difference from PyTorch that is let through, of numbers of rows of length 1."""
CHECKED = (1, 5)  # pictures in a batch when it is compared: the size is the caller's to choose


class Whole(nn.Module):
    """A model of images with what `extract_features` does around it: uint8 [N, H, W, 3] to float32 [N, D]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        inputs = normalise(images)
        return normalize(self.model(inputs) + self.model(inputs.flip(3)), dim=1)


class KnownShapes(TorchFunctionMode):
    """Within it the shapes of tensors are numbers but for their first, which a graph must keep open: it is the batch.

    The exporter traces shapes, and rounds what is computed of them towards zero, which moves the borders of stripes.
    """

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        found = func(*args, **(kwargs or {}))
        # each access makes another method of the same kind: they are equal, not the same
        return (*found[:1], *map(int, found[1:])) if func == Tensor.shape.__get__ else found


def check_packages() -> None:
    """ValueError that says what to install if a package is missing."""
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX needs {' and '.join(missing)}: pip install 'dlcr[onnx]'")


def write_onnx(model: ReidModel, path: Path) -> float:
    """Write a model of images, on the CPU, in eval mode; returns the largest difference of its features from
    PyTorch's.

    The comparison runs the file by ONNX Runtime on made-up pictures. Raises ValueError for a model of clips, for one
    that ONNX cannot express, and where the difference is above `TOLERANCE`; a missing package is one, too.
    """
    check_packages()
    if model.frames > 1:
        raise ValueError("ONNX: a model of clips has no ONNX form here; `--to safetensors` exports it")
    example = torch.zeros((2, *model.size, 3), dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode(), KnownShapes():
        warnings.simplefilter("ignore")  # that this exporter is the older one, and that shapes become constants
        try:
            torch.onnx.export(
                Whole(model).eval(),
                (example,),
                str(path),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "N"}, OUTPUT: {0: "N"}},
                opset_version=OPSET,
                dynamo=False,
            )
        except Exception as error:  # whatever the model's own code and the exporter stumble over
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"ONNX: this model cannot be exported: {type(error).__name__}: {reason}") from error
    difference = max(_difference(model, path, count) for count in CHECKED)
    if not difference <= TOLERANCE:
        raise ValueError(f"ONNX: its features differ from PyTorch's by up to {difference:.1e}, above {TOLERANCE:.0e}")
    return difference


def described(model: ReidModel) -> dict:
    """The names, types and shapes of the file's input and output, as plain data; "N" is the number of pictures."""
    one = np.zeros((*model.size, 3), np.uint8)
    dimensions = extract_features(model, [one], model.size, desc=None).shape[1]
    return {
        "file": "model.onnx",
        "opset": OPSET,
        "input": {"name": INPUT, "dtype": "uint8", "shape": ["N", *model.size, 3]},
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["N", dimensions]},
    }


def _difference(model: ReidModel, path: Path, count: int) -> float:
    """The largest difference of features of `count` pictures, half of them smooth, half noise."""
    import onnxruntime

    rng = np.random.default_rng(count)
    noise = rng.integers(0, 256, (count, *model.size, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, model.size[0], dtype=np.uint8)[:, None, None]
    images = np.where(np.arange(count)[:, None, None, None] % 2, noise, ramp + noise // 8)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run([OUTPUT], {INPUT: images})[0]
    expected = extract_features(model, list(images), model.size, desc=None)
    return float(np.abs(found - expected).max())
