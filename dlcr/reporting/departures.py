"""What a profile does otherwise than the paper: its settings beside the paper's, and what holds for every
profile."""

from dlcr.params import Params

ALWAYS = [
    "The model is that of the last epoch. The release picks the best epoch on the test set.",
    "In refinement the query and each of its variants vote once, with their cosines as they are (Algorithm 1). The "
    "release counts the query twice, adds 1 to the cosines, squares them and takes one value of each subject.",
    "After refinement the subjects among the top m come first, by refined score, then the other images as "
    "before; the paper does not say how its mAP is computed.",
    "Outfits and noise are drawn from seeds that depend on the image and the variant alone; the release "
    "draws without a seed.",
    "The shipped profiles parse with SegFormer, or its small kin. SCHP, the paper's parser, can be named too, as a "
    "file in ONNX form, which somebody has to export.",
    "The prompt is the outfit's text as it stands, with its bars: Gray shirt| Blue jeans| Black shoes. The released "
    "texts look like this; the paper does not say how its prompts are put.",
    "Images are resized for the inpainter and back by Lanczos' filter, masks by the area that they cover. The paper "
    "names no filter; the release's masks grow, as it resizes them bicubically and takes all that is above zero.",
    "The inpainter starts from the mean of what its encoder says of a picture; the usual pipeline draws around it.",
    "Standard diffusion (Table A1, row 2) is image to image by the inpainting model, its mask over the whole "
    "picture. The paper does not say which model it took.",
]
"""Decisions that no parameter changes."""


def departures(params: Params) -> dict[str, list]:
    """`settings`: dicts of name, paper, run, same; `always`: sentences that hold for every profile."""
    report = params.report
    generated = params.generated[report.samples]
    run = _run(params)
    train = params.recipes[run.recipe]
    model = train.model or run.recipe
    inpaint, queries = params.inpaint, _queries(params)
    describer = _describer(params, generated.outfits)
    rows = [
        ("dataset", "PRCC", report.dataset, report.dataset == "prcc"),
        ("Re-ID model", "CAL, ResNet-50", model, model == "cal"),
        ("human parser", "SCHP", params.models.parser, "schp" in params.models.parser.lower()),
        ("describer", "LLaVA", describer, "llava" in describer.lower()),
        (
            "summarizer",
            "LLaMA (Llama-2-7b-chat)",
            params.models.summarizer,
            "llama" in params.models.summarizer.lower(),
        ),
        (
            "inpainter",
            "Stable Diffusion inpainting",
            params.models.inpainter,
            _is_diffusion(params.models.inpainter),
        ),
        (
            "describer's temperature",
            "0.2 (release only)",
            str(params.describe.temperature),
            params.describe.temperature == 0.2,
        ),
        ("K, variants an image", "10", str(params.k), params.k == 10),
        ("how variants are made", "inpainting", generated.kind, generated.kind == "inpainting"),
        ("denoising steps", "50 (Sec. 16)", str(inpaint.steps), inpaint.steps == 50),
        ("guidance scale", "7.5 (release only)", str(inpaint.guidance), inpaint.guidance == 7.5),
        ("generated size", "768 x 256 (Sec. 16)", _size(inpaint.size), tuple(inpaint.size) == (768, 256)),
        ("l, variants a query", "6", *_asked(queries, "k", 6)),
        ("denoising steps of queries", "10 (Sec. 16)", *_asked(queries, "steps", 10)),
        (
            "generated size of queries",
            "384 x 128 (Sec. 16: half)",
            "not run" if queries is None else _size(queries["size"]),
            queries is not None and tuple(queries["size"]) == (384, 128),
        ),
        ("m, gallery images that vote", "5", str(params.refine.m), params.refine.m == 5),
        ("image size of the model", "384 x 192", _size(train.size), tuple(train.size) == (384, 192)),
        ("epochs", "60", str(train.epochs), train.epochs == 60),
        ("N, epochs a part of the variants", "5", str(train.progressive_every), train.progressive_every == 5),
        ("learning rate", "0.00035", f"{train.learning_rate:g}", train.learning_rate == 3.5e-4),
        (
            "batch, identities x images",
            "4 x 8",
            f"{train.identities} x {train.images}",
            (train.identities, train.images) == (4, 8),
        ),
        (
            "training seeds",
            "not said",
            ", ".join(map(str, params.seeds if run.seeds is None else run.seeds)),
            False,
        ),
    ]
    settings = [dict(zip(("name", "paper", "run", "same"), row, strict=True)) for row in rows]
    return {"settings": settings, "always": ALWAYS}


def _run(params: Params):
    """The run behind Table A1's most complete row that has one."""
    place = next((place for row in "654321" if (place := params.report.evaluation(f"a1/{row}"))), None)
    if place is None:
        raise ValueError("report.tables.a1: no row 1 to 6; the report needs at least one")
    return params.runs[params.evaluation(place).run]


def _describer(params: Params, outfits: str) -> str:
    """The model whose descriptions a set's outfit texts come from."""
    return params.models.describers[params.descriptions[params.outfits[outfits].descriptions].describer]


def _queries(params: Params) -> dict | None:
    """k, steps and size of the query variants behind row 6 of Table A1; None if it has none."""
    place = params.report.evaluation("a1/6")
    name = params.evaluation(place).queries if place else "none"
    if name == "none":
        return None
    made, inpaint = params.generated[name], params.inpaint
    return {"k": made.k or params.k, "steps": made.steps or inpaint.steps, "size": made.size or inpaint.size}


def _asked(queries: dict | None, key: str, paper: int) -> tuple[str, bool]:
    return ("not run", False) if queries is None else (str(queries[key]), queries[key] == paper)


def _is_diffusion(name: str) -> bool:
    return "stable-diffusion" in name.lower()


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
