"""The sections of params.yaml that hold settings: how masks, texts, variants, models and the report are made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _each_once(seeds: list[int]) -> list[int]:
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if twice:
        raise ValueError(f"expected every seed once, found {', '.join(map(str, twice))} more often")
    return seeds


Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what the tables of scores can hold
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = tuple[Positive, Positive]  # height, width in pixels
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]  # names become folder and stage names
Place = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)?$")]  # an evaluation[/ablation]


class Section(BaseModel):
    """Strict base: unknown keys and silent conversions ("10" for 10) are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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


class Inpaint(Section):
    """Sampler shared by all generated sets. `size` is the diffusion's image size, `block` the images in one file.

    `guidance_share` and `reuse_every` trade the picture for time: the share of the steps with guidance, and after how
    many steps the whole U-Net is computed again. `guidance`: the scale of classifier-free guidance. `solver`: `ddim`
    and `dpm++` for U-Nets, `ddpm` for Kandinsky's, `lcm`, `lightning` and `hyper` for those of few steps, `flow` for
    models that predict a flow. `lora`: what is added to the inpainter's weights, a safetensors file or
    `repo@revision:file.safetensors`. `prior`: the second model of Kandinsky. What a family of models does not know is
    refused before anything is loaded (docs/inpainters.md).
    """

    steps: Positive
    guidance_share: Share
    reuse_every: Positive
    guidance: Annotated[float, Field(ge=1)]
    size: Size
    batch: Positive
    block: Positive
    dtype: Literal["float32", "bfloat16", "float16"]
    solver: Literal["ddim", "dpm++", "ddpm", "lcm", "lightning", "hyper", "flow"]
    lora: str | None = None
    prior: str | None = None


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


class FindFaces(Section):
    """Faces of the test images, for GEFF."""

    batch: Positive


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


class Row(Section):
    """A row of a table: an evaluation, and which of its rankings; a name alone stands for the plain one."""

    evaluation: Place
    kind: Literal["plain", "refined", "reranked", "averaged", "centralized"] = "plain"

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, given: object) -> object:
        return {"evaluation": given} if isinstance(given, str) else given


class Report(Section):
    """What the report shows.

    mark: `smoke` where scores mean nothing. dataset and samples: whose images and variants are pictured. datasets:
    those of Table 1, and the set that was generated for each. ways: the sets of Fig. 1. tables: by table and row the
    evaluation; evaluations of a run with ablations are written NAME/ABLATION. Which tables and rows there are says
    `dlcr.reporting.tables`.
    """

    mark: Literal["measured", "smoke"]
    dataset: Name
    samples: Name
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
