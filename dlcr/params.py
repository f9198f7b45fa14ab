"""Typed parameters: the only module that knows params.yaml.

`load_params()` reads the active profile (params.yaml at the repository's root) and checks every key, type and
reference between sections, so that a stage never meets a half-valid configuration. The profiles under profiles/ are
complete files of the same shape; `dlcr profile use NAME` makes one the active profile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from dlcr.runtime.registry import find_entry, one_of

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = tuple[Positive, Positive]  # height, width in pixels
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]  # names become folder and stage names
Place = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$")]  # an evaluation[/ablation]

# By section, the fields of its items that name an item of another section.
REFERENCES = {
    "descriptions": {"dataset": "datasets", "describer": "describers"},
    "outfits": {"descriptions": "descriptions"},
    "discriminators": {"dataset": "datasets", "generated": "generated"},
    "generated": {"dataset": "datasets", "outfits": "outfits", "discriminator": "discriminators"},
    "imported": {"dataset": "datasets"},
    "runs": {"dataset": "datasets", "recipe": "recipes", "generated": "generated"},
    "faces": {"dataset": "datasets"},
    "evaluations": {"run": "runs", "dataset": "datasets", "queries": "generated", "faces": "faces"},
}


class Section(BaseModel):
    """Strict base: unknown keys and silent conversions ("10" for 10) are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Dataset(Section):
    """One dataset: which reader understands `source`, the folder that `prepare` reads."""

    reader: Annotated[str, AfterValidator(one_of("dlcr.data.readers"))]
    source: str


class Models(Section):
    """Weights by role, each a local folder or `repo@revision`.

    A parser may also be an ONNX file (SCHP): a path, or `repo@revision:file.onnx`. There may be several describers;
    `judge` names the one that says what a generated variant shows. `faces` is the mini face model's folder or
    `insightface:<model pack>`.
    """

    parser: str
    describers: Annotated[dict[Name, str], Field(min_length=1)]
    judge: Name
    summarizer: str
    inpainter: str
    faces: str


class MiniCC(Section):
    """Size of the embedded benchmark; every domain has the same."""

    train_subjects: Positive
    val_subjects: Positive
    test_subjects: Positive
    images_per_camera: Positive
    seed: int


class Parse(Section):
    """Clothes masks (Sec. 3.1). `dilation` in pixels; a mask that covers less than `min_area` of its image counts as
    empty, one that covers more than `max_area` as implausible: neither is inpainted.

    `labels` says what labels of the parser are to be read as, where their names don't tell: `{feet: shoes}` masks what
    the model calls feet, `{belt: background}` leaves belts alone.
    """

    batch: Positive
    dilation: Annotated[int, Field(ge=0)]
    min_area: Share
    max_area: Share
    labels: dict[str, str] = {}


class Describe(Section):
    """What the vision-language model is asked of every image (Sec. 3.1). Temperature 0 is greedy."""

    question: str
    temperature: Annotated[float, Field(ge=0)]
    max_new_tokens: Positive
    batch: Positive


class Summarize(Section):
    """How the language model merges a clothes ID's descriptions: their first `words` words follow `instruction`.

    `random_instruction` asks it for an outfit of its own (source `random` of `outfits`); its answers may always have
    `dlcr.prompts.summarizer.RANDOM_TOKENS` tokens.
    """

    instruction: str
    random_instruction: str
    words: Positive
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_new_tokens: Positive


class Descriptions(Section):
    """What a describer of `models.describers` says of every training image of a dataset."""

    dataset: Name
    describer: Name


class Outfits(Section):
    """Outfit texts of the clothes IDs of `descriptions` (Table A3).

    Source `vlm+llm`: the language model's summary of all descriptions; `vlm`: the description of one image; `random`:
    as many outfits, made up by the language model alone.
    """

    descriptions: Name
    source: Literal["vlm+llm", "vlm", "random"]


class Inpaint(Section):
    """Sampler shared by all generated sets. `size` is the diffusion's image size, `block` the images in one file.

    `guidance_share` and `reuse_every` trade the picture for time: the share of the steps with guidance, and after how
    many steps the whole U-Net is computed again. `guidance`: the scale of classifier-free guidance.
    """

    steps: Positive
    guidance_share: Share
    reuse_every: Positive
    guidance: Annotated[float, Field(ge=1)]
    size: Size
    batch: Positive
    block: Positive
    dtype: Literal["float32", "bfloat16", "float16"]
    solver: Literal["ddim", "dpm++"]


