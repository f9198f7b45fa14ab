"""Features that somebody else's code extracted, from the files in which such code keeps them.

    found = read_features(Path("features.npz"))
    features = arrange(found, tracklets.rows, "features.npz")      # float32 [N, D], a row per compared image
    write_features(Path("ours.parquet"), features, names)

| File | Holds |
| --- | --- |
| .npz, .safetensors | `features` [N, D]; `names` [N], image IDs (.safetensors: a JSON list in the metadata) |
| .npz, .safetensors | `query`, `gallery` and, if the dataset has it, `query_sc`, each [n, D] |
| .parquet | `image_id`, and `features` (lists) or a column of numbers for each dimension |
| .mat | `query_f`, `gallery_f`, `query_label`, `query_cam`, ..., as Person_reID_baseline_pytorch writes them |

Without names, rows are in the order of the dataset's manifest, which is that of the image IDs. Variants of queries are
`features` [N, l, D], or rows of a Parquet file with a column `variant`; one that is missing is NaN, or has no row.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from dlcr.runtime.files import atomic_path

SUFFIXES = (".npz", ".safetensors", ".parquet", ".mat")
WRITTEN = (".parquet", ".npz", ".safetensors")
PARTS = ("query", "gallery", "query_sc")
NAMES = ("names", "image_id")


@dataclass(frozen=True)
class FeatureFile:
    """What a file holds, by part: its splits, or "" for one table of all.

    features    by part float [n, D], of variants [n, l, D]
    names       by part the image IDs of the rows; lacking where the file does not name them
    labels      by part what else it says of the rows: `label` and `cam`, int64 [n]
    """

    features: dict[str, np.ndarray]
    names: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def read_features(path: Path) -> FeatureFile:
    """The features of a file. FileNotFoundError; ValueError, which names the file and what was expected, for another
    kind of file, one that cannot be read, and for features that are no numbers or of unequal lengths."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    arrays, names = {".npz": _open_npz, ".safetensors": _open_safetensors, ".mat": _open_mat}[path.suffix](path)
    if path.suffix == ".mat":
        found = _split_mat(arrays)
    elif "features" in arrays:
        found = FeatureFile({"": arrays["features"]}, {} if names is None else {"": names})
    else:
        found = FeatureFile({part: arrays[part] for part in PARTS if part in arrays})
    if not found.features or ("" not in found.features and not {"query", "gallery"} <= found.features.keys()):
        wanted = "`query_f` and `gallery_f`" if path.suffix == ".mat" else "`features`, or `query` and `gallery`"
        raise ValueError(f"{path}: expected {wanted}, found {', '.join(sorted(arrays)) or 'nothing'}")
    for part, values in found.features.items():
        _check_numbers(f"{path}: {part or 'features'}", values)
    for part, found_names in found.names.items():
        if len(found_names) != len(found.features[part]):
            raise ValueError(f"{path}: {len(found_names)} names for {len(found.features[part])} rows of features")
    return found


def check_target(path: Path) -> None:
    """FileExistsError if something is at `path` already; ValueError if `write_features` writes no such file."""
    if path.suffix not in WRITTEN:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(WRITTEN)}")
    if path.exists():
        raise FileExistsError(f"{path}: is there already; remove it, or name another file")


def write_features(path: Path, features: np.ndarray, names: list[str]) -> None:
    """Write features float [N, D] with the names of their rows, as `read_features` reads them: whole or not at all.

    Raises what `check_target` raises; ValueError for features that are not finite.
    """
    check_target(path)
    _check_numbers(f"{path}: features", features)
    if not np.isfinite(features).all():
        raise ValueError(f"{path}: features must be finite")
    with atomic_path(path) as part:
        if path.suffix == ".npz":
            with part.open("wb") as file:
                np.savez(file, features=features, names=np.array(names))
        elif path.suffix == ".safetensors":
            from safetensors.numpy import save_file

            save_file({"features": np.ascontiguousarray(features)}, part, {"names": json.dumps(names)})
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            lists = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
            pq.write_table(pa.table({"image_id": names, "features": lists}), part)


