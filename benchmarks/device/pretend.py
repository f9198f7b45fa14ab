"""What a GPU does otherwise than a CPU, pretended on a CPU, so that the comparison of the two can be tried without one.

Convolutions of float32 are multiplied in TF32, PyTorch's default on a GPU; and the operations that a GPU refuses, since
`determinism.set_up` asks for results that do not vary, are refused (`torch.use_deterministic_algorithms` lists them).
"""

import sys
from collections.abc import Iterator

import torch
from torch.utils._python_dispatch import TorchDispatchMode

REFUSED = {
    *(f"_adaptive_avg_pool{n}d_backward" for n in (2, 3)),
    *(f"adaptive_max_pool{n}d_backward" for n in (2, 3)),
    *(f"fractional_max_pool{n}d_backward" for n in (2, 3)),
    *(f"reflection_pad{n}d_backward" for n in (1, 2, 3)),
    *(f"grid_sampler_{n}d_backward" for n in (2, 3)),
    *(f"max_unpool{n}d" for n in (2, 3)),
    *(f"nll_loss2d_{way}" for way in ("forward", "backward")),
    *(f"upsample_{way}_backward" for way in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")),
    *("_ctc_loss_backward", "avg_pool3d_backward", "histc", "put", "put_"),
}
CONVOLUTIONS = {"convolution": 2, "convolution_backward": 3}
"""And how many of their first arguments are multiplied."""
ON_THE_CPU = ("SeededSampling.__call__",)
"""Functions that work on the CPU wherever their model is."""


class PretendedGpu(TorchDispatchMode):
    """Inside, RuntimeError for an operation that a GPU refuses, and TF32 in convolutions."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        if refused(name, func._overloadname, args) and not set(ON_THE_CPU) & set(callers()):
            raise RuntimeError(f"{name} does not have a deterministic implementation on a GPU")
        count = CONVOLUTIONS.get(name, 0)
        return func(*map(tf32, args[:count]), *args[count:], **(kwargs or {}))


def refused(name: str, overload: str, args: tuple) -> bool:
    """Whether a GPU refuses an operation where results must not vary."""
    if name in ("cumsum", "cumsum_"):
        return args[0].is_floating_point()
    if name == "bincount":
        return len(args) > 1 and args[1] is not None
    return name in REFUSED or (name == "median" and "dim" in overload)


def tf32(values: torch.Tensor) -> torch.Tensor:
    """float32 rounded to TF32's ten bits of mantissa; other types as they are."""
    if values.dtype != torch.float32:
        return values
    return ((values.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def callers() -> Iterator[str]:
    """The names of the functions that called this one."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_qualname
        frame = frame.f_back
