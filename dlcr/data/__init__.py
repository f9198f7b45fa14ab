"""Datasets: manifests, readers, image shards, masks and generated sets."""

from dlcr.data.generated import Generated, open_generated
from dlcr.data.images import Images, Masks, open_images, open_masks
from dlcr.data.manifest import check_manifest, load_manifest, save_manifest
from dlcr.data.readers import find_reader, read_dataset
from dlcr.data.shards import (
    ALIGNMENT_SCHEMA,
    GENERATED_SCHEMA,
    IMAGE_SCHEMA,
    MASK_SCHEMA,
    decode_grey,
    decode_readable,
    decode_rgb,
    encode_png,
    fingerprint,
    folder_fingerprint,
    read_table,
    shard_paths,
    write_shard,
)

__all__ = [
    "ALIGNMENT_SCHEMA",
    "GENERATED_SCHEMA",
    "IMAGE_SCHEMA",
    "MASK_SCHEMA",
    "Generated",
    "Images",
    "Masks",
    "check_manifest",
    "decode_grey",
    "decode_readable",
    "decode_rgb",
    "encode_png",
    "find_reader",
    "fingerprint",
    "folder_fingerprint",
    "load_manifest",
    "open_generated",
    "open_images",
    "open_masks",
    "read_dataset",
    "read_table",
    "save_manifest",
    "shard_paths",
    "write_shard",
]
