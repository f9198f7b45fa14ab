"""Copies of model folders with something wrong in their weights: every loader has to refuse each of them."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

# By kind of damage, what the error has to say; NAME is the tensor in question.
DAMAGE = {
    "one missing": "tensors missing: NAME;",
    "all missing": r"tensors missing: \S+ and \d+ more; unexpected: nothing\.of\.it;",
    "one too many": r"tensors unexpected: layers\.99\.weight;",
    "other shape": "tensors mismatched: NAME;",
    "not a number": "tensors not finite: NAME;",
    "infinite": "tensors not finite: NAME;",
}


def damage(folder: Path, target: Path, kind: str, name: str) -> str:
    """Copy the model `folder` to `target` with the tensor `name` damaged; returns the pattern of the error."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    path = target / "model.safetensors"
    state = load_file(path)
    if kind == "one missing":
        del state[name]
    elif kind == "all missing":
        state = {"nothing.of.it": torch.zeros(1)}
    elif kind == "one too many":
        state["layers.99.weight"] = torch.zeros(1)
    elif kind == "other shape":
        state[name] = torch.zeros(3, 5)
    else:
        state[name].view(-1)[-1] = float("nan" if kind == "not a number" else "inf")
    save_file(state, path, metadata={"format": "pt"})
    return DAMAGE[kind].replace("NAME", name.replace(".", r"\."))
