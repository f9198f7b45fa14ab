"""Families of inpainters: a module of this folder is one; which one a model is of says the class its index names."""

from __future__ import annotations

from dlcr.inpainting.family import Family
from dlcr.runtime.registry import entry_names, find_entry
from dlcr.runtime.weights import PIPELINE, NotDownloaded, download_command, read_index


def find_family(model: str, download: bool = True) -> Family:
    """The family of a folder or `owner/name@revision`; of the model only its index is read, and downloaded if need be.

    Raises FileNotFoundError for a model without an index, NotDownloaded where a download mends it, ValueError that
    lists the classes there are for another class of pipeline.
    """
    try:
        index = read_index(model, PIPELINE, download)
    except NotDownloaded as error:
        raise NotDownloaded(f"{error}; download it first: {download_command(model, PIPELINE)}") from None
    by_class = {name: family for family in _families() for name in family.kind.classes["_class_name"]}
    found = index.get("_class_name")
    if not isinstance(found, str) or found not in by_class:
        raise ValueError(
            f"{model}: model_index.json says {found!r} for _class_name, expected one of {', '.join(sorted(by_class))}"
        )
    return by_class[found]


def require_show(model: str, family: Family, adapter: str | None) -> None:
    """Raises ValueError in one line for a model that can't be shown clothes, and for one that lacks its adapter."""
    if family.show is None:
        able = ", ".join(other.kind.title for other in _families() if other.show)
        raise ValueError(f"{model}: {family.kind.title} can't be shown a picture of clothes; these can: {able}")
    if family.adapter and not adapter:
        raise ValueError(
            f"{model}: {family.kind.title} is shown clothes by an IP-Adapter: name one (garment.adapter), a folder or "
            f"owner/name@revision with {family.adapter}"
        )


def _families() -> list[Family]:
    return [find_entry(__name__, name, "family of inpainters").FAMILY for name in entry_names(__name__)]
