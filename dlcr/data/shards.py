"""Arrow shards and encoded images: how every image, mask and variant is stored and passed between stages.

A shard is an Arrow IPC file (memory-mapped, random access by row) of one record batch. Its schema metadata
holds under b"dlcr" the fingerprint: JSON that says what made it. The same rows give the same bytes.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from dlcr.runtime.files import atomic_path, is_part

MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
MEASURES = ("change", "seam", "spread", "smoothness")
"""What is measured of every variant when it is made (`dlcr.inpainting.quality`); null where there is none."""
_METADATA = b"dlcr"


def _field(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable)


IMAGE_SCHEMA = pa.schema([_field("image_id", pa.string()), _field("image", pa.binary())])
MASK_SCHEMA = pa.schema(
    [
        _field("image_id", pa.string()),
        _field("mask", pa.binary()),
        _field("area", pa.float32()),
        _field("status", pa.string()),
    ]
)
GENERATED_SCHEMA = pa.schema(
    [
        _field("image_id", pa.string()),
        _field("subject", pa.string()),
        _field("source_clothes", pa.string()),
        _field("target_clothes", pa.string()),
        _field("variant", pa.int16()),
        _field("prompt", pa.string()),
        _field("seed", pa.int64()),
        _field("image", pa.binary(), nullable=True),
        _field("checksum", pa.string()),
        _field("skipped", pa.string()),
        *(_field(name, pa.float32(), nullable=True) for name in MEASURES),
    ]
)
ALIGNMENT_SCHEMA = pa.schema(
    [_field("image_id", pa.string()), _field("variant", pa.int16()), _field("alignment", pa.float32(), nullable=True)]
)


def write_shard(path: str | Path, columns: Mapping[str, Sequence], schema: pa.Schema, fingerprint: Mapping) -> None:
    """Write one shard atomically: `columns` of equal length with exactly the names of `schema`.

    `fingerprint` is plain JSON data that says what made the rows. Raises ValueError naming file and column
    for missing or further columns, unequal lengths, values of another type and null where the schema has
    none.
    """
    if set(columns) != set(schema.names):
        raise ValueError(f"{path}: columns are {sorted(columns)}, expected {sorted(schema.names)}")
    lengths = {name: len(columns[name]) for name in schema.names}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"{path}: columns differ in length: {lengths}")
    arrays = [_array(path, field, columns[field.name]) for field in schema]
    try:
        text = json.dumps(fingerprint, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the fingerprint is not plain JSON data: {error}") from error
    schema = schema.with_metadata({_METADATA: text.encode()})
    batch = pa.record_batch(arrays, schema=schema)
    with (
        atomic_path(path) as part,
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        writer.write_batch(batch)


def read_table(path: str | Path) -> pa.Table:
    """Return a shard's rows, memory-mapped. Raises ValueError naming a truncated, damaged or foreign file."""
    return _open(path, rows=True)


def fingerprint(path: str | Path) -> dict:
    """Return what made the shard, without reading its rows. Raises ValueError as `read_table`."""
    return json.loads(_open(path, rows=False).metadata[_METADATA])


def shard_paths(folder: str | Path) -> list[Path]:
    """Return the folder's `*.arrow` files by name. Raises FileNotFoundError when there is no such folder."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of Arrow shards")
    return sorted(path for path in folder.glob("*.arrow") if not path.name.startswith("."))


def folder_fingerprint(folder: str | Path) -> str:
    """Return a hash (64 hex digits) of all names and bytes below `folder`; hidden files don't count.

    It reads about 1 GB/s and changes with any content: part of the keys of the store and of the work folders.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or is_part(path.name) or any(part.startswith(".") for part in name.split("/")):
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{len(name)}:{name}:{digest}\n".encode())
    return total.hexdigest()


