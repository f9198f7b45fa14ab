"""Kinds of generated sets: a module of this folder is one, named as it is in params.yaml ("colour": colour.py)."""

from dlcr.inpainting.kind import Kind
from dlcr.runtime.registry import find_entry


def find_kind(name: str) -> Kind:
    """The kind `name`. Raises ValueError that lists the kinds there are."""
    return find_entry(__name__, name, "kind of generated set").KIND
