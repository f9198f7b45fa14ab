"""Typed parameters: the only module that knows params.yaml.

`load_params()` reads the active profile (params.yaml at the repository's root) and checks every key, type and
reference between sections, so that a stage never meets a half-valid configuration. The profiles under profiles/ are
complete files of the same shape; `dlcr profile use NAME` makes one the active profile.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = tuple[Positive, Positive]  # height, width in pixels
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]  # names become folder and stage names


class Section(BaseModel):
    """Strict base: unknown keys and silent conversions ("10" for 10) are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Dataset(Section):
    """One dataset: which reader understands `source`, the folder that `prepare` reads."""

    reader: Literal["minicc", "prcc", "ltcc", "ccvid", "vc-clothes", "last", "folder"]
    source: str


class Models(Section):
    """Weights by role, each a local folder or `repo@revision`."""

    parser: str
    describer: str
    summarizer: str
    inpainter: str


class MiniCC(Section):
    """Size of the embedded benchmark; every domain has the same."""

    train_subjects: Positive
    val_subjects: Positive
    test_subjects: Positive
    images_per_camera: Positive
    seed: int


class Parse(Section):
    """Clothes masks (Sec. 3.1). `dilation` in pixels; a mask under `min_area` (share of the image) counts as empty."""

    batch: Positive
    dilation: Annotated[int, Field(ge=0)]
    min_area: Share


class Describe(Section):
    """What the vision-language model is asked of every image (Sec. 3.1). Temperature 0 is greedy."""

    question: str
    temperature: Annotated[float, Field(ge=0)]
    max_new_tokens: Positive
    batch: Positive


class Summarize(Section):
    """How the language model merges a clothes ID's descriptions: their first `words` words follow `instruction`."""

    instruction: str
    words: Positive
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_new_tokens: Positive


class Outfits(Section):
    """Outfit texts: extracted from the dataset's images (vlm+llm), or asked of the language model alone (random)."""

    dataset: Name
    source: Literal["vlm+llm", "random"]


class Inpaint(Section):
    """Sampler shared by all generated sets. `size` is the diffusion's image size, `block` the images in one file."""

    steps: Positive
    guidance: Annotated[float, Field(ge=1)]
    size: Size
    batch: Positive
    block: Positive
    dtype: Literal["float32", "bfloat16", "float16"]
    solver: Literal["ddim", "dpm++"]


class GeneratedSet(Section):
    """K variants of every training image. `strength` belongs to kind `standard` (image to image without a mask)."""

    dataset: Name
    outfits: Name
    kind: Literal["inpainting", "standard", "oracle"]
    strength: Annotated[float, Field(gt=0, le=1)] = 1.0


class QuerySet(Section):
    """Inpainted variants of the queries for prediction refinement (Sec. 3.2.2): l = `variants`, with fewer `steps`."""

    dataset: Name
    outfits: Name
    kind: Literal["inpainting", "oracle"]
    split: Literal["query"]
    variants: Positive
    steps: Positive
    size: Size


class Train(Section):
    """How a model is trained; `runs.<run>.model` names an entry (paper's values: profiles/prcc.yaml).

    `model` is the registered architecture (default: the entry's own name), `settings` its keyword arguments,
    `milestones` the 0-based epochs from which the learning rate falls to a tenth; a batch holds `identities` x `images`
    real images.
    """

    model: str | None = None
    settings: dict[str, Any] = {}
    size: Size
    epochs: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    milestones: list[Positive]
    identities: Annotated[int, Field(ge=2)]
    images: Positive
    progressive_every: Positive
    precision: Literal["float32", "bfloat16"]


class Run(Section):
    """One trained model. `k` uses only the set's first k variants; `seeds` replaces the profile's seeds."""

    dataset: Name
    model: str
    generated: Name
    mode: Literal["none", "concat", "paired", "progressive"]
    k: Positive | None = None
    seeds: list[int] | None = None


class Refine(Section):
    """Algorithm 1: the top `m` gallery images vote."""

    m: Positive


class Evaluation(Section):
    """A run's model on a dataset's queries and gallery; `queries` names a query set for refinement, or none."""

    run: Name
    dataset: Name
    queries: Name


