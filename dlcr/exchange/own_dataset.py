"""A dataset of one's own as a profile: `dlcr add-dataset NAME FOLDER`.

    added = add_dataset("mine", Path("/data/mine"))
    print("\n".join(added))

The profile holds the method and what it is compared with (Table A1's rows 1, 4, 5 and 6) on that dataset alone, with
the models and values of another profile, and K and batches that fit the data.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from dlcr.data import read_dataset
from dlcr.evaluation.labels import by_subject, own_images
from dlcr.evaluation.protocols import comparisons, joint_labels
from dlcr.evaluation.sides import Side
from dlcr.evaluation.tracklets import compared_tracklets
from dlcr.exchange.leaks import find_leaks
from dlcr.exchange.pictures import is_turned
from dlcr.params import load_params, read_content
from dlcr.profiles import PROFILES, find_profile
from dlcr.runtime.files import atomic_path
from dlcr.runtime.progress import progress

SOURCES = Path("datasets")
KEPT = ("seed", "seeds", "models", "minicc", "parse", "describe", "summarize", "inpaint", "discriminate", "quality",
        "find_faces", "geff", "refine")  # fmt: skip
"""Sections of the profile `like` that stand in the new one as they are, comments included."""
ITEMS = {
    "datasets": ("NAME: {reader: READER, source: datasets/NAME}",),
    "descriptions": ("NAME: {dataset: NAME, describer: JUDGE}",),
    "outfits": ("NAME: {descriptions: NAME, source: vlm+llm}",),
    "discriminators": (),
    "generated": (
        "NAME-inpainting: {<<: *set}",
        "queries-NAME: {<<: *set, split: query, k: QUERIES_K, steps: STEPS, size: SIZE}",
    ),
    "imported": (),
    "faces": (),
    "runs": (
        "NAME-baseline: {<<: *run, generated: none, mode: none}",
        "NAME-paired: {<<: *run, generated: NAME-inpainting, mode: paired}",
        "NAME-progressive: {<<: *run, generated: NAME-inpainting, mode: progressive}",
    ),
    "evaluations": (
        "NAME-baseline: {<<: *evaluation, run: NAME-baseline, features: true}",
        "NAME-paired: {<<: *evaluation, run: NAME-paired, queries: none}",
        "NAME-progressive: {<<: *evaluation, run: NAME-progressive, features: true}",
    ),
}
"""By section the items of a profile; words in capitals are replaced."""
DEFAULTS = """\
# What most items below have in common: `<<: *run` puts it into a run (a template of dvc.yaml has no defaults).
defaults:
  set: &set {dataset: NAME, outfits: NAME, kind: inpainting, discriminator: none}
  run: &run {dataset: NAME, recipe: RECIPE, code: dlcr/reid/models}
  evaluation: &evaluation {dataset: NAME, queries: queries-NAME, faces: none}
"""
REPORT = """\
report:
  mark: measured
  dataset: NAME
  samples: NAME-inpainting
  datasets: {NAME: NAME-inpainting}
  ways: {inpainting: NAME-inpainting}
  # Which evaluation is which row of a table; a name alone means its plain ranking.
  tables:
    t2:
      NAME/CAL: NAME-baseline
      NAME/CAL + DLCR: {evaluation: NAME-progressive, kind: refined}
    a1:
      "1": NAME-baseline
      "4": NAME-paired
      "5": NAME-progressive
      "6": {evaluation: NAME-progressive, kind: refined}
