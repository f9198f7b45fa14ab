"""What makes a number of a dataset's test wrong, whatever the features are: `dlcr evaluate` says it beside the scores.

for leak in find_leaks(manifest, "minicc", contents):
    print(leak.says)
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dlcr.evaluation.protocols import TEST_SPLITS
from dlcr.runtime.progress import progress


@dataclass(frozen=True)
class Leak:
    """`kind`, one word for programs; `says`, a sentence that counts the cases, names one and says what it does."""

    kind: str
    says: str


def find_leaks(manifest: pd.DataFrame, encoded: Callable[[str], bytes] | None = None) -> list[Leak]:
    """All leaks of a dataset's test, [] if there are none.

    manifest: of the whole dataset, as `dlcr.data.load_manifest` gives it. encoded: an image's file by its image ID;
    None: files are not compared.
    """
    test = manifest[manifest["split"].isin(TEST_SPLITS)]
    query, gallery = test[test["split"] != "gallery"], test[test["split"] == "gallery"]
    train = manifest[manifest["split"] == "train"]
    found = [_subjects(train, test), _tracklets(query, gallery), _clothes(test), _cameras(test)]
    if encoded is not None:
        found += _files(train, query, gallery, encoded)
    return [leak for leak in found if leak]


def same_features(features: np.ndarray, rows: pd.DataFrame) -> Leak | None:
    """Queries whose features are those of a gallery image to the last bit; features [N, D], of the manifest's rows."""
    split = rows["split"].to_numpy(dtype=object)
    keys = np.array([hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(features)])
    place = {key: row for row, key in enumerate(keys) if split[row] == "gallery"}
    pairs = [(row, place[key]) for row, key in enumerate(keys) if split[row] != "gallery" and key in place]
    if not pairs:
        return None
    one, other = (rows["image_id"].iloc[row] for row in pairs[0])
    return Leak(
        "features",
        f"{len(pairs)} queries have the features of a gallery image to the last bit ({one!r} those of {other!r}): were "
        f"they extracted from the same files?",
    )


def _files(
    train: pd.DataFrame, query: pd.DataFrame, gallery: pd.DataFrame, encoded: Callable[[str], bytes]
) -> list[Leak]:
    places: dict[str, dict[bytes, str]] = {}
    with progress(len(train) + len(query) + len(gallery), "compare files") as bar:
        for name, part in (("train", train), ("query", query), ("gallery", gallery)):
            places[name] = {}
            for image_id in part["image_id"]:
                digest = hashlib.blake2b(encoded(image_id), digest_size=16).digest()
                places[name].setdefault(digest, image_id)
                bar.update(1)
    found = []
    for one, other, effect in (
        ("query", "gallery", "such a query finds itself: scores are too high"),
        ("train", "query", "models have seen these queries: scores are too high"),
        ("train", "gallery", "models have seen these gallery images"),
    ):
        same = sorted(places[one].keys() & places[other].keys())
        if same:
            example = f"{places[one][same[0]]!r} and {places[other][same[0]]!r}"
            found.append(Leak("files", f"{len(same)} files are in {one} and in {other} ({example}); {effect}"))
    return found


def _subjects(train: pd.DataFrame, test: pd.DataFrame) -> Leak | None:
    both = sorted(set(train["subject"]) & set(test["subject"]))
    if not both:
        return None
    return Leak(
        "subjects",
        f"{len(both)} subjects of the test are trained on ({both[0]!r}): it tells who somebody is among known people, "
        f"and scores are too high",
    )


def _tracklets(query: pd.DataFrame, gallery: pd.DataFrame) -> Leak | None:
    both = sorted((set(query["tracklet"]) & set(gallery["tracklet"])) - {""})
    if not both:
        return None
    return Leak(
        "tracklets",
        f"{len(both)} tracklets have frames in query and gallery ({both[0]!r}): such queries find the next frame, and "
        f"scores are too high",
    )


def _clothes(test: pd.DataFrame) -> Leak | None:
    """Labels that say nothing of clothes: one for each subject, or one for each image."""
    known = test[test["clothes"] != ""]
    if known.empty:
        return None
    outfits = known.groupby("subject")["clothes"].nunique()
    images = known.groupby("clothes")["image_id"].nunique()
    if len(outfits) > 1 and (outfits == 1).all():
        return Leak(
            "clothes",
            f"each of the {len(outfits)} subjects of the test has one clothes label ({outfits.index[0]!r}), as if the "
            f"label named the subject: no clothes-changing query has a correct answer left",
        )
    if len(images) > len(outfits) and (images == 1).all():
        return Leak(
            "clothes",
            f"each of the {len(images)} images of the test has a clothes label of its own ({images.index[0]!r}), as if "
            f"the label named the image: images in the same clothes count as clothes-changing, and scores are too high",
        )
    return None


def _cameras(test: pd.DataFrame) -> Leak | None:
    cameras = set(test["camera"])
    if len(cameras) > 1 or test.empty:
        return None
    camera = next(iter(cameras))
    if camera == "":
        return Leak(
            "cameras",
            "the cameras of the test are not known: images that one camera took one after the other count as correct "
            "answers, and scores are too high",
        )
    return Leak(
        "cameras",
        f"all images of the test are of one camera ({camera!r}): what a query's own camera took is removed, so no "
        f"query has a correct answer left",
    )