class GeneratedSet(Section):
    """K variants of every training image, or of every query for prediction refinement (Sec. 3.2.2): `split`.

    Kinds: `inpainting` fills the masks; `standard` is image to image without a mask, with `strength`; `colour`
    recolours the masked clothes; `oracle` renders the truth (MiniCC). `discriminator` guides the sampler with `weight`
    at timesteps t with times[0] < t <= times[1] (Sec. 12), or is none. `k` replaces the profile's, `steps` and
    `size` those of section inpaint.
    """

    dataset: Name
    outfits: Name
    kind: Annotated[str, AfterValidator(one_of("dlcr.inpainting.kinds"))]
    strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    discriminator: Name
    weight: Annotated[float, Field(ge=0)] = 1.0
    times: tuple[Annotated[int, Field(ge=0)], Positive] = (200, 1000)
    split: Literal["train", "query"] = "train"
    k: Positive | None = None
    steps: Positive | None = None
    size: Size | None = None


class Discriminator(Section):
    """Tells a dataset's training images from the variants of a generated set, for discriminator guidance (Sec. 12)."""

    dataset: Name
    generated: Name


class Discriminate(Section):
    """How discriminators are trained: on all variants of the set, but no more than the first `variants`, the paper's K,
    so that a larger K changes nothing.

    A batch is half real, half generated; `widths` are the network's channels by level, multiples of 16.
    """

    variants: Positive
    widths: Annotated[list[Positive], Field(min_length=1)]
    steps: Positive
    batch: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]


class Imported(Section):
    """A set that `dlcr import-released` wrote to generated/<name>: the pipeline does not make it."""

    dataset: Name


class Quality(Section):
    """The quality gate: what every variant must reach to be used (`dlcr.inpainting.quality`); 0 drops nothing.

    `alignment`: also measure what the judge reads back of the prompt, which costs one description per variant.
    """

    alignment: bool
    min_change: Annotated[float, Field(ge=0)]
    min_seam: Share
    min_spread: Share
    min_smoothness: Share
    min_alignment: Share

    def minimum(self) -> dict[str, float]:
        """The thresholds by measure."""
        return {name: getattr(self, f"min_{name}") for name in ("change", "seam", "spread", "smoothness", "alignment")}


class Recipe(Section):
    """How a model is trained; `runs.<run>.recipe` names one (paper's values: profiles/prcc.yaml).

    `model` is the registered architecture (default: the recipe's own name), `settings` its keyword arguments. The
    learning rate rises linearly over the first `warmup` epochs and falls to a tenth from each of the 0-based epochs of
    `milestones` on. A batch holds `identities` x `images` real images; `accumulate` batches make one step of the
    optimizers, whose gradients are cut to the norm `clip` (0: never). `select`: the last epoch, or the best on the
    validation identities.

    `ablations`: a run trains not this model, but each of these, by name the settings that are otherwise: one run
    instead of many keeps the pipeline small.
    """

    model: str | None = None
    settings: dict[str, Any] = {}
    ablations: dict[Name, dict[str, Any]] = {}
    size: Size
    epochs: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup: Annotated[int, Field(ge=0)] = 0
    milestones: list[Positive]
    identities: Annotated[int, Field(ge=2)]
    images: Positive
    accumulate: Positive = 1
    clip: Annotated[float, Field(ge=0)] = 0.0
    progressive_every: Positive
    precision: Literal["float32", "bfloat16"]
    select: Literal["last", "validation"] = "last"

    def each(self, name: str) -> dict[str, Recipe]:
        """What a run of this recipe, `name`, trains: by ablation, or as "" where there is none, with its `model`."""
        plain = self.model_copy(update={"model": self.model or name, "ablations": {}})
        changed = {ablation: self.settings | other for ablation, other in self.ablations.items()}
        return {key: plain.model_copy(update={"settings": new}) for key, new in changed.items()} or {"": plain}


class Run(Section):
    """One trained model. `k` uses only the set's first k variants; `seeds` replaces the profile's seeds.

    `code` is where its architecture stands: dlcr/reid/models, or your own Python file that registers it.
    """

    dataset: Name
    recipe: Name
    code: str
    generated: Name
    mode: Literal["none", "concat", "paired", "progressive"]
    k: Positive | None = None
    seeds: list[int] | None = None

    @property
    def own_code(self) -> str | None:
        """Your own Python file that registers the model; None for a model of dlcr."""
        return self.code if self.code.endswith(".py") else None