"""
PRIVATE = "# Items of data that may not be redistributed: `dvc push` leaves out what is made from them.\n"


def add_dataset(
    name: str,
    folder: Path,
    manifest: Path | None = None,
    reader: str = "folder",
    like: str | None = None,
    private: bool = False,
) -> list[str]:
    """Check a dataset, write profiles/NAME.yaml and link datasets/NAME to its folder; returns in lines what was found.

    manifest: a CSV as reader `folder` reads it, copied to FOLDER/manifest.csv. reader: of `dlcr.data.readers`. like:
    the profile whose models and values are taken; None: ccvid for tracklets, prcc for images. private: nothing that is
    made from it is pushed by DVC or shown in the report.

    Raises FileNotFoundError for a folder or file that is not there; ValueError for a name that is taken or none, for
    whatever the reader does not understand, images that a viewer would turn, and data that cannot be trained or tested
    on: no training images, queries or gallery, fewer than two subjects or clothes in training, a setting in which no
    query has a correct answer. Nothing is written then.
    """
    _check_name(name)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if manifest is not None and reader != "folder":
        raise ValueError(
            f"--manifest goes with reader folder; {reader} reads the layout in which its dataset is published"
        )
    source, copied = _place(name, folder), _copy_of(manifest, folder)
    try:
        rows = read_dataset(reader, folder)
        said = _describe(name, rows, reader)
        if reader == "folder":
            _refuse_turned(folder, rows["image_id"].tolist())
        like = like or ("ccvid" if (rows["tracklet"] != "").any() else "prcc")
        chosen = _choose(name, rows, read_content(find_profile(like)))
        text = _profile(name, reader, like, chosen, private)
        with atomic_path(PROFILES / f"{name}.yaml") as part:
            part.write_text(text, encoding="utf-8")
            load_params(part)
    except BaseException:
        if copied is not None:
            copied.unlink()
        raise
    if source.is_symlink() or not source.exists():
        source.parent.mkdir(exist_ok=True)
        source.unlink(missing_ok=True)
        source.symlink_to(folder.resolve())
        said.append(f"{source} -> {folder.resolve()}")
    recipe = chosen["recipe"]
    said += [
        f"profiles/{name}.yaml: models and values of profile {like}",
        f"K = {chosen['k']} variants of each training image, {chosen['queries_k']} of each query; batches of "
        f"{recipe['identities']} subjects x {recipe['images']} images",
        "Next:",
        f"  dlcr profile use {name}",
        "  dlcr doctor",
        f"  dvc repro  # scores: evaluations/{'private/' if private else ''}{name}-*, tables: reports/tables",
    ]
    return said


def _check_name(name: str) -> None:
    """Raises ValueError for a name that cannot be a dataset's and a profile's, FileNotFoundError without profiles."""
    plain = re.fullmatch(r"[a-z][a-z0-9._-]*", name) and yaml.safe_load(name) == name  # YAML's `on` and `null` are none
    if not plain or name in ("none", "private"):
        raise ValueError(
            f"{name!r} cannot name a dataset: expected a letter, then a-z, 0-9, '.', '_', '-'; not 'none' or 'private'"
        )
    if (PROFILES / f"{name}.yaml").exists():
        raise ValueError(f"{PROFILES / name}.yaml: there is such a profile; choose another name, or remove it")
    if not PROFILES.is_dir():
        raise FileNotFoundError(f"{PROFILES}: no profiles; run in the repository's root")


def _place(name: str, folder: Path) -> Path:
    """datasets/NAME, which is the folder or can become a link to it; ValueError if it is something else."""
    source = SOURCES / name
    if source.exists() and source.resolve() != folder.resolve():
        raise ValueError(f"{source}: there is one, and it is not {folder}; choose another name, or remove it")
    return source


def _copy_of(manifest: Path | None, folder: Path) -> Path | None:
    """FOLDER/manifest.csv where it was made here, of `manifest`; None if nothing had to be copied."""
    target = folder / "manifest.csv"
    if manifest is not None and not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: no such file")
    if manifest is None or (target.is_file() and target.read_bytes() == manifest.read_bytes()):
        return None
    if target.exists():
        raise ValueError(f"{target}: there is one, and it is not {manifest}; remove it, or leave out --manifest")
    with atomic_path(target) as part:
        shutil.copyfile(manifest, part)
    return target


def _describe(name: str, rows: pd.DataFrame, reader: str) -> list[str]:
    """What a dataset holds and what is wrong with its test, in lines. Raises ValueError where nothing can be done."""
    train = rows[rows["split"] == "train"]
    subjects, clothes = train["subject"].nunique(), train["clothes"].nunique()
    if subjects < 2 or clothes < 2:
        raise ValueError(
            f"{name}: {subjects} subjects in {clothes} clothes have split train; expected two of each at least"
        )
    compared = compared_tracklets(rows).rows
    cases = comparisons(compared, Side(np.zeros((len(compared), 1)), joint_labels(compared)), reader)
    cameras = train["camera"][train["camera"] != ""].nunique()
    tracklets = rows["tracklet"][rows["tracklet"] != ""].nunique()
    said = [
        f"{name}: {len(train)} training images of {subjects} subjects in {clothes} clothes, {cameras} cameras"
        + (f"; {tracklets} tracklets in all" if tracklets else "")
    ]
    for setting, case in cases.items():
        i, _, junk = own_images(case.query.labels, case.gallery.labels, case.junk, by_subject(case.gallery.labels))
        answered = len(np.unique(i[~junk]))
        if not answered:
            raise ValueError(
                f"{name}: no query of setting {setting} has a correct answer: an image of its subject in the gallery, "
                "by another camera" + (", in other clothes" if setting == "cc" else "")
            )
        said.append(
            f"setting {setting}: {len(case.query)} queries, {answered} of them with a correct answer among "
            f"{len(case.gallery)} in the gallery"
        )
    return said + [f"warning: {leak.says}" for leak in find_leaks(rows)]


def _refuse_turned(folder: Path, image_ids: list[str]) -> None:
    """Raises ValueError for images whose EXIF data asks viewers to turn them: this project shows pixels as stored."""
    turned = []
    with progress(len(image_ids), "orientation") as bar:
        for image_id in image_ids:
            turned += [image_id] if is_turned(folder / image_id) else []
            bar.update(1)
    if turned:
        raise ValueError(
            f"{folder}: the EXIF data of {len(turned)} images asks for a rotation ({turned[0]!r}), which masks and "
            "models would not see; turn the pixels, as `mogrify -auto-orient` does"
        )


def _choose(name: str, rows: pd.DataFrame, like: dict) -> dict:
    """What a profile has of its own: K, the queries' l, its recipe with batches that fit, and names."""
    train = rows[rows["split"] == "train"]
    others = train["clothes"].nunique() - 1
    queries = next((item for item in like["generated"].values() if item.get("split") == "query"), None)
    if queries is None or not like["runs"]:
        raise ValueError(f"--like: a profile with runs and a set of query variants is needed for {name}")
    recipe = next(iter(like["runs"].values()))["recipe"]
    settings = dict(like["recipes"][recipe])
    settings["identities"] = min(settings["identities"], train["subject"].nunique())
    inpaint = like["inpaint"]
    return {
        "k": min(like["k"], others),
        "queries_k": min(queries.get("k", like["k"]), others),
        "steps": queries.get("steps", inpaint["steps"]),
        "size": queries.get("size", inpaint["size"]),
        "recipe_name": recipe,
        "recipe": settings,
        "judge": like["models"]["judge"],
    }


