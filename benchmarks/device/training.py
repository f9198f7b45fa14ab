"""CAL at the paper's size and batch: 384x192, 64 images, in both precisions; the steps of `benchmarks.training`."""

from benchmarks import training
from benchmarks.device.results import Results
from benchmarks.training import Sizes

SIZES = Sizes((384, 192), 8, 4, 10)  # 8 x 4 images and a variant of each


def run(results: Results, tiny: bool) -> None:
    """A case a precision."""
    sizes = training.TINY if tiny else SIZES
    for precision in ("bfloat16", "float32"):
        results.case(
            f"CAL, {precision}", lambda precision=precision: row(sizes, precision, results.content["machine"], tiny)
        )


def row(sizes: Sizes, precision: str, machine: dict, tiny: bool) -> dict:
    """Images/s, operations and, where the chip's nominal rate for bfloat16 is known, the share of it."""
    found = training.cal(sizes, precision, tiny)
    found["height, width"] = list(found["height, width"])
    if precision == "bfloat16" and machine["gpu"]:
        found |= training.share_of_peak(found["TFLOP/s"], machine["gpu"])
    return found