class FindFaces(Section):
    """Faces of the test images, for GEFF."""

    batch: Positive


class Faces(Section):
    """The best face of every query and gallery image of a dataset."""

    dataset: Name


class Refine(Section):
    """Algorithm 1: the top `m` gallery images vote."""

    m: Positive


class Geff(Section):
    """The numbers of `dlcr.evaluation.geff`; the defaults are those that the public code gives for LTCC (bar371/GEFF).

    enrichment_detection   a face with a lower detection score counts as none, in enrichment
    enrichment_similarity  the least cosine of two faces for which a query joins the gallery, above 0: the cosine with a
                           face that is missing
    inference_detection    as enrichment_detection, in the final score
    alpha                  the weight of the Re-ID model; 1 - alpha is that of faces
    attach                 what a query becomes a further sample of: the gallery "image" with the nearest face, or its
                           "subject", all of whose images it may then stand for
    """

    enrichment_detection: Share = 0.8
    enrichment_similarity: Annotated[float, Field(gt=0, le=1)] = 0.5
    inference_detection: Share = 0.7
    alpha: Share = 0.75
    attach: Literal["subject", "image"] = "image"


class Evaluation(Section):
    """A run's model on a dataset's queries and gallery; `queries` names a set of the queries' variants, or none.

    `faces` names the faces that GEFF adds to the model, or none. `rerank`: k-reciprocal re-ranking too, whose time and
    memory grow with the square of the test set.
    """

    run: Name
    dataset: Name
    queries: Name
    faces: Name
    rerank: bool = False


class Row(Section):
    """A row of a table: an evaluation, and which of its rankings; a name alone stands for the plain one."""

    evaluation: Place
    kind: Literal["plain", "refined", "reranked"] = "plain"

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, given: object) -> object:
        return {"evaluation": given} if isinstance(given, str) else given


class Report(Section):
    """What the report shows.

    mark: `smoke` where scores mean nothing. dataset and samples: whose images and variants are pictured. bootstrap: the
    number of resamples behind every interval. datasets: those of Table 1, and the set that was generated for each.
    ways: the sets of Fig. 1. tables: by table and row the evaluation; evaluations of a run with ablations are written
    NAME/ABLATION. Which tables and rows there are says `dlcr.reporting.tables`.
    """

    mark: Literal["measured", "smoke"]
    dataset: Name
    samples: Name
    bootstrap: Positive
    datasets: dict[Name, Name] = {}
    ways: dict[Literal["colour", "standard", "inpainting"], Name] = {}
    tables: dict[Name, dict[str, Row]] = {}

    def row(self, place: str) -> Row | None:
        """The row of a place TABLE/ROW, None if the profile does not fill it."""
        table, _, key = place.partition("/")
        return self.tables.get(table, {}).get(key)

    def evaluation(self, place: str) -> str | None:
        """The evaluation behind a row, None if the profile does not fill it."""
        row = self.row(place)
        return row and row.evaluation


class Items(Section):
    """What the pipeline's stages are expanded over: one stage per item. The item's name is also that of the output."""

    datasets: dict[Name, Dataset]
    descriptions: dict[Name, Descriptions]
    outfits: dict[Name, Outfits]
    discriminators: dict[Name, Discriminator]
    generated: dict[Name, GeneratedSet]
    imported: dict[Name, Imported]
    faces: dict[Name, Faces]
    runs: dict[Name, Run]
    evaluations: dict[Name, Evaluation]


