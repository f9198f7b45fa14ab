"""Speed of generation: inpainting, parsing and describing, on this machine's CPU and on its GPU, and what DVC costs.

    python -m benchmarks.generation                     # all that this machine can -> benchmarks/generation.json
    python -m benchmarks.generation --scale 0.1 --out /tmp/generation.json      # to try it: see below
    python -m benchmarks.generation --case mini         # one case, printed as JSON

Every case is a process of its own. What is compared is measured in one run, in turn: the best of a few rounds. The file
of a case says what it measures, and what was found last.

With a SCALE below 1 everything has fewer images, and the paper's architectures become tiny ones of the same classes, so
that the code of their cases runs anywhere. Such numbers say nothing about speed.
"""

from collections.abc import Callable
from functools import partial

from benchmarks.common import command
from benchmarks.generation.batches import describe_mini, parse
from benchmarks.generation.garments import garments
from benchmarks.generation.large import Goal, inpaint, large, llava, segformer
from benchmarks.generation.levers import levers
from benchmarks.generation.mini import mini
from benchmarks.generation.storage import storage

ON_GPU: dict[str, Callable[[float], dict]] = {
    "inpaint": partial(large, run=partial(inpaint, size=(768, 256), steps=50), goal=Goal(0.89, 5, 8)),
    "inpaint-queries": partial(large, run=partial(inpaint, size=(384, 128), steps=10), goal=Goal(3.33, 40, 60)),
    "segformer-b2": partial(large, run=segformer, goal=Goal(61.6, 400, 600)),
    "llava-7b": partial(large, run=llava, goal=Goal(4.0, 20, 40)),
}
CASES = {
    "mini": mini,
    "levers": levers,
    "garments": garments,
    "parse": parse,
    "describe": describe_mini,
    "storage": storage,
    **ON_GPU,
}
app = command("generation", CASES, "diffusers", "transformers", on_gpu=ON_GPU)


if __name__ == "__main__":
    app()