def _profile(name: str, reader: str, like: str, chosen: dict, private: bool) -> str:
    """The text of profiles/NAME.yaml."""
    blocks = _blocks(find_profile(like).read_text(encoding="utf-8"))
    words = {
        "NAME": name,
        "READER": reader,
        "RECIPE": chosen["recipe_name"],
        "JUDGE": chosen["judge"],
        "QUERIES_K": chosen["queries_k"],
        "STEPS": chosen["steps"],
        "SIZE": list(chosen["size"]),
    }

    def fill(text: str) -> str:
        return re.sub("|".join(rf"\b{word}\b" for word in words), lambda found: str(words[found[0]]), text)

    def items(inner: str) -> str:
        lines = []
        for section in ITEMS:
            entries = [f"{inner}  {fill(line)}" for line in ITEMS[section]]
            lines += [f"{inner}{section}:" + ("" if entries else " {}"), *entries]
        return "\n".join(lines) + "\n"

    nothing = "".join(f"{section}: {{}}\n" for section in ITEMS)
    listed = ", ".join(f"{section}: {{}}" for section in ITEMS)
    recipe = yaml.safe_dump({chosen["recipe_name"]: chosen["recipe"]}, sort_keys=False, default_flow_style=None)
    parts = [
        f"# Dataset {name}: made by `dlcr add-dataset`, with models and values of profile {like}; yours to edit.\n",
        f"# K, the variants of every training image (Sec. 3.1).\nk: {chosen['k']}\n",
        *(blocks[key] for key in KEPT),
        "recipes:\n" + "".join(f"  {line}\n" for line in recipe.splitlines()),
        fill(DEFAULTS),
        nothing if private else items(""),
        PRIVATE + (f"private:\n{items('  ')}" if private else f"private:\n  {{{listed}}}\n"),
        fill(REPORT),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _blocks(text: str) -> dict[str, str]:
    """The top-level sections of a profile by their keys, each with the comment above it."""
    lines, starts = text.splitlines(keepends=True), {}
    for number, line in enumerate(lines):
        found = re.match(r"(\w+):", line)
        if found:
            first = number
            while first and lines[first - 1].startswith("#"):
                first -= 1
            starts[found[1]] = first
    ends = [*list(starts.values())[1:], len(lines)]
    return {key: "".join(lines[start:end]) for (key, start), end in zip(starts.items(), ends, strict=True)}
