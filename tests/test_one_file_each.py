"""A dataset, a Re-ID model, a kind of generated set, a family of inpainters and a table are one new file each, a claim
is one new row: in a copy of the code, nothing else is touched."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

NEW = {
    "dlcr/data/readers/one_image.py": """
from dlcr.data import walk
from dlcr.data.reader import Reader


def read(root):
    labels = dict(subject="1", clothes="1-1", camera="A", frame=0)
    images = walk.images(root, walk.Findings(root))
    return walk.with_sizes([walk.row(path, root, "train", **labels) for path in images], root)


READER = Reader("One image", read, single_shot=True, redistributable=False)
""",
    "dlcr/reid/models/linear.py": """
from torch import nn

from dlcr.reid.models.base import ReidModel, register_model


@register_model("linear")
@register_model("linear-wide", width=8)
class Linear(ReidModel):
    def __init__(self, subjects, clothes, width=4):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, width, 1), nn.Linear(width, subjects)

    def features(self, maps):
        return maps.mean((2, 3))
""",
    "dlcr/inpainting/kinds/upside_down.py": """
from functools import partial

from dlcr.inpainting.kind import Kind
from dlcr.inpainting.painters import one_by_one


def choose(params, entry):
    return partial(build), {}


def build():
    return one_by_one(lambda image, mask, chunk, place: image[::-1])


KIND = Kind(choose)
""",
    "dlcr/inpainting/families/plain.py": """
import numpy as np
import torch

from dlcr.inpainting.canvas import Canvas
from dlcr.inpainting.family import Family, Loaded
from dlcr.runtime.weights import Kind


def load(model, dtype):
    return Loaded(None, 1, embed, prepare, sample, decode)


def embed(prompt):
    return torch.zeros(1)


def prepare(images, masks):
    return Canvas(torch.zeros(len(images), 1, 2, 3), None, None)


def sample(canvas, texts, empty, seeds, *, steps, guidance):
    return torch.tensor(seeds)[:, None, None, None].expand(-1, 3, 2, 3)


def decode(latents):
    return latents.permute(0, 2, 3, 1).numpy().astype(np.uint8)


KIND = Kind("model_index.json", (), classes={"_class_name": ("PlainPipeline",)}, title="Plain")
FAMILY = Family(KIND, solvers=("none",), steps=1, guidance=1.0, knows=(), load=load)
""",
    "dlcr/reporting/tables/extra.py": """
from dlcr.reporting.tables.specs import Line, Spec

SPEC = Spec(
    name="extra",
    place=145,
    title="An extra table",
    lines=lambda params: [Line({"row": key}, key, "old") for key in ("old", "new")],
    headings={"row": "Row"},
)
""",
}
STATEMENT = '    Statement("extra", "difference", "extra/new", "extra/old", "New beats old.", "Not in the paper."),\n'
CHECK = """
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.data import decode_rgb, encode_png, read_dataset
from dlcr.inpainting import Expander
from dlcr.inpainting.kinds import find_kind
from dlcr.inpainting.painters import Chunk
from dlcr.params import evaluation_places, load_params
from dlcr.reid import build_model
from dlcr.reporting.claims import claims
from dlcr.reporting.survey import load_survey
from dlcr.reporting.tables import make_tables

params = load_params()
assert list(read_dataset("one-image", "pictures")["image_id"]) == ["a.png"]
assert build_model("linear", 3, [0, 1, 2]).head.in_features == 4
assert build_model("linear-wide", 3, [0, 1, 2]).head.in_features == 8
entry = params.generated["extra"]
build, _ = find_kind(entry.kind).choose(params, entry)
image = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
chunk = Chunk(["a"], ["1-1"], [""], [0], [encode_png(image)], [encode_png(np.ones((2, 3), bool))])
assert (decode_rgb(build()(chunk)[0].image, "a") == image[::-1]).all()
(folder := Path("plain")).mkdir()
(folder / "model_index.json").write_text('{"_class_name": "PlainPipeline"}')
expander = Expander("plain", size=(2, 3))
assert (expander.expand([image], [np.ones((2, 3), bool)], ["red"], [7])[0] == 7).all()
nothing, timings = dict.fromkeys(evaluation_places(params)), pd.DataFrame(columns=["stage", "name"])
table = make_tables(params, nothing, timings, load_survey(Path()))["extra"]
assert list(table.numbers["row"]) == ["old", "new"]
assert [claim.outcome for claim in claims(params, nothing, timings) if claim.name == "extra"] == ["not run"]
"""


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """The package, profile smoke that names the new things, and a picture."""
    shutil.copytree(repository / "dlcr", tmp_path / "dlcr", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in NEW.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    statements = tmp_path / "dlcr/reporting/statements.py"
    head, tail = statements.read_text().split("STATEMENTS = (\n")
    statements.write_text(f"{head}STATEMENTS = (\n{STATEMENT}{tail}")
    params = yaml.safe_load((repository / "profiles/smoke.yaml").read_text())
    params["private"]["datasets"]["mine"] = {"reader": "one-image", "source": "pictures"}
    params["recipes"]["linear"] = params["recipes"]["cal-mini"] | {"settings": {"width": 4}}
    params["generated"]["extra"] = params["generated"]["inpainting"] | {"kind": "upside-down"}
    params["report"]["tables"]["extra"] = {"old": "baseline", "new": {"evaluation": "progressive", "kind": "refined"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "pictures").mkdir()
    shutil.copy(repository / "docs/minicc.png", tmp_path / "pictures/a.png")
    return tmp_path


def run(folder: Path, code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def test_one_of_each_is_one_file(copy: Path) -> None:
    done = run(copy, CHECK)
    assert done.returncode == 0, done.stderr


def test_what_a_reader_says_of_its_dataset_counts(copy: Path) -> None:
    params = yaml.safe_load((copy / "params.yaml").read_text())
    params["datasets"]["mine"] = params["private"]["datasets"].pop("mine")
    (copy / "params.yaml").write_text(yaml.safe_dump(params))
    done = run(copy, "from dlcr.params import load_params; load_params()")
    assert "datasets.mine: One image may not be redistributed, it belongs in private.datasets" in done.stderr
