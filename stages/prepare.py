"""Stage `prepare`: a dataset into the one form that all later stages read: manifest and image shards.

    python -m stages.prepare NAME        # a key of params.datasets -> data/NAME

Real datasets are read from `source` in their own layout. MiniCC is rendered, with its truth: label maps
and outfits.
"""

import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from dlcr import minicc
from dlcr.data import encode_png, read_dataset
from dlcr.data.manifest import statistics
from dlcr.data.pack import pack, pack_labels
from dlcr.params import Dataset, MiniCC, load_params, lookup
from dlcr.runtime import timing
from dlcr.runtime.files import atomic_path
from dlcr.runtime.progress import progress
from dlcr.runtime.stage import run_stage

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Pack the dataset NAME of params.yaml into data/NAME and print its row of Table 1."""
    params = load_params()
    dataset = lookup(params.datasets, "datasets", name)
    start = time.monotonic()
    if dataset.reader == "minicc":
        manifest = render_minicc(name, params.minicc, Path("data") / name)
    else:
        manifest = pack_source(dataset, Path("data") / name)
    timing.record_images("prepare", name, time.monotonic() - start, len(manifest))
    print(pd.DataFrame([{"dataset": name, **statistics(manifest, params.k)}]).to_string(index=False))


def render_minicc(domain: str, sizes: MiniCC, folder: Path) -> pd.DataFrame:
    """Render the benchmark domain into `folder`, truth included; return its manifest."""
    fingerprint = {"dataset": domain, "reader": "minicc", **sizes.model_dump()}
    scenes = minicc.benchmark_scenes(domain, **sizes.model_dump())
    rows, images, labels = [], {}, {}
    with progress(len(scenes), f"render {domain}") as bar:
        for scene in scenes:
            rendered = minicc.render(scene)
            images[scene.image_id] = encode_png(rendered.image)
            labels[scene.image_id] = encode_png(rendered.labels)
            height, width = rendered.labels.shape
            rows.append(_row(scene) | {"width": width, "height": height})
            bar.update(1)
    pack_labels(labels, folder / "truth" / "labels.arrow", fingerprint)
    outfits = {scene.clothes: minicc.outfit_words(scene.outfit) for scene in scenes}
    _write_outfits(outfits, folder / "truth" / "outfits.parquet")
    return pack(pd.DataFrame(rows), images.__getitem__, folder, fingerprint)


def pack_source(dataset: Dataset, folder: Path) -> pd.DataFrame:
    """Read a dataset in its own layout and pack it into `folder`; return its manifest."""
    source = Path(dataset.source)
    manifest = read_dataset(dataset.reader, source)
    fingerprint = {"dataset": folder.name, "reader": dataset.reader}
    return pack(manifest, lambda image_id: (source / image_id).read_bytes(), folder, fingerprint)


def _row(scene: minicc.Scene) -> dict:
    """Return a scene's manifest row but for its size; MiniCC has no tracklets."""
    return {
        "image_id": scene.image_id,
        "subject": scene.subject,
        "clothes": scene.clothes,
        "camera": scene.camera,
        "split": scene.split,
        "tracklet": "",
        "frame": scene.frame,
    }


def _write_outfits(outfits: dict[str, str], path: Path) -> None:
    """Write clothes ID -> outfit words, sorted by clothes."""
    clothes = sorted(outfits)
    table = pa.table({"clothes": clothes, "prompt": [outfits[name] for name in clothes]})
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd", version="2.6")


if __name__ == "__main__":
    run_stage(app)
