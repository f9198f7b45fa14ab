"""Kinds of generated sets are files: what each says of itself, and which code stands behind its painter."""

from functools import partial
from pathlib import Path

import pytest

from dlcr.inpainting.kinds import find_kind
from dlcr.params import load_params
from dlcr.params.items import Garment
from dlcr.runtime.code import used_modules
from dlcr.runtime.registry import entry_names

KINDS = entry_names("dlcr.inpainting.kinds")


def test_the_kinds_there_are() -> None:
    assert KINDS == ["colour", "garment", "inpainting", "oracle", "standard"]
    assert [name for name in KINDS if find_kind(name).within_masks] == ["colour", "garment", "inpainting"]
    assert [name for name in KINDS if find_kind(name).guidable] == ["garment", "inpainting", "standard"]
    assert [name for name in KINDS if find_kind(name).shows] == ["garment"]
    with pytest.raises(ValueError, match="no kind of generated set 'sketch', expected one of colour, garment, inpaint"):
        find_kind("sketch")


@pytest.mark.parametrize("name", KINDS)
def test_a_painter_is_built_in_the_module_of_its_kind(
    name: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... where the store looks for the code: what only diffusion uses remakes no set of another kind."""
    monkeypatch.chdir(repository)
    params = load_params(repository / "profiles" / "smoke.yaml")
    own = {"kind": name, "garment": Garment(adapter=f"owner/adapter@{'0' * 40}")}
    entry = params.generated["inpainting"].model_copy(update=own)
    build, _ = find_kind(name).choose(params, entry)
    module = (build.func if isinstance(build, partial) else build).__module__
    assert module == f"dlcr.inpainting.kinds.{name}"
    starts = {module: repository / "dlcr/inpainting/kinds" / f"{name}.py"}
    starts["dlcr.inpainting.generate"] = repository / "dlcr/inpainting/generate.py"  # writes the files
    found, packages = used_modules(starts)
    assert "dlcr.params" not in found
    assert ("dlcr.inpainting.expander" in found) == ("diffusers" in packages) == find_kind(name).guidable
    assert ("dlcr.minicc.render" in found) == (name == "oracle")
