"""What was made before training, in numbers that Git keeps: what tables and figures say of it without the data.

    found = survey(Path(), params)    # reports/sets.json
    load_survey(Path())               # the same, from the file

`datasets` has of each prepared dataset the counts of `COUNTS`, `images_of_subjects`, how many training images each
subject has, and where it is parsed `colours`, of its training clothes; `sets` of each generated set its variants, what
the quality gate drops of them, their measures, and how various their prompts and `colours` are (`diversity`).
"""

import json
from pathlib import Path

from dlcr.data import Generated, Masks, load_manifest, open_generated, open_images, open_masks
from dlcr.data.shards import MEASURES
from dlcr.params import Params
from dlcr.reporting.diversity import colours_of_images, colours_of_variants, of_prompts
from dlcr.reporting.lineage import other_keys

COUNTS = {
    "original_images": "training images",
    "generated_images": "generated images",
    "subjects": "training subjects",
    "clothes": "training clothes",
    "queries": "queries",
    "gallery": "gallery images",
}
"""What is counted of a dataset and its generated set; subjects and clothes are those of training."""
QUALITY = (*MEASURES, "alignment")
"""Measures of a variant. Of each a set has `<measure>_1`, which one variant in a hundred does not reach, and
`<measure>_50`, the median."""


def survey(root: Path, params: Params) -> dict[str, dict]:
    """The datasets and sets of the profile that there are, by name; `root` is the repository's."""
    data = {name: root / "data" / name for name in params.datasets}
    made = {name: root / "generated" / name for name in (*params.generated, *params.imported)}
    masks = {name: open_masks(root / "masks" / name) for name in data if (root / "masks" / name).is_dir()}
    minimum = params.quality.minimum()
    found: dict[str, dict] = {"datasets": {}, "sets": {}}
    for name, folder in data.items():
        if (folder / "manifest.parquet").is_file():
            found["datasets"][name] = _of_images(folder, masks.get(name))
    for name, folder in made.items():
        if folder.is_dir():
            item = params.generated.get(name) or params.imported[name]
            found["sets"][name] = _of_variants(open_generated(folder, minimum), masks.get(item.dataset))
    return found


def load_survey(root: Path) -> dict[str, dict]:
    """reports/sets.json; empty where there is none, or one of other parameters. ValueError naming the file if it is
    damaged."""
    source = root / "reports" / "sets.json"
    found = _load(root, source, {"datasets": {}, "sets": {}})
    if not {"datasets", "sets"} <= set(found):
        raise ValueError(f"{source}: expected the keys datasets and sets; `dvc repro --single-item survey` makes it")
    return found


def load_scores(root: Path) -> dict[str, dict]:
    """reports/stages.json, the scores of the stages (`dlcr.reporting.scores.stage_scores`); {} and ValueError as in
    `load_survey`."""
    return _load(root, root / "reports" / "stages.json", {})


def _load(root: Path, source: Path, absent: dict) -> dict:
    if not source.is_file() or other_keys(root, "survey"):
        return absent
    try:
        found = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{source}: not readable as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{source}: expected a mapping, found {type(found).__name__}")
    return found


def _of_images(folder: Path, masks: Masks | None) -> dict:
    manifest = load_manifest(folder)
    train, splits = manifest[manifest["split"] == "train"], manifest["split"].value_counts()
    found = {
        "original_images": len(train),
        "subjects": train["subject"].nunique(),
        "clothes": train["clothes"].nunique(),
        "queries": int(splits.get("query", 0)),
        "gallery": int(splits.get("gallery", 0)),
        "images_of_subjects": train["subject"].value_counts().sort_index().tolist(),
    }
    if masks is not None:
        found["colours"] = colours_of_images(open_images(folder / "images"), masks, train["image_id"])
    return found


def _of_variants(made: Generated, masks: Masks | None) -> dict:
    """variants; generated_images, those that can be used; not_made; dropped, by the gate; reasons; measures;
    prompts, items and colours."""
    table = made.table()
    reasons = table.loc[table["skipped"] != "", "skipped"].map(lambda text: " ".join(text.split()[:2]))
    dropped = int(reasons.str.startswith("quality:").sum())
    found = {
        "variants": len(table),
        "generated_images": len(table) - len(reasons),
        "not_made": len(reasons) - dropped,
        "dropped": dropped,
        "reasons": {reason: int(count) for reason, count in reasons.value_counts().sort_index().items()},
    }
    for measure in QUALITY:
        values = table[measure].dropna()
        if len(values):
            found |= {f"{measure}_1": float(values.quantile(0.01)), f"{measure}_50": float(values.median())}
    found |= of_prompts(table["prompt"])
    return found if masks is None else found | {"colours": colours_of_variants(made, masks)}