class Params(Items):
    """The whole of params.yaml.

    `defaults`: what YAML's `<<` puts into items, as DVC's templates have no defaults; nothing else reads it.
    `private` lists items whose outputs are `push: false` in DVC: datasets that may not be redistributed, and all that
    is made from them. `load_params` puts them into the other sections too.
    """

    defaults: dict[str, dict[str, Any]] = {}
    private: Items
    k: Positive
    seed: int
    seeds: Annotated[list[int], Field(min_length=1)]
    models: Models
    minicc: MiniCC
    parse: Parse
    describe: Describe
    summarize: Summarize
    inpaint: Inpaint
    discriminate: Discriminate
    quality: Quality
    recipes: dict[Name, Recipe]
    find_faces: FindFaces
    refine: Refine
    geff: Geff
    report: Report

    def evaluation(self, place: str) -> Evaluation:
        """The evaluation at a place, NAME or NAME/ABLATION."""
        return self.evaluations[place.partition("/")[0]]

    def is_private(self, section: str, name: str) -> bool:
        """Whether an item may not be passed on: it, or something that it is made from, is in `private`.

        `name` as other items write it: a query set by its folder, an imported set as one of `generated`, an evaluation
        also with its ablation.
        """
        waiting, seen = [(section, name)], set()
        while waiting:
            section, name = waiting.pop()
            name = name.removeprefix("queries-" if section == "queries" else "").partition("/")[0]
            section = "imported" if section == "generated" and name in self.imported else section
            if (section, name) in seen or section not in Items.model_fields:
                continue
            if name in getattr(self.private, section):
                return True
            seen.add((section, name))
            item = getattr(self, section).get(name)
            waiting += [(target, getattr(item, field)) for field, target in REFERENCES.get(section, {}).items() if item]
        return False


def load_params(path: str | Path = "params.yaml") -> Params:
    """The checked parameters of a profile.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one line that names the file, the key and what was expected: an unknown or missing key, a value of
            another type, a name that no section defines, or a public item that is made from a private one.
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
    for problem in [*_names_used_twice(params), *_broken_references(params), *_leaks(params)]:
        raise ValueError(f"{path}: {problem}")
    return params.model_copy(update=_all_items(params))


def file_content(params: Params) -> dict[str, Any]:
    """The parameters as params.yaml holds them: every item in one place, defaults written out."""
    return params.model_dump(
        mode="json", exclude={"defaults": True} | {key: set(names) for key, names in params.private}
    )


def evaluation_places(params: Params, items: dict[str, dict[str, Section]] | None = None) -> dict[str, Evaluation]:
    """The evaluations by their folders in evaluations/: NAME, or one NAME/ABLATION for each ablation of the run."""
    items = items or {"evaluations": params.evaluations, "runs": params.runs}
    found = {}
    for name, item in items["evaluations"].items():
        run = items["runs"].get(item.run)
        recipe = params.recipes.get(run.recipe) if run else None
        ablations = recipe.ablations if recipe else {}
        found |= {f"{name}/{ablation}": item for ablation in ablations} or {name: item}
    return found


def training_modes(params: Params, places: Iterable[str]) -> list[str]:
    """The modes of the runs behind these evaluations, sorted; `none`, training without generated data, left out."""
    modes = {params.runs[params.evaluation(place).run].mode for place in places}
    return sorted(modes - {"none"})


def weight_names(params: Params) -> dict[str, str]:
    """Every model that the profile's stages load, by the key that names it in params.yaml."""
    models = params.models
    named = {"models.parser": models.parser, "models.summarizer": models.summarizer}
    named |= {f"models.describers.{key}": name for key, name in models.describers.items()}
    named |= {"models.inpainter": models.inpainter} | ({"models.faces": models.faces} if params.faces else {})
    for recipe in sorted({run.recipe for run in params.runs.values()}):
        weights = params.recipes[recipe].settings.get("weights")
        named |= {f"recipes.{recipe}.settings.weights": weights} if weights else {}
    return named


def moving_revision(name: str) -> tuple[str, str] | None:
    """Repository and revision of a hub's model that is named by a branch or tag; None for commits and local models."""
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)@(?![0-9a-f]{40}(?:$|:))([^@:]+)(?::.+)?", name)
    return (found[1], found[2]) if found else None


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
    return f"{key}: {first['msg'].removeprefix('Value error, ')}, found {first['input']!r}"


def _all_items(params: Params) -> dict[str, dict[str, Section]]:
    """By section all items, the private ones last."""
    return {section: getattr(params, section) | getattr(params.private, section) for section in Items.model_fields}


def _names(items: Items) -> dict[str, set[str]]:
    """By section the names that other items use."""
    names = {section: set(getattr(items, section)) for section in Items.model_fields}
    names["generated"] |= names["imported"]
    return names


def _names_used_twice(params: Params) -> list[str]:
    """Items that are private and public, each as `key: problem`."""
    return [
        f"private.{section}.{name}: {section} has an item of that name too"
        for section in Items.model_fields
        for name in getattr(params.private, section)
        if name in getattr(params, section)
    ]


