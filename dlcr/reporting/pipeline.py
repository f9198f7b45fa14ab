"""One picture of the pipeline, drawn from dvc.yaml: a box per stage, an arrow where a stage reads what another writes.

    python -m dlcr.reporting.pipeline    # writes docs/pipeline.svg

`foreach` and the twins for private data are folded: `train` is one box, however many runs a profile has. An arrow that
others imply is not drawn: stages read much in common. Its folder is named in the box instead, after "also".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from textwrap import wrap

import yaml

from dlcr.reporting.rendering import environment

PICTURE = Path("docs/pipeline.svg")
BOX, GAP, SPACE, MARGIN = 138, 32, 26, 18
"""Width of a box, from one column to the next, from one row to the next, and around the picture: in pixels."""
HEAD, LINE, LETTERS = 48, 16, 17
"""Height of a box's name and folder, of each line below them, and how many letters such a line holds."""


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml. `family` is its container image; `writes` are folders, `reads` those that stages write."""

    name: str
    family: str
    frozen: bool
    reads: tuple[str, ...]
    writes: tuple[str, ...]


Arrow = tuple[str, str]
"""Two stages' names: the second reads what the first writes."""


def pipeline_svg(path: Path = Path("dvc.yaml")) -> str:
    """The picture of the pipeline in `path` as SVG, for light and dark pages; the same text for the same stages."""
    stages = load_stages(path)
    drawn = without_implied(arrows(stages))
    places = arrange([stage.name for stage in stages], drawn)
    notes = {stage.name: _note(stage, stages, drawn) for stage in stages}
    heights = {name: HEAD + LINE * len(lines) + (6 if lines else 0) for name, lines in notes.items()}
    lowest = {column: max(row for other, row in places.values() if other == column) for column, _ in places.values()}
    pitch = SPACE + max((heights[name] for name, (column, row) in places.items() if row < lowest[column]), default=0)
    boxes = {
        stage.name: {
            "stage": stage,
            "x": MARGIN + places[stage.name][0] * (BOX + GAP),
            "y": MARGIN + places[stage.name][1] * pitch,
            "height": heights[stage.name],
            "notes": notes[stage.name],
        }
        for stage in stages
    }
    return (
        environment()
        .get_template("pipeline.svg.j2")
        .render(
            boxes=boxes.values(),
            paths=[_path(boxes[start], boxes[end]) for start, end in drawn],
            families=dict.fromkeys(stage.family for stage in stages),
            width=MARGIN + max(box["x"] for box in boxes.values()) + BOX,
            bottom=max(box["y"] + box["height"] for box in boxes.values()),
            box=BOX,
            head=HEAD,
            line=LINE,
            margin=MARGIN,
        )
    )


def load_stages(path: Path) -> list[Stage]:
    """The stages of a dvc.yaml, in its order; those for private data are the same ones again, and left out."""
    found = []
    for name, entry in yaml.safe_load(path.read_text())["stages"].items():
        stage = entry.get("do", entry)
        if not name.startswith("private-"):
            reads, *written = (stage.get(key, ()) for key in ("deps", "outs", "metrics"))
            family, frozen = stage["cmd"].split()[1], stage.get("frozen", False)
            found.append(Stage(name, family, frozen, _folders(reads), _folders(chain(*written))))
    made = {folder for stage in found for folder in stage.writes}
    return [replace(stage, reads=tuple(folder for folder in stage.reads if folder in made)) for stage in found]


def _folders(entries: Iterable[str | dict]) -> tuple[str, ...]:
    """The first folder of every path, once each. A path that DVC gives with settings is a mapping's only key."""
    paths = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    return tuple(dict.fromkeys(path.partition("/")[0] for path in paths))


def arrows(stages: Sequence[Stage]) -> list[Arrow]:
    """Which stage reads what which other writes."""
    return [(a.name, b.name) for a in stages for b in stages if a is not b and set(a.writes) & set(b.reads)]


def without_implied(drawn: Sequence[Arrow]) -> list[Arrow]:
    """The arrows that are needed: one is left out if others lead from its start to its end."""
    kept = list(drawn)
    for arrow in drawn:
        others = [other for other in kept if other != arrow]
        if arrow[1] in reached(arrow[0], others):
            kept = others
    return kept


def reached(start: str, drawn: Sequence[Arrow]) -> set[str]:
    """All that arrows lead to from `start`."""
    found: set[str] = set()
    fresh = {start}
    while fresh:
        fresh = {b for a, b in drawn if a in fresh} - found
        found |= fresh
    return found


def arrange(names: Sequence[str], drawn: Sequence[Arrow]) -> dict[str, tuple[int, int]]:
    """Column and row of every stage, from the top left.

    A stage stands right of all that it reads, as near as can be to the row of what stands just before it; the longest
    way through the pipeline so becomes a straight line. An arrow over several columns keeps its row free.

    Args:
        names: in the order of dvc.yaml, which tells an arrow back (`discriminate` to `inpaint`) from one on.
    """
    forward = [(a, b) for a, b in drawn if names.index(a) < names.index(b)]
    column = dict.fromkeys(names, 0)
    rest = dict.fromkeys(names, 0)
    for name in names:
        column[name] = max((column[a] + 1 for a, b in forward if b == name), default=0)
    for name in reversed(names):
        rest[name] = max((rest[b] + 1 for a, b in forward if a == name), default=0)
    row: dict[str, int] = {}
    taken: set[tuple[int, int]] = set()
    for name in sorted(names, key=lambda name: (column[name], -rest[name])):
        before = [row[a] for a, b in forward if b == name and column[a] == column[name] - 1]
        wanted = sum(before) / len(before) if before else 0
        until = max((column[b] for a, b in forward if a == name), default=0)
        cells = range(column[name], max(until, column[name] + 1))
        free = [at for at in range(len(names)) if not taken & {(x, at) for x in cells}]
        row[name] = min(free, key=lambda at: (abs(at - wanted), -at))
        taken |= {(x, row[name]) for x in cells}
    return {name: (column[name], row[name]) for name in names}


def _note(stage: Stage, stages: Sequence[Stage], drawn: Sequence[Arrow]) -> list[str]:
    """Lines that name the folders a stage reads without an arrow."""
    other = {folder for one in stages if (one.name, stage.name) not in drawn for folder in one.writes}
    folders = [folder for folder in stage.reads if folder in other]
    return wrap(f"also {', '.join(folders)}", LETTERS) if folders else []


def _path(start: dict, end: dict) -> str:
    """An arrow between two boxes: along the row of its start into a later one, over the tops into an earlier one."""
    y, to = start["y"] + HEAD // 2, end["y"] + HEAD // 2
    if end["x"] > start["x"]:
        turn = end["x"] - GAP
        return f"M{start['x'] + BOX} {y}H{turn}C{turn + GAP // 2} {y} {turn + GAP // 2} {to} {end['x'] - 3} {to}"
    x, back, top = start["x"] + BOX // 2, end["x"] + BOX // 2, min(start["y"], end["y"]) - 14
    over = f"V{top + 8}Q{x} {top} {x - 8} {top}H{back + 8}Q{back} {top} {back} {top + 8}"
    return f"M{x} {start['y']}{over}V{end['y'] - 3}"


if __name__ == "__main__":
    PICTURE.write_text(pipeline_svg())
