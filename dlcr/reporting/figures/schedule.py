"""The progressive schedule (Sec. 3.2.1): how many variants are in use over the epochs, and how many were seen."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dlcr.params import Params
from dlcr.reporting.figures.style import BLUE, GREEN, ORANGE, style, tidy, to_bytes
from dlcr.reporting.parts import Picture
from dlcr.runtime.seeds import seed_of

MODES = {"progressive": (BLUE, "-", "o"), "paired": (ORANGE, "--", "s"), "concat": (GREEN, ":", "^")}
SUBJECTS = 100


def schedule_table(params: Params, survey: Mapping[str, dict]) -> pd.DataFrame | None:
    """What each mode would show of the generated images, with the data, K and recipe of the run of Table A1's row 5.

    The batches are those of training (`dlcr.reid.batches`) for at most 100 subjects, drawn with a seed; how many images
    each has is in the `survey` (`dlcr.reporting.survey`). Returns one row per mode and epoch (from 1): mode, epoch,
    variants (in use, of K), seen (percent of the generated images seen so far), images (in the epoch's batches, for
    each real training image); None if the profile has no such run or its data was not surveyed.
    """
    place = params.report.evaluation("a1/5")
    run = params.runs[params.evaluation(place).run] if place else None
    data = run and survey["datasets"].get(run.dataset)
    if not data:
        return None
    subjects = _training_subjects(data["images_of_subjects"], params.seed)
    if len(np.unique(subjects)) < params.recipes[run.recipe].identities:
        return None
    generated = params.generated.get(run.generated)  # an imported set is not among them
    k = run.k or (generated and generated.k) or params.k
    return pd.concat([_epochs(mode, subjects, k, params, run.recipe) for mode in MODES])


def _training_subjects(images: list[int], seed: int) -> np.ndarray:
    """Int64 [n], the subject of each training image of at most `SUBJECTS` subjects, by how many images each has."""
    chosen = np.random.default_rng(seed_of("schedule", seed)).permutation(len(images))[:SUBJECTS]
    codes = np.repeat(np.arange(len(images)), images)
    return codes[np.isin(codes, chosen)]


def _epochs(mode: str, subjects: np.ndarray, k: int, params: Params, model: str) -> pd.DataFrame:
    from dlcr.reid.batches import plan_epoch

    recipe = params.recipes[model]
    seen, rows = np.zeros((k, len(subjects)), bool), []
    for epoch in range(recipe.epochs):
        rng = np.random.default_rng(seed_of("schedule", mode, params.seed, epoch))
        plan = plan_epoch(
            mode,
            subjects,
            np.ones_like(seen),
            epoch,
            recipe.progressive_every,
            recipe.identities,
            recipe.images,
            rng,
        )
        made = plan.layers > 0
        seen[plan.layers[made] - 1, plan.rows[made]] = True
        rows.append((mode, epoch + 1, plan.limit, 100 * seen.mean(), plan.rows.size / len(subjects)))
    return pd.DataFrame(rows, columns=["mode", "epoch", "variants", "seen", "images"])


def schedule(table: pd.DataFrame | None) -> Picture | None:
    """The schedule as lines; None without a table (`schedule_table`)."""
    if table is None:
        return None
    with style():
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        above, below = figure.subplots(2, sharex=True)
        for mode, (colour, dash, marker) in MODES.items():
            rows = table[table["mode"] == mode]
            look = {"color": colour, "linestyle": dash, "marker": marker, "markersize": 4, "linewidth": 1.6}
            label = f"{mode}: {rows['images'].mean():.1f} images\nan epoch for each real one"
            above.plot(rows["epoch"], rows["variants"], label=label, drawstyle="steps-mid", **look)
            below.plot(rows["epoch"], rows["seen"], **look)
        above.set_ylabel("Variants in use")
        below.set_ylabel("Generated images\nseen so far in %")
        below.set_xlabel("Epoch")
        above.set_ylim(0, 1.06 * table["variants"].max())
        below.set_ylim(0, 106)
        for axes in (above, below):
            tidy(axes)
        above.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), labelspacing=1)
        content = to_bytes(figure)
    return Picture("schedule", "The progressive schedule", content, _alt(table), _CAPTION)


_CAPTION = (
    "Above: of how many variants an image’s pair is drawn. Below: the share of all generated images that training has "
    "met so far. All three modes with the data and recipe of Table A1’s row 5. Concatenated data make an epoch "
    "longer: see its images."
)


def _alt(table: pd.DataFrame) -> str:
    parts = []
    for mode, rows in table.groupby("mode", sort=False):
        first = rows.drop_duplicates("variants")
        steps = ", ".join(f"{n} from epoch {epoch}" for n, epoch in zip(first["variants"], first["epoch"], strict=True))
        parts.append(f"{mode}: {steps}; {rows['seen'].iloc[-1]:.0f} % of the images seen in the end")
    return f"Line charts of the variants in use, and of the generated images seen, over the epochs. {'. '.join(parts)}."