def checksum(data: bytes) -> str:
    """Return the BLAKE2b-128 hex digest of encoded bytes, as kept in generated shards."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def encode_png(array: np.ndarray) -> bytes:
    """Return PNG bytes of a uint8 [H, W, 3] RGB or [H, W] array, or of a bool [H, W] mask (as 0 and 255).

    The same array gives the same bytes (for one version of Pillow).
    """
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"expected a uint8 array [H, W, 3] or [H, W], got {array.dtype} {list(array.shape)}")
    if array.size == 0:
        raise ValueError(f"cannot encode an image without pixels: {list(array.shape)}")
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(out, "PNG", compress_level=6)
    return out.getvalue()


def decode_rgb(data: bytes, name: str) -> np.ndarray:
    """Return the uint8 [H, W, 3] RGB array of an encoded image (JPEG, PNG, BMP, WebP, TIFF).

    Grey values are repeated, 16-bit ones scaled to 8, CMYK converted, transparency laid over white. The
    orientation tag of cameras is not applied, as in the datasets' own code. Raises ValueError naming the
    image `name` when it is empty, truncated, unreadable, of another format or larger than 64 megapixels.
    """
    image = _decode(data, name)
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_rgb(np.asarray(image), name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def decode_readable(images: Iterable[tuple[str, bytes]]) -> dict[int, np.ndarray]:
    """By place, those of (name, encoded image) that can be decoded, as of decode_rgb; the others are left out."""
    found = {}
    for place, (name, data) in enumerate(images):
        with suppress(ValueError):
            found[place] = decode_rgb(data, name)
    return found


def decode_grey(data: bytes, name: str) -> np.ndarray:
    """Return the uint8 [H, W] array of a single-channel image (mask, label map). Raises as decode_rgb."""
    image = _decode(data, name)
    if image.mode != "L":
        raise ValueError(f"{name}: expected a single-channel 8-bit image, got mode {image.mode}")
    return np.array(image)


def image_size(source: str | Path | bytes, name: str) -> tuple[int, int]:
    """Return (width, height) from the header of an image file or its bytes. Raises as decode_rgb."""
    image = _header(io.BytesIO(source) if isinstance(source, bytes) else source, name)
    image.close()
    return image.size


def _decode(data: bytes, name: str) -> Image.Image:
    image = _header(io.BytesIO(data), name)
    try:
        image.load()
    except Exception as error:  # on damaged data the decoders raise nearly anything, SyntaxError included
        raise ValueError(f"{name}: the image is truncated or damaged: {error}") from error
    return image


def _header(source: io.BytesIO | str | Path, name: str) -> Image.Image:
    if isinstance(source, str | Path) and not Path(source).is_file():
        raise FileNotFoundError(f"{name}: no such image file: {source}")
    try:
        image = Image.open(source, formats=FORMATS)
    except Exception as error:
        reason = "larger than 64 megapixels" if isinstance(error, Image.DecompressionBombError) else error
        raise ValueError(f"{name}: not a readable image ({', '.join(FORMATS)}): {reason}") from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{name}: {image.width}x{image.height} is larger than 64 megapixels")
    return image


def _grey_to_rgb(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"{name}: expected 8 or 16 bits per channel, got {values.dtype} values beyond that")
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _array(path: str | Path, field: pa.Field, values: Sequence) -> pa.Array:
    try:
        array = pa.array(values, type=field.type)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: column {field.name!r} must hold {field.type}: {error}") from error
    if isinstance(array, pa.ChunkedArray):
        raise ValueError(f"{path}: column {field.name!r} has more than 2 GB: write smaller shards")
    if array.null_count and not field.nullable:
        row = array.is_null().index(True).as_py()
        raise ValueError(f"{path}: column {field.name!r} is null in row {row}")
    return array


def _open(path: str | Path, rows: bool) -> pa.Table | pa.Schema:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such shard")
    try:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            found = reader.read_all() if rows else reader.schema
            if rows:
                found.validate(full=True)  # damaged offsets would otherwise crash the process later
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a whole Arrow file (truncated or foreign?): {error}") from error
    if _METADATA not in ((found.schema if rows else found).metadata or {}):
        raise ValueError(f"{path}: an Arrow file without the metadata 'dlcr': not written by this project")
    return found
