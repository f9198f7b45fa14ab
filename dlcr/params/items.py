"""The items of params.yaml: what stages are expanded over, and which items each of them is made from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dlcr.params.sections import Name, Positive, Section, Seeds, Size
from dlcr.runtime.registry import one_of

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


class Dataset(Section):
    """One dataset: which reader understands `source`, the folder that `prepare` reads."""

    reader: Annotated[str, AfterValidator(one_of("dlcr.data.readers"))]
    source: str


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


class Garment(Section):
    """How a set of kind garment is made: `text`, by the outfits' texts too; `scale`, the weight of its IP-Adapter.

    `adapter`: the IP-Adapter, where the inpainter needs one: a folder or `repo@revision`, or one file of it
    (`repo@revision:file.safetensors`).
    """

    adapter: str | None = None
    text: bool = False
    scale: Annotated[float, Field(ge=0)] = 1.0


class GeneratedSet(Section):
    """K variants of every training image, or of every query for prediction refinement (Sec. 3.2.2): `split`.

    Kinds: `inpainting` fills the masks; `standard` is image to image without a mask, with `strength`; `colour`
    recolours the masked clothes; `garment` fills the masks from a picture of the outfit, as `garment` says; `oracle`
    renders the truth (MiniCC). `discriminator` guides the sampler with `weight`
    at timesteps t with times[0] < t <= times[1] (Sec. 12), or is none. `k` replaces the profile's, `steps` and
    `size` those of section inpaint.
    """

    dataset: Name
    outfits: Name
    kind: Annotated[str, AfterValidator(one_of("dlcr.inpainting.kinds"))]
    strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    garment: Garment = Garment()
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


class Imported(Section):
    """A set that `dlcr import-released` wrote to generated/<name>: the pipeline does not make it."""

    dataset: Name


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
    seeds: Seeds | None = None

    @property
    def own_code(self) -> str | None:
        """Your own Python file that registers the model; None for a model of dlcr."""
        return self.code if self.code.endswith(".py") else None


class Faces(Section):
    """The best face of every query and gallery image of a dataset."""

    dataset: Name


class Evaluation(Section):
    """A run's model on a dataset's queries and gallery; `queries` names a set of the queries' variants, or none.

    `faces` names the faces that GEFF adds to the model, or none. `rerank`: k-reciprocal re-ranking and neighbour
    feature centralization (NFC) too, whose time, and the first's memory, grow with the square of the test set.
    `features`: those of five subjects are kept too, for Figure A5.
    """

    run: Name
    dataset: Name
    queries: Name
    faces: Name
    rerank: bool = False
    features: bool = False


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
