"""What is exported: a generated set with the labels of its images, and what is known of how it was made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dlcr import __version__
from dlcr.data import Generated, find_reader, folder_fingerprint, load_manifest, open_generated, shard_paths
from dlcr.data.generated import COLUMNS
from dlcr.data.reader import Reader
from dlcr.params import GeneratedSet, Imported, Params


@dataclass(frozen=True)
class Source:
    """A generated set, ready to be written in another form.

    dataset: the packed dataset, data/DATASET. reader: the name under dlcr/data/readers. private: whether params.yaml
    forbids to pass it on. manifest: all images of the dataset. made: one row a variant that there is, by image_id and
    variant: the columns of the set (`dlcr.data.generated.COLUMNS`) and, of the image it was made from, `clothes`,
    `camera`, `split`, `tracklet`, `frame`, `width` and `height`. skipped: variants that there are not. provenance:
    plain data for JSON.
    """

    name: str
    dataset: Path
    reader: str
    private: bool
    manifest: pd.DataFrame
    generated: Generated
    made: pd.DataFrame
    skipped: int
    provenance: dict

    @property
    def title(self) -> str:
        """The dataset's name for readers; a user's own folder of images goes by the name that it has in params.yaml."""
        return self.dataset.name if self.reader == "folder" else self.described.title

    @property
    def described(self) -> Reader:
        """What the dataset's reader says of it."""
        return find_reader(self.reader)


def open_source(name: str, params: Params, private: bool = False, gate: bool = False) -> Source:
    """Open generated/<name>, a set of params.yaml, and the manifest of its dataset.

    private: whether a set that params.yaml calls private may be opened. gate: leave out what falls short of `quality`.
    Raises ValueError for a name that params.yaml does not have, a private set, one that is not made yet, that was made
    of other images than data/<dataset> has, or that has no variant at all; FileNotFoundError for a dataset that is not
    packed; and as `open_generated`.
    """
    item = _item(name, params)
    is_private = params.is_private("generated", name)
    if is_private and not private:
        raise ValueError(
            f"{name}: private, since it or what it is made from is listed under `private` of params.yaml; --private "
            "exports it for your own use"
        )
    folder, dataset = Path("generated", name), Path("data", item.dataset)
    if not folder.is_dir() or not shard_paths(folder):
        raise ValueError(f"{folder}: not made yet; {_how_to_make(name, item, is_private)}")
    if not (dataset / "manifest.parquet").is_file():
        stage = "private-prepare" if item.dataset in params.private.datasets else "prepare"
        raise FileNotFoundError(f"{dataset}: not packed yet; run `dvc repro {stage}@{item.dataset}`")
    manifest = load_manifest(dataset)
    minimum = params.quality.minimum() if gate else {}
    generated = open_generated(folder, minimum)
    made, skipped = _made(generated, manifest, dataset)
    provenance = {
        "dlcr": __version__,
        "set": {"name": name, **item.model_dump(mode="json")},
        "made_by": generated.fingerprint["set"],
        **({} if isinstance(item, Imported) else {"params": _params(params)}),
        "quality_gate": minimum or None,
        "hashes": {
            str(folder): folder_fingerprint(folder),
            f"{dataset}/manifest.parquet": hashlib.sha256((dataset / "manifest.parquet").read_bytes()).hexdigest(),
        },
    }
    reader = params.datasets[item.dataset].reader
    return Source(name, dataset, reader, is_private, manifest, generated, made, skipped, provenance)


def _params(params: Params) -> dict:
    """What of params.yaml shapes every set that the pipeline makes."""
    return {"seed": params.seed} | params.model_dump(mode="json", include={"models", "inpaint"})


def _item(name: str, params: Params) -> GeneratedSet | Imported:
    items = {**params.generated, **params.imported}
    if name not in items:
        there = [other for other in sorted(items) if Path("generated", other).is_dir()]
        known = f"it has {', '.join(sorted(items)) or 'none'}; of these {', '.join(there) or 'none'} lie in generated/"
        unlisted = any(Path("generated", name).glob("*.arrow"))
        hint = f"; generated/{name} is there: list it under `imported`" if unlisted else ""
        raise ValueError(f"no generated set {name!r} in params.yaml; {known}{hint}")
    return items[name]


def _how_to_make(name: str, item: GeneratedSet | Imported, private: bool) -> str:
    if isinstance(item, Imported):
        return f"run `dlcr import-released RELEASE --dataset {item.dataset} --name {name}`"
    return f"run `dvc repro {'private-' if private else ''}inpaint@{name}`"


def _made(generated: Generated, manifest: pd.DataFrame, dataset: Path) -> tuple[pd.DataFrame, int]:
    """The rows of `Source.made`, and how many variants were skipped."""
    origin = generated.fingerprint["set"]["dataset"]
    if origin != dataset.name:
        raise ValueError(f"{generated.folder}: made from dataset {origin!r}, params.yaml says {dataset.name!r}")
    unknown = set(generated.image_ids) - set(manifest["image_id"])
    if unknown:
        raise ValueError(f"{generated.folder}: holds image_id {min(unknown)!r}, which {dataset} does not have")
    table = generated.table(COLUMNS)
    here = table[table["skipped"] == ""]
    if here.empty:
        raise ValueError(f"{generated.folder}: all of its {len(table)} variants are skipped, nothing is to export")
    rows = here.drop(columns="skipped").merge(manifest.drop(columns="subject"), on="image_id", validate="many_to_one")
    return rows.sort_values(["image_id", "variant"], ignore_index=True), len(table) - len(here)
