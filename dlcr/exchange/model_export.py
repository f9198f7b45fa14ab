"""A trained model as a folder for others: weights that `dlcr.reid.load_model` reads, an ONNX file that any ONNX Runtime
reads, what the input must be, and a card.

| File | Holds |
| --- | --- |
| model.safetensors, config.json | the run's own, to the byte; model.py beside them where the model is your own code |
| model.onnx | the model with everything around it but resizing (`dlcr.exchange.onnx_files`) |
| preprocessing.json | size, resizing and normalisation of its pictures, and the names and shapes of the ONNX file |
| README.md | the card: what it is, how to use it, scores, where it comes from |
| provenance.json | hashes of data and code behind the scores, as reports/provenance.json has them |
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from dlcr.exchange.folders import new_folder
from dlcr.exchange.model_card import card_text, is_private, known_of
from dlcr.exchange.onnx_files import described, write_onnx
from dlcr.exchange.trained import find_run, names_code, run_of
from dlcr.reid import ReidModel, load_model
from dlcr.reid.colours import MEAN, STD
from dlcr.runtime.files import write_json, write_text

FORMS = ("onnx", "safetensors", "hub")
"""onnx: everything above; safetensors: without model.onnx; hub: everything, pushed to a hub."""


def export_model(name: str, form: str, out: Path | None, repository: str | None) -> str:
    """Export the run NAME as a folder, or push it to a repository of a hub. Returns what was done, in words.

    out: the folder; None: exported/NAME/seed-S. Raises ValueError for an unknown form, for a repository or folder where
    the form takes none, and for a private run that should be pushed; FileExistsError if the folder is there; and what
    `find_run`, `load_model`, `write_onnx` and `push` raise.
    """
    if form not in FORMS:
        raise ValueError(f"--to {form}: expected one of {', '.join(FORMS)}")
    if (form == "hub") != (repository is not None):
        raise ValueError("`--to hub` needs --repo owner/name, and nothing else takes it")
    source = find_run(name)
    if form != "hub":
        folder = out or Path("exported", run_of(source), source.name)
        return f"{write_model(source, folder, form == 'onnx')}; it is in {folder}"
    if out is not None:
        raise ValueError("--out: `--to hub` keeps no folder; `--to onnx` writes the same one")
    check_repository(repository)
    if is_private(source):
        raise ValueError(f"{source}: its run is private in params.yaml, or made from what is; it is not pushed")
    with tempfile.TemporaryDirectory() as place:
        said = write_model(source, Path(place, "model"), with_onnx=True)
        return f"{said}; it is at {push(Path(place, 'model'), repository)}"


def write_model(source: Path, folder: Path, with_onnx: bool) -> str:
    """Write the folder, whole or not at all; returns a sentence about it. `source`: the folder of a trained model."""
    own_code = names_code(source)
    with new_folder(folder) as part:
        for file in ("config.json", "model.safetensors", *(["model.py"] if own_code else [])):
            shutil.copyfile(source / file, part / file)
        model = load_model(part, own_code)  # what is exported, not what it was made from
        difference = write_onnx(model, part / "model.onnx") if with_onnx else None
        known, facts = known_of(source), preprocessing(model, with_onnx)
        settings = json.loads((part / "config.json").read_text(encoding="utf-8"))
        write_json(part / "preprocessing.json", facts)
        write_json(part / "provenance.json", known.provenance)
        write_text(part / "README.md", card_text(known, facts, settings, difference, own_code))
    if difference is None:
        return f"{source}: exported"
    return f"{source}: exported; the largest difference of ONNX from PyTorch is {difference:.1e}"


def preprocessing(model: ReidModel, with_onnx: bool) -> dict[str, Any]:
    """What the pictures of a model must be, as plain data for preprocessing.json.

    `mean` and `std` are of colours from 0 to 1, in the order red, green, blue; `mirror` says whether the features of a
    picture and of its mirror are added before they get length 1. An ONNX file does all of this but resizing.
    """
    facts = {
        "colours": "RGB",
        "size": {"height": model.size[0], "width": model.size[1]},
        "resize": "bicubic" if model.bicubic else "bilinear",
        "mean": list(MEAN),
        "std": list(STD),
        "frames": model.frames,
        "mirror": model.frames == 1,
    }
    return facts | ({"onnx": described(model)} if with_onnx else {})


def check_repository(name: str) -> None:
    """ValueError unless `name` can be a repository's, as owner/name."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"--repo {name}: {error}") from error
    if name.count("/") != 1:
        raise ValueError(f"--repo {name}: expected owner/name")


def push(folder: Path, repository: str) -> str:
    """Upload a folder in one commit; a repository that is not there is made, and is private. Returns the commit's
    address. Raises ConnectionError, which names the repository, where the hub refuses or cannot be reached."""
    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Model exported by dlcr")
    except (HTTPError, OSError, ValueError) as error:
        raise ConnectionError(f"{repository}: cannot be pushed: {' '.join(str(error).split())}") from error
    return done.commit_url
