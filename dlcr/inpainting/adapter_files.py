"""Where the files of an IP-Adapter lie: as in h94/IP-Adapter, weights beside a folder image_encoder.

Weights with vit-h in their name take the image encoder of the folder models.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.weights import HUB_FILE, split_name

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PREPROCESSOR = "preprocessor_config.json"
"""How pictures are made ready. Few repositories have it; without it CLIP's usual way is taken, as diffusers does."""


def adapter_files(adapter: str, default: str) -> list[str]:
    """The files of an adapter that must be there: its weights, then its image encoder's configuration and weights.

    adapter: a folder or `owner/name@revision`, of which `default` is taken, or one file of such, as a path or as
    `owner/name@revision:path/in/the/repo.safetensors`. Files are named in these two ways too. Raises FileNotFoundError
    for what is none of them.
    """
    hub = HUB_FILE.fullmatch(adapter)
    if hub:
        start, path = f"{hub['repository']}@{hub['revision']}:", hub["path"]
    elif Path(adapter).is_dir():
        start, path = f"{adapter}/", default
    elif adapter.endswith(".safetensors"):
        start, path = f"{Path(adapter).parents[1]}/", "/".join(Path(adapter).parts[-2:])
    else:
        split_name(adapter)
        start, path = f"{adapter}:", default
    folder = PurePosixPath(path).parent
    encoder = (folder.with_name("models") if "vit-h" in path else folder) / "image_encoder"
    return [f"{start}{name}" for name in (path, *(encoder / name for name in (CONFIG, WEIGHTS)))]


def adapter_fingerprint(adapter: str, default: str) -> list[str]:
    """What identifies an adapter in a set's keys: of each file its hash, or its name where it lies on a hub."""
    files = adapter_files(adapter, default)
    optional = Path(files[1]).with_name(PREPROCESSOR)
    return [model_fingerprint(name) for name in (*files, *([str(optional)] if optional.is_file() else []))]
