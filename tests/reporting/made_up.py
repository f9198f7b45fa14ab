"""A made-up pipeline for the report's tests: small data, masks, sets, runs and evaluations of the documented
schemas."""

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from dlcr.data import GENERATED_SCHEMA, IMAGE_SCHEMA, MASK_SCHEMA, encode_png, save_manifest, write_shard
from dlcr.data.shards import MEASURES, checksum
from dlcr.evaluation.tables import mean_history
from dlcr.params import Params
from dlcr.reporting.survey import survey

KINDS = (("cc", "plain", 0), ("cc", "refined", 0.03), ("cc", "reranked", 0.05), ("sc", "plain", 0.2))
SUBJECTS, IMAGES, HEIGHT, WIDTH = 6, 4, 48, 24
HOSTILE = '<script>alert(1)</script> $\\frac{1}{0}$|blue & jeans|"black" shoes'
TOP1 = {
    "baseline": 0.4,
    "standard": 0.42,
    "random": 0.5,
    "paired": 0.58,
    "progressive": 0.66,
    "oracle": 0.8,
    "concat": 0.6,
    "vlm": 0.55,
    "instructblip": 0.57,
    "colour": 0.45,
    "guided": 0.68,
    "k-2": 0.5,
    "k-5": 0.54,
    "k-20": 0.6,
    "crowd-baseline": 0.35,
    "crowd-progressive": 0.55,
    "baseline-on-night": 0.3,
    "progressive-on-night": 0.45,
    "baseline-on-crowd": 0.32,
    "progressive-on-crowd": 0.5,
}


def make_pipeline(root: Path, params: Params, missing: tuple[str, ...] = ()) -> None:
    """Writes everything that the report reads under `root`, except the evaluations named in `missing`."""
    report = params.report
    shown = {report.dataset, *report.datasets, *(item.dataset for item in params.evaluations.values())}
    manifests = {dataset: make_data(root, dataset) for dataset in sorted(shown)}
    make_texts(root, params, manifests[report.dataset])
    sets = {report.samples, "oracle", *report.ways.values(), *report.datasets.values()}
    for name in sorted(sets & {*params.generated}):
        make_set(root, name, manifests[params.generated[name].dataset])
    for name, item in params.generated.items():
        if item.split == "query" and item.dataset in manifests:
            make_set(root, name, manifests[item.dataset], item.k, "query")
    for name, evaluation in params.evaluations.items():
        ablations = params.recipes[params.runs[evaluation.run].recipe].ablations
        for part in () if name in missing else ablations or [""]:
            folder, manifest = root / "evaluations" / name / part, manifests[evaluation.dataset]
            queries, gallery = (manifest[manifest["split"] == split] for split in ("query", "gallery"))
            ids = queries["image_id"].tolist()
            make_evaluation(folder, ids, gallery, manifest, TOP1.get(name, 0.5), params.seeds)
            models = root / "runs" / evaluation.run / part
            make_history(models, params.seeds)
            mean_history(sorted(models.glob("seed-*"))).to_csv(folder / "history.csv", index=False)
            if evaluation.queries != "none":
                variants = params.generated[evaluation.queries].k
                make_votes(folder, ids, gallery, variants, params.refine.m)
            if evaluation.features and evaluation.faces == "none":
                make_features(folder, pd.concat([queries, gallery]))
    (root / "reports").mkdir()
    (root / "reports" / "sets.json").write_text(json.dumps(survey(root, params)))


