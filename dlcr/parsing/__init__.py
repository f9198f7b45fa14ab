"""Images to clothes masks."""

from dlcr.parsing.checkpoint import Checkpoint, code_hash, device, find_checkpoint, model_fingerprint
from dlcr.parsing.parser import Parser, clothes_labels, label_maps, load_parser, parse_clothes

__all__ = [
    "Checkpoint",
    "Parser",
    "clothes_labels",
    "code_hash",
    "device",
    "find_checkpoint",
    "label_maps",
    "load_parser",
    "model_fingerprint",
    "parse_clothes",
]