class Report(Section):
    """Which evaluation is which row of a table. `bootstrap` is the number of resamples behind every interval."""

    a1: dict[str, Name]
    a5: dict[str, Name]
    dataset: Name
    samples: Name
    bootstrap: Positive


class Params(Section):
    """The whole of params.yaml."""

    k: Positive
    seed: int
    seeds: Annotated[list[int], Field(min_length=1)]
    datasets: dict[Name, Dataset]
    models: Models
    minicc: MiniCC
    parse: Parse
    describe: Describe
    summarize: Summarize
    outfits: dict[Name, Outfits]
    inpaint: Inpaint
    generated: dict[Name, GeneratedSet]
    queries: dict[Name, QuerySet]
    train: dict[Name, Train]
    runs: dict[Name, Run]
    refine: Refine
    evaluations: dict[Name, Evaluation]
    report: Report


def load_params(path: str | Path = "params.yaml") -> Params:
    """The checked parameters of a profile.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one line that names the file, the key and what was expected: an unknown or missing key, a value of
            another type, or a name that no section defines.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run in the repository's root, or `dlcr profile use minicc`")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping of sections, found {type(content).__name__}")
    try:
        # Strict validation takes a list for a tuple only in its JSON form, and YAML has no tuples.
        params = Params.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise ValueError(f"{path}: {_explain(error)}") from error
    for problem in _broken_references(params):
        raise ValueError(f"{path}: {problem}")
    return params


def lookup(section: dict[str, Section], kind: str, name: str) -> Section:
    """`section[name]`, or one ValueError that lists the names there are. `kind` is the section's key."""
    if name not in section:
        raise ValueError(f"params.yaml: {kind} has no {name!r}; it has {', '.join(sorted(section)) or 'none'}")
    return section[name]


def _explain(error: ValidationError) -> str:
    """The first problem of a validation in one line: key, what is wrong, what was given."""
    # A mistyped key shows up twice, as unknown and as missing: the unknown one says more.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if first["type"] == "missing":
        return f"{key}: missing key"
    return f"{key}: {first['msg']}, found {first['input']!r}"


def _broken_references(params: Params) -> list[str]:
    """Names that point at nothing, each as `key: problem`."""
    sections = {
        "datasets": set(params.datasets),
        "outfits": set(params.outfits),
        "generated": set(params.generated) | {"none"},
        "queries": {f"queries-{name}" for name in params.queries} | {"none"},
        "train": set(params.train),
        "runs": set(params.runs),
        "evaluations": set(params.evaluations),
    }
    problems = []

    def check(key: str, value: str, section: str) -> None:
        if value not in sections[section]:
            problems.append(f"{key}: no {section} named {value!r}; there are {', '.join(sorted(sections[section]))}")

    for name, outfits in params.outfits.items():
        check(f"outfits.{name}.dataset", outfits.dataset, "datasets")
    for kind, sets in (("generated", params.generated), ("queries", params.queries)):
        for name, item in sets.items():
            check(f"{kind}.{name}.dataset", item.dataset, "datasets")
            check(f"{kind}.{name}.outfits", item.outfits, "outfits")
    for name, run in params.runs.items():
        check(f"runs.{name}.dataset", run.dataset, "datasets")
        check(f"runs.{name}.model", run.model, "train")
        check(f"runs.{name}.generated", run.generated, "generated")
        if (run.mode == "none") != (run.generated == "none"):
            problems.append(
                f"runs.{name}: mode none and generated none belong together, found mode {run.mode!r} "
                f"with generated {run.generated!r}"
            )
    for name, item in params.evaluations.items():
        check(f"evaluations.{name}.run", item.run, "runs")
        check(f"evaluations.{name}.dataset", item.dataset, "datasets")
        check(f"evaluations.{name}.queries", item.queries, "queries")
    for table in ("a1", "a5"):
        for row, name in getattr(params.report, table).items():
            check(f"report.{table}.{row}", name, "evaluations")
    check("report.dataset", params.report.dataset, "datasets")
    check("report.samples", params.report.samples, "generated")
    return problems