def make_data(root: Path, dataset: str) -> pd.DataFrame:
    """Images, masks, label maps and outfit truth; a person is a column of six stripes, one per label."""
    rows, images, labels = [], {}, {}
    for split in ("train", "query", "gallery"):
        for subject in range(SUBJECTS):
            for frame in range(IMAGES):
                image_id = f"{split}/{subject:02d}/{frame:02d}.png"
                rng = np.random.default_rng(zlib.crc32(image_id.encode()))
                rows.append(
                    {
                        "image_id": image_id,
                        "subject": f"{'train' if split == 'train' else 'test'}-{subject}",
                        "clothes": f"{split}-{subject}-{frame % 2}",
                        "camera": {"train": "A", "query": "C", "gallery": "A"}[split],
                        "split": split,
                        "tracklet": "",
                        "frame": frame,
                        "width": WIDTH,
                        "height": HEIGHT,
                    }
                )
                label = np.repeat(np.arange(HEIGHT) // 7, WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
                image = np.repeat(rng.integers(0, 256, (7, 1, 3), dtype=np.uint8), 7, axis=0)[:HEIGHT]
                images[image_id] = np.broadcast_to(image, (HEIGHT, WIDTH, 3)).copy()
                labels[image_id] = label
    manifest = pd.DataFrame(rows).astype({"frame": "int32", "width": "int32", "height": "int32"})
    folder = root / "data" / dataset
    ids = sorted(images)
    save_manifest(manifest, folder / "manifest.parquet")
    for path, arrays in (
        (folder / "images" / "images-00000.arrow", images),
        (folder / "truth" / "labels.arrow", labels),
    ):
        write_shard(
            path,
            {"image_id": ids, "image": [encode_png(arrays[image_id]) for image_id in ids]},
            IMAGE_SCHEMA,
            {"dataset": dataset},
        )
    masked = [image_id for image_id in ids if not image_id.startswith("gallery")]
    masks = [labels[image_id] >= 4 for image_id in masked]
    write_shard(
        root / "masks" / dataset / "masks-00000.arrow",
        {
            "image_id": masked,
            "mask": [encode_png(mask) for mask in masks],
            "area": [float(mask.mean()) for mask in masks],
            "status": ["ok"] * len(masked),
        },
        MASK_SCHEMA,
        {"dataset": dataset},
    )
    truth = manifest.drop_duplicates("clothes")[["clothes"]].assign(prompt="Gray shirt| Blue jeans| Black shoes")
    truth.to_parquet(folder / "truth" / "outfits.parquet")
    return manifest


def make_texts(root: Path, params: Params, manifest: pd.DataFrame) -> None:
    """Descriptions that are right but for every second image's shoes; outfits that are all right."""
    train = manifest[manifest["split"] == "train"]
    answers = ["gray shirt| blue jeans| black shoes", "gray shirt| blue jeans| black boots"]
    table = train[["image_id", "clothes"]].assign(response=[answers[number % 2] for number in range(len(train))])
    path = (
        root
        / "descriptions"
        / f"{params.outfits[params.generated[params.report.samples].outfits].descriptions}.parquet"
    )
    path.parent.mkdir(parents=True)
    table.to_parquet(path)
    path = root / "outfits" / f"{params.generated[params.report.samples].outfits}.parquet"
    path.parent.mkdir(parents=True)
    outfits = train.drop_duplicates("clothes")[["clothes"]]
    outfits.assign(prompt="Gray shirt| Blue jeans| Black shoes", origin="vote", answer="").to_parquet(path)


def make_set(root: Path, name: str, manifest: pd.DataFrame, variants: int = 4, split: str = "train") -> None:
    """Variants with new colours inside the mask; the last variant is skipped; the first prompt is hostile."""
    images = manifest[manifest["split"] == split].sort_values("image_id")
    for variant in range(variants):
        columns: dict[str, list] = {field: [] for field in GENERATED_SCHEMA.names}
        for number, row in enumerate(images.to_dict("records")):
            image = np.full((HEIGHT, WIDTH, 3), 30 * variant, np.uint8)
            seen = np.random.default_rng(zlib.crc32(row["image_id"].encode())).integers(
                0, 256, (7, 1, 3), dtype=np.uint8
            )
            image[:28] = np.repeat(seen, 7, axis=0)[:28]
            data = None if variant == variants - 1 else encode_png(image)
            values = {
                "image_id": row["image_id"],
                "subject": row["subject"],
                "source_clothes": row["clothes"],
                "target_clothes": "other",
                "variant": variant,
                "seed": number,
                "image": data,
                "prompt": HOSTILE if number == variant == 0 else "Red striped shirt| Green trousers| White boots",
                "checksum": checksum(data) if data else "",
                "skipped": "" if data else "empty mask",
                **dict.fromkeys(MEASURES, 0.5 if data else None),
            }
            for field, value in values.items():
                columns[field].append(value)
        write_shard(
            root / "generated" / name / f"variant-{variant:03d}-block-0000.arrow",
            columns,
            GENERATED_SCHEMA,
            {"set": name},
        )


def make_history(run: Path, seeds: list[int]) -> None:
    """Two losses over five epochs; the second begins late."""
    for seed in seeds:
        folder = run / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        epochs = np.arange(5)
        pd.DataFrame(
            {
                "epoch": epochs,
                "learning_rate": 0.001,
                "identity": 4 / (1 + epochs) + seed / 10,
                "clothes": np.where(epochs > 2, 1.0, np.nan),
                "variants": 2,
                "replaced": 0,
            }
        ).to_csv(folder / "history.csv", index=False)


def make_evaluation(
    folder: Path, ids: list[str], gallery: pd.DataFrame, manifest: pd.DataFrame, top1: float, seeds: list[int]
) -> None:
    """Every query is hit with probability `top1` (0.03 more when refined); rankings agree with the first
    seed's hits."""
    folder.mkdir(parents=True)
    subjects = manifest.set_index("image_id")["subject"].to_dict()
    owners = gallery["subject"]
    images = {
        subject: {
            correct: gallery.loc[(owners == subject) == correct, "image_id"].tolist() for correct in (True, False)
        }
        for subject in {subjects[image_id] for image_id in ids}
    }
    queries, rankings, metrics = [], [], {}
    for seed in seeds:
        # The same luck for every evaluation: differences are paired. A shift: both directions occur.
        luck = np.random.default_rng(seed).uniform(size=len(ids))
        shift = np.random.default_rng([seed, int(top1 * 100)]).uniform(-0.2, 0.2, size=len(ids))
        for setting, kind, bonus in KINDS:
            hits = (luck + shift < top1 + bonus).astype(int)
            aps = np.clip(hits * 0.7 + luck * 0.2, 0, 1)
            key = setting + ("" if kind == "plain" else f"_{kind}")
            metrics.setdefault(seed, {})[key] = {"top1": 100 * hits.mean(), "map": 100 * aps.mean()}
            for image_id, hit, ap in zip(ids, hits, aps, strict=True):
                queries.append(
                    {
                        "seed": seed,
                        "setting": setting,
                        "kind": kind,
                        "image_id": image_id,
                        "subject": subjects[image_id],
                        "rank": 1 if hit else 2,
                        "ap": ap,
                    }
                )
                if seed == seeds[0] and setting == "cc" and kind != "reranked":
                    for rank in range(1, 11):
                        correct = bool(hit) if rank == 1 else rank % 3 == 0
                        those = images[subjects[image_id]][correct]
                        rankings.append(
                            {
                                "query": image_id,
                                "rank": rank,
                                "gallery": those[(rank if correct else rank * 5) // 3 % len(those)],
                                "similarity": 1 - rank / 20,
                                "correct": correct,
                                "refined": kind == "refined",
                            }
                        )
        metrics[seed]["cc_single_shot"] = {"top1": 30.0, "map": 25.0}
    settings = metrics[seeds[0]]
    stacked = {
        setting: {measure: [metrics[seed][setting][measure] for seed in seeds] for measure in ("top1", "map")}
        for setting in settings
    }
    content = {
        "seeds": {str(seed): values for seed, values in metrics.items()},
        "mean": {
            key: {measure: float(np.mean(values)) for measure, values in item.items()} for key, item in stacked.items()
        },
        "std": {
            key: {measure: float(np.std(values)) for measure, values in item.items()} for key, item in stacked.items()
        },
    }
    (folder / "scores.json").write_text(json.dumps(content))
    pd.DataFrame(queries).to_parquet(folder / "per_query.parquet")
    pd.DataFrame(rankings).to_parquet(folder / "rankings.parquet")


def make_votes(folder: Path, ids: list[str], gallery: pd.DataFrame, variants: int, m: int) -> None:
    """Of every query and its variants (the query itself is -1) the m gallery images that vote; the query's own are of
    two subjects."""
    rows = []
    images, subjects = gallery["image_id"].tolist(), gallery["subject"].tolist()
    for number, query in enumerate(ids):
        for variant in range(-1, variants):
            for rank in range(m):
                place = (number + rank) % 2 * IMAGES + rank % IMAGES if variant < 0 else (number + variant + 5 * rank)
                place %= len(images)
                row = {"query": query, "variant": variant, "rank": rank + 1, "gallery": images[place]}
                rows.append(row | {"subject": subjects[place], "similarity": 0.9 - rank / 20})
    table = pd.DataFrame(rows).astype({"variant": "int16", "rank": "int16"})
    table.to_parquet(folder / "votes.parquet")


def make_features(folder: Path, images: pd.DataFrame) -> None:
    """Normalised features [8] of five subjects' queries and gallery images, around one point per subject."""
    kept = images[images["subject"].isin(sorted(images["subject"].unique())[:5])].reset_index(drop=True)
    centres = {
        subject: np.random.default_rng(number).normal(size=8) for number, subject in enumerate(kept["subject"].unique())
    }
    noise = np.random.default_rng(0).normal(scale=0.2, size=(len(kept), 8))
    features = (np.stack([centres[subject] for subject in kept["subject"]]) + noise).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    table = kept[["image_id", "split", "subject", "clothes"]].assign(feature=list(features))
    table.to_parquet(folder / "features.parquet")
