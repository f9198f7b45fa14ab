"""Which files a model is made of: chosen from its repository's list of files, checked, and downloaded where missing.

    folder, variants = find_model("owner/name@revision", PIPELINE)      # downloads, unless HF_HUB_OFFLINE is set
    find_model("owner/name@revision", NETWORK, download=False)          # only looks, as `dlcr doctor` does

Loaders and `dlcr doctor` ask the same function, so that what doctor calls complete is what a stage will load. Models of
a hub are loaded from the hub's cache as from any other folder: no library asks the hub again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import huggingface_hub
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError
from safetensors import SafetensorError, safe_open

from dlcr.runtime.memory import out_of_memory

SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.spm")
"""The small files of a model: configurations, vocabularies, chat templates; no Python, for its code is never run."""
TOKENIZERS = ("*tokenizer", "additional_chat_templates")
"""Folders in which processors with several tokenizers or templates keep them: InstructBLIP's is qformer_tokenizer."""
UNUSED = ("*.bin", "*.ckpt", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.non_ema.*")
"""What repositories hold besides the safetensors that are loaded."""
HUB_FILE = re.compile(r"(?P<repository>\w[\w.-]*/[\w.-]+)@(?P<revision>[^@:]+):(?P<path>.+)")
"""A single file of a repository, as parsers may be."""


@dataclass(frozen=True)
class Kind:
    """What a kind of model is made of.

    `index`: the file that makes a folder a model's. `parts`: the weights below the folder, without their ending.
    `variants`: which of them are taken, the first one that is there; "" are the plain ones. `others`: what must be
    there besides. `classes`: what the index must say of the whole and of its parts. `unused`: what is not loaded.
    `title`: how messages call what has these classes.
    """

    index: str
    parts: tuple[str, ...]
    variants: tuple[str, ...] = ("",)
    others: tuple[str, ...] = ()
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unused: tuple[str, ...] = UNUSED
    title: str = ""

    @property
    def folders(self) -> set[str]:
        """Where its files lie, relative to the model's folder."""
        return {str(PurePosixPath(name).parent) for name in (self.index, *self.parts, *self.others)}

    def sets_up(self, name: str) -> bool:
        """Whether a file is one of the small ones that loading reads; an index of shards is counted as weights."""
        path = PurePosixPath(name)
        placed = str(path.parent) in self.folders or any(fnmatch(str(path.parent), place) for place in TOKENIZERS)
        return placed and ".index." not in name and any(fnmatch(path.name, pattern) for pattern in SETTINGS)


NETWORK = Kind("config.json", ("model",))
"""One network of transformers."""
PIPELINE = Kind(
    "model_index.json",
    ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"),
    variants=("", "fp16"),
    others=("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json",
            "tokenizer/tokenizer_config.json"),
    classes={
        "_class_name": ("StableDiffusionInpaintPipeline",),
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL",),
        "text_encoder": ("CLIPTextModel",),
        "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    },
    unused=(*UNUSED, "safety_checker/*"),
    title="Stable Diffusion 1.x and 2.x for inpainting",
)  # fmt: skip
"""Stable Diffusion for inpainting, as diffusers saves it."""


class NotDownloaded(FileNotFoundError):
    """A model of a hub whose files are not all in the hub's cache: a download mends it."""


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Around calls of a model library: what it raises becomes one error that names the model.

    Raises FileNotFoundError for an OSError, as where a file is missing or the hub can't be reached, ValueError for all
    that such libraries raise about a model's files: a missing package, a damaged file, tensors of other shapes.
    """
    try:
        yield
    except out_of_memory():
        raise
    except GatedRepoError as error:
        raise FileNotFoundError(f"{model}: {gated(model.partition('@')[0])}") from error
    except OSError as error:
        raise FileNotFoundError(f"{model}: cannot be loaded: {error}") from error
    except Exception as error:  # safetensors, transformers and diffusers share no base but this
        raise ValueError(f"{model}: cannot be loaded: {type(error).__name__}: {error}") from error


def find_hub_file(model: str, ending: str) -> Path:
    """A single file: a local path, or `owner/name@revision:path/in/the/repo.<ending>`, which is downloaded once.

    Raises FileNotFoundError for a name that is neither, and if the hub does not have it or cannot be reached.
    """
    if Path(model).is_file():
        return Path(model)
    hub = HUB_FILE.fullmatch(model)
    if not hub:
        raise FileNotFoundError(
            f"{model}: no such file, and not 'owner/name@revision:path/in/the/repo.{ending}' either"
        )
    with loading(model):
        return Path(hf_hub_download(hub["repository"], hub["path"], revision=hub["revision"]))


def gated(repository: str) -> str:
    """What to do about a repository whose files are given only to those who accepted its licence."""
    return f"gated; accept its licence on {constants.ENDPOINT}/{repository}, then log in: hf auth login"


def split_name(model: str) -> tuple[str, str]:
    """Repository and revision of `owner/name@revision`; FileNotFoundError where it is neither that nor a folder."""
    repository, at, revision = model.partition("@")
    if not at or not revision or repository.count("/") != 1 or repository.startswith((".", "/")):
        raise FileNotFoundError(f"{model}: no such folder, and not 'owner/name@revision' of a model repository either")
    return repository, revision


def download_command(model: str, kind: Kind) -> str:
    """What brings a model of a hub into the cache, without the files that are not loaded."""
    repository, revision = split_name(model)
    unused = " ".join(f"--exclude '{pattern}'" for pattern in kind.unused)
    return f"hf download {repository} --revision {revision} {unused}"


def find_model(model: str, kind: Kind, download: bool = True) -> tuple[Path, dict[str, str]]:
    """The folder that holds all files of a model, and the variant of each of its parts.

    model: a folder or `owner/name@revision`. download: bring what is missing into the hub's cache, unless
    HF_HUB_OFFLINE is set. The repository's list of files decides which variant is taken, where it is known, not what
    happens to be in the cache. Raises FileNotFoundError naming what is missing (NotDownloaded where a download mends
    it), ValueError for another kind of model and for damaged files.
    """
    local, download = Path(model).is_dir(), download and not constants.HF_HUB_OFFLINE
    folder = _folder_of(model, kind, download)
    check_classes(model, folder, kind)
    if local:
        names = _names_in(folder)
    else:
        repository, _ = split_name(model)
        names = _names_of(repository, folder, download)
        if download:
            _download(model, repository, folder, names, kind)
    variants = choose_variants(model, names, kind)
    missing = missing_files(model, folder, names, kind)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        if local:
            raise FileNotFoundError(f"{model}: no {missing[0]}{more}; expected a folder written by save_pretrained")
        raise NotDownloaded(f"{model}: not in the cache: {missing[0]}{more}")
    for name in needed_files(model, folder, names, kind):
        if name.endswith(".safetensors"):
            _check_whole(model, folder, name)
    return folder, variants


def read_index(model: str, kind: Kind, download: bool = True) -> dict:
    """What the index of a model says, whatever kind it turns out to be; nothing else is downloaded.

    Raises FileNotFoundError as `find_model` does, ValueError for a damaged index.
    """
    folder = _folder_of(model, kind, download and not constants.HF_HUB_OFFLINE)
    return _read_json(model, folder / kind.index)


def check_classes(model: str, folder: Path, kind: Kind) -> None:
    """Refuses a pipeline whose index names other classes than those that are loaded."""
    if not kind.classes:
        return
    index = _read_json(model, folder / kind.index)
    for key, expected in kind.classes.items():
        found = index.get(key)
        found = found[-1] if isinstance(found, list) and found else found
        if found not in expected:
            raise ValueError(
                f"{model}: {kind.index} says {found!r} for {key}, expected {' or '.join(expected)}: only {kind.title} "
                f"is loaded by these classes"
            )


def choose_variants(model: str, names: Collection[str], kind: Kind) -> dict[str, str]:
    """For each part the first variant whose weights are in `names` as safetensors, in one file or several."""
    variants = {}
    for part in kind.parts:
        there = [variant for variant in kind.variants if _weights(part, variant, names)]
        if not there:
            folder, stem = PurePosixPath(part).parent, PurePosixPath(part).name
            others = sorted(name for name in names if PurePosixPath(name).parent == folder and _is_weights(name))
            expected = " or ".join(_file(part, variant) for variant in kind.variants)
            raise FileNotFoundError(
                f"{model}: no {expected}" + (f", only {', '.join(others[:3])}" if others else "") + "; weights are "
                f"loaded as safetensors only: name a revision or repository that has them, or a folder in which "
                f"save_pretrained wrote {stem}.safetensors"
            )
        variants[part] = there[0]
    return variants


def needed_files(model: str, folder: Path, names: Collection[str], kind: Kind) -> list[str]:
    """The files of `names` that loading reads, relative to `folder`; shards once their index is in the folder."""
    needed = [kind.index, *kind.others, *filter(kind.sets_up, sorted(names))]
    for part, variant in choose_variants(model, names, kind).items():
        for name in _weights(part, variant, names):
            needed.append(name)
            if name.endswith(".json") and (folder / name).is_file():
                content = _read_json(model, folder / name)
                shards = content.get("weight_map")
                if not isinstance(shards, dict) or not shards:
                    raise ValueError(f"{model}: {name} has no weight_map; expected the index of a model's shards")
                needed += [str(PurePosixPath(name).parent / shard) for shard in sorted(set(shards.values()))]
    return list(dict.fromkeys(needed))


def missing_files(model: str, folder: Path, names: Collection[str], kind: Kind) -> list[str]:
    """What `needed_files` names and the folder lacks."""
    return [name for name in needed_files(model, folder, names, kind) if not (folder / name).is_file()]


def _folder_of(model: str, kind: Kind, download: bool) -> Path:
    """A model's own folder, or that of the hub's cache for its revision; of its files only the index is downloaded."""
    folder = Path(model)
    if folder.is_dir():
        if not (folder / kind.index).is_file():
            raise FileNotFoundError(f"{model}: no {kind.index}; expected a folder written by save_pretrained")
        return folder
    repository, revision = split_name(model)
    if download:
        with loading(model):
            return Path(hf_hub_download(repository, kind.index, revision=revision)).parent
    found = try_to_load_from_cache(repository, kind.index, revision=revision)
    if not isinstance(found, str):
        raise NotDownloaded(f"{model}: not in the cache")
    return Path(found).parent


def _names_of(repository: str, folder: Path, download: bool) -> list[str]:
    """The repository's files at the commit of a folder of the cache: what the cache knows of them, else the hub, else
    the folder's own.
    """
    tree = getattr(huggingface_hub, "get_cached_repo_tree", None)  # of version 2
    commit = folder.name
    try:
        if tree is not None:
            return [file.path for file in tree(repository, revision=commit)]
    except huggingface_hub.errors.CachedRepoTreeNotFoundError:
        pass
    try:
        return HfApi().list_repo_files(repository, revision=commit) if download else _names_in(folder)
    except Exception:  # of whatever library speaks HTTP: the hub can't be reached, and the folder may be complete
        return _names_in(folder)


def _names_in(folder: Path) -> list[str]:
    """The files of a folder and of the folders in it: models lie no deeper."""
    paths = [*folder.glob("*"), *folder.glob("*/*")]
    return [path.relative_to(folder).as_posix() for path in paths if path.is_file()]


def _download(model: str, repository: str, folder: Path, names: Collection[str], kind: Kind) -> None:
    for _ in range(2):  # the second time for the files that an index names
        missing = missing_files(model, folder, names, kind)
        if missing:
            with loading(model):
                snapshot_download(repository, revision=folder.name, allow_patterns=missing)


def _file(part: str, variant: str, ending: str = "safetensors") -> str:
    """model.safetensors, model.fp16.safetensors, model.safetensors.index.json or model.safetensors.index.fp16.json."""
    if ending == "safetensors":
        return f"{part}.{variant}.safetensors" if variant else f"{part}.safetensors"
    return f"{part}.safetensors.index.{variant}.json" if variant else f"{part}.safetensors.index.json"


def _weights(part: str, variant: str, names: Collection[str]) -> list[str]:
    """A part's one file, or the index of its shards; both where both are there, as libraries differ in their choice."""
    return [name for name in (_file(part, variant), _file(part, variant, "index")) if name in names]


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors") or any(fnmatch(name, pattern) for pattern in UNUSED)


def _read_json(model: str, path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{model}: {path.name}: not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{model}: {path.name}: expected a JSON object")
    return content


def _check_whole(model: str, folder: Path, name: str) -> None:
    """Reads the header alone, which says how long the file must be."""
    try:
        with safe_open(folder / name, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{model}: {name}: not a safetensors file, or cut short: {error}") from error