def _broken_references(params: Params) -> list[str]:
    """Names that point at nothing, each as `key: problem`."""
    items, public, private = _all_items(params), _names(params), _names(params.private)
    sections = {section: public[section] | private[section] for section in public}
    sections |= {"recipes": set(params.recipes), "describers": set(params.models.describers)}
    for section in ("discriminators", "generated", "faces"):
        sections[section].add("none")
    problems = []

    def check(key: str, value: str, section: str) -> None:
        if value not in sections[section]:
            problems.append(f"{key}: no {section} named {value!r}; there are {', '.join(sorted(sections[section]))}")

    for section, fields in REFERENCES.items():
        for name, item in items[section].items():
            for field, target in fields.items():
                check(f"{_key(params, section, name)}.{field}", getattr(item, field), target)
    for name, run in items["runs"].items():
        if (run.mode == "none") != (run.generated == "none"):
            problems.append(
                f"{_key(params, 'runs', name)}: mode none and generated none belong together, found mode {run.mode!r} "
                f"with generated {run.generated!r}"
            )
    for name, item in items["discriminators"].items():
        if item.generated in {"none", *(n for n, made in items["generated"].items() if made.discriminator == name)}:
            problems.append(
                f"{_key(params, 'discriminators', name)}.generated: it needs a set that exists before it, found "
                f"{item.generated!r}"
            )
    for name, item in items["generated"].items():
        # By name: an import statement would make the kinds a dependency of every stage.
        if item.discriminator != "none" and not find_entry("dlcr.inpainting.kinds", item.kind, "kind").KIND.guidable:
            problems.append(
                f"{_key(params, 'generated', name)}: kind {item.kind} has no sampler for a discriminator to guide"
            )
    for name, item in items["generated"].items():
        if item.times[0] >= item.times[1]:
            key = _key(params, "generated", name)
            problems.append(f"{key}.times: expected two rising timesteps, found {list(item.times)}")
    splits = {name: item.split for name, item in items["generated"].items()} | dict.fromkeys(items["imported"], "train")
    of = {"discriminators": ("generated", "train"), "runs": ("generated", "train"), "evaluations": ("queries", "query")}
    for section, (field, split) in of.items():
        for name, item in items[section].items():
            wanted = getattr(item, field)
            if splits.get(wanted, split) != split:
                key = _key(params, section, name)
                problems.append(f"{key}.{field}: {wanted!r} has variants of split {splits[wanted]}, expected {split}")
    for name in set(items["imported"]) & set(items["generated"]):
        problems.append(f"imported.{name}: generated has an item of that name too")
    check("models.judge", params.models.judge, "describers")
    if params.quality.min_alignment > 0 and not params.quality.alignment:
        problems.append("quality.min_alignment: needs `alignment: true`, which measures it")
    if params.parse.min_area >= params.parse.max_area:
        problems.append(
            f"parse.max_area: expected more than min_area ({params.parse.min_area}), found {params.parse.max_area}"
        )
    sections["evaluations"] = set(evaluation_places(params, items))
    for table, rows in params.report.tables.items():
        for key, row in rows.items():
            check(f"report.tables.{table}.{key}", row.evaluation, "evaluations")
    check("report.dataset", params.report.dataset, "datasets")
    check("report.samples", params.report.samples, "generated")
    for dataset, generated in params.report.datasets.items():
        check(f"report.datasets.{dataset}", dataset, "datasets")
        check(f"report.datasets.{dataset}", generated, "generated")
    for way, generated in params.report.ways.items():
        check(f"report.ways.{way}", generated, "generated")
    return problems


def _leaks(params: Params) -> list[str]:
    """Public items that are made from private ones, or from data that may not be passed on: `key: problem`."""
    from dlcr.data.readers import find_reader  # with pandas

    private = _names(params.private)
    problems = [
        f"datasets.{name}: {find_reader(dataset.reader).title} may not be redistributed, it belongs in private.datasets"
        for name, dataset in params.datasets.items()
        if not find_reader(dataset.reader).redistributable
    ]
    for section, fields in REFERENCES.items():
        for name, item in getattr(params, section).items():
            for field, target in fields.items():
                value = getattr(item, field)
                if value in private.get(target, ()):
                    problems.append(
                        f"{section}.{name}: made from private {field} {value!r}, it belongs in private.{section}"
                    )
    return problems


def _key(params: Params, section: str, name: str) -> str:
    """An item's key in params.yaml."""
    return f"private.{section}.{name}" if name in getattr(params.private, section) else f"{section}.{name}"