def arrange(found: FeatureFile, rows: pd.DataFrame, path: Path, known: set[str] | None = None) -> np.ndarray:
    """The features of a manifest's rows, float32 [N, D], in their order.

    known: image IDs that may be in the file without being asked for; None: those of `rows` alone. ValueError for
    features of another number of rows than expected, for names that are unknown, missing or there twice, values that
    are not finite, and labels that do not fit the manifest's subjects and cameras.
    """
    ids = rows["image_id"].tolist()
    if "" not in found.features:
        values = _join_parts(found, rows, path)
    elif "" in found.names:
        places = _places(found.names[""], path, set(ids) | (known or set()))
        missing = [image_id for image_id in ids if image_id not in places]
        if missing:
            raise ValueError(f"{path}: no features of {len(missing)} of {len(ids)} images, {missing[0]!r} for one")
        values = found.features[""][[places[image_id] for image_id in ids]]
    else:
        values = found.features[""]
        if len(values) != len(ids):
            raise ValueError(
                f"{path}: {len(values)} rows without names; expected {len(ids)}, the dataset's queries and gallery in "
                f"the order of its manifest"
            )
    if values.ndim != 2:
        raise ValueError(f"{path}: features must be [images, dimensions], found shape {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(f"{path}: the features of {ids[bad[0]]!r} are not finite, and those of {len(bad) - 1} more")
    return values.astype(np.float32)


def arrange_variants(found: FeatureFile, rows: pd.DataFrame, path: Path, known: set[str]) -> tuple:
    """The variants of queries: their rows in `rows` int64 [Q], ascending, features float32 [Q, l, D], and which exist,
    bool [Q, l].

    ValueError for a file without names, names that are unknown or there twice, and another shape.
    """
    if "" not in found.names:
        raise ValueError(f"{path}: variants need the names of their queries, as `names` or `image_id`")
    values = found.features[""]
    if values.ndim != 3:
        raise ValueError(f"{path}: variants must be [queries, variants, dimensions], found shape {values.shape}")
    places = _places(found.names[""], path, known)
    asked = [(row, places[name]) for row, name in enumerate(rows["image_id"]) if name in places]
    if not asked:
        raise ValueError(f"{path}: none of its names is a query of the dataset")
    values = values[[place for _, place in asked]].astype(np.float32)
    present = np.isfinite(values).all(axis=2)
    half = np.argwhere(~present & ~np.isnan(values).all(axis=2))
    if len(half):
        query, variant = half[0]
        raise ValueError(f"{path}: variant {variant} of {rows['image_id'].iloc[asked[query][0]]!r} is not finite")
    return np.array([row for row, _ in asked]), values, present


def _places(names: list[str], path: Path, known: set[str]) -> dict[str, int]:
    """The row of each name."""
    places: dict[str, int] = {}
    for row, name in enumerate(names):
        if places.setdefault(name, row) != row:
            raise ValueError(f"{path}: {name!r} is there twice, in rows {places[name]} and {row}")
    unknown = [name for name in names if name not in known]
    if unknown:
        example = f"{unknown[0]!r} for one; names are image IDs of the dataset's manifest, as {min(known)!r}"
        raise ValueError(f"{path}: {len(unknown)} of {len(names)} names are no images of the dataset, {example}")
    return places


def _join_parts(found: FeatureFile, rows: pd.DataFrame, path: Path) -> np.ndarray:
    """The parts of a file, put where the manifest has their splits."""
    split = rows["split"].to_numpy(dtype=object)
    widths = {part: values.shape[1:] for part, values in found.features.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"{path}: features differ in their dimensions: {_listed(widths)}")
    values = np.full((len(rows), *next(iter(widths.values()))), np.nan)
    for part in dict.fromkeys(split):
        own = split == part
        if part not in found.features:
            raise ValueError(f"{path}: no features of split {part!r}; it has {', '.join(found.features)}")
        if len(found.features[part]) != own.sum():
            raise ValueError(
                f"{path}: {len(found.features[part])} features of split {part!r}, expected {own.sum()}, in the order "
                f"of the dataset's manifest"
            )
        values[own] = found.features[part]
    _check_labels(found, rows, split, path)
    return values


def _check_labels(found: FeatureFile, rows: pd.DataFrame, split: np.ndarray, path: Path) -> None:
    """Whether the file's labels and cameras mean the manifest's subjects and cameras, each one of them."""
    for kind, column in (("label", "subject"), ("cam", "camera")):
        pairs = [
            pd.DataFrame({"theirs": labels[kind], "ours": rows.loc[split == part, column].to_numpy()})
            for part, labels in found.labels.items()
            if kind in labels and part in split
        ]
        pairs = pd.concat(pairs).drop_duplicates() if pairs else pd.DataFrame({"theirs": [], "ours": []})
        pairs = pairs[pairs["ours"] != ""]
        for one in ("theirs", "ours"):
            several = pairs[pairs[one].duplicated(keep=False)].sort_values(one)
            if len(several):
                first, second = several.iloc[0], several.iloc[1]
                raise ValueError(
                    f"{path}: its {kind}s are not the dataset's {column}s: {kind} {first['theirs']} stands for "
                    f"{first['ours']!r}, {kind} {second['theirs']} for {second['ours']!r}; are its rows in another "
                    f"order?"
                )


def _open_npz(path: Path) -> tuple[dict[str, np.ndarray], list[str] | None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a readable NPZ file of numbers and texts: {_line(error)}") from error
    names = next((arrays.pop(name) for name in NAMES if name in arrays), None)
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise ValueError(f"{path}: names must be texts [N], found {names.dtype} of shape {names.shape}")
    return arrays, None if names is None else names.tolist()


def _open_safetensors(path: Path) -> tuple[dict[str, np.ndarray], list[str] | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
            names = (file.metadata() or {}).get("names")
    except (SafetensorError, OSError, TypeError) as error:
        raise ValueError(f"{path}: not a readable safetensors file: {_line(error)}") from error
    if names is None:
        return arrays, None
    try:
        names = json.loads(names)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: the metadata's `names` must be a JSON list of texts")
    return arrays, names


def _open_mat(path: Path) -> tuple[dict[str, np.ndarray], None]:
    from scipy.io import loadmat

    try:
        arrays = loadmat(path)
    except Exception as error:  # of a damaged file scipy raises whatever it stumbles over: IndexError, for one
        raise ValueError(f"{path}: not a readable MAT file (version 7.3 is none): {_line(error)}") from error
    return {name: values for name, values in arrays.items() if not name.startswith("__")}, None


def _split_mat(arrays: Mapping[str, np.ndarray]) -> FeatureFile:
    features, labels = {}, {}
    for part in PARTS:
        if f"{part}_f" in arrays:
            features[part] = arrays[f"{part}_f"]
            labels[part] = {
                kind: np.ravel(arrays[f"{part}_{kind}"])
                for kind in ("label", "cam")
                if np.size(arrays.get(f"{part}_{kind}", ())) == len(features[part])
            }
    return FeatureFile(features, {}, labels)


def _read_parquet(path: Path) -> FeatureFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        table.validate(full=True)  # damage that nobody saw yet: texts that are no UTF-8, lists that end too late
        table = table.to_pandas()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable Parquet file: {_line(error)}") from error
    names = table.pop("image_id").tolist() if "image_id" in table else None
    if names is not None and not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: the column `image_id` must hold texts")
    variant = table.pop("variant").to_numpy() if "variant" in table else None
    if "features" in table:
        lengths = table["features"].map(np.size)
        if lengths.min() != lengths.max():
            raise ValueError(f"{path}: `features` are of unequal lengths, from {lengths.min()} to {lengths.max()}")
        values = np.stack(table["features"].tolist()) if len(table) else np.zeros((0, 0))
    else:
        values = table.to_numpy()
    _check_numbers(f"{path}: features", values)
    if variant is None:
        return FeatureFile({"": values}, {} if names is None else {"": names})
    if names is None:
        raise ValueError(f"{path}: variants need the names of their queries, as `image_id`")
    if variant.dtype.kind not in "iu" or (variant < 0).any():
        raise ValueError(f"{path}: the column `variant` must hold integers from 0 on")
    queries = list(dict.fromkeys(names))
    row = pd.Series(range(len(queries)), queries)[names].to_numpy()
    if pd.DataFrame({"row": row, "variant": variant}).duplicated().any():
        raise ValueError(f"{path}: a variant of a query is there twice")
    made = np.full((len(queries), variant.max() + 1, values.shape[1]), np.nan)
    made[row, variant] = values
    return FeatureFile({"": made}, {"": queries})


def _check_numbers(what: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "fiu" or values.ndim not in (2, 3) or 0 in values.shape:
        raise ValueError(f"{what} must be numbers [images, dimensions], found {values.dtype} of shape {values.shape}")


def _listed(shapes: Mapping[str, tuple]) -> str:
    return ", ".join(f"{part} {'x'.join(map(str, shape))}" for part, shape in shapes.items())


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
