"""Which files a model is made of, found in folders, in a hub's cache and on a hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hubs import commit_of, file_names, publish, serve
from huggingface_hub import constants
from safetensors.torch import save_file

from dlcr.runtime.networks import Pretrained, find_pretrained
from dlcr.runtime.weights import NETWORK, PIPELINE, UNUSED, NotDownloaded, download_command, find_model

PLAIN, HALF = dict.fromkeys(PIPELINE.parts, ""), dict.fromkeys(PIPELINE.parts, "fp16")
CLASSES = {
    "_class_name": "StableDiffusionInpaintPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}  # fmt: skip
REAL = (  # the layout of Stable Diffusion's own inpainting repository
    "README.md", "model.ckpt", "feature_extractor/preprocessor_config.json", "scheduler/scheduler_config.json",
    "safety_checker/config.json", "safety_checker/model.fp16.safetensors", "safety_checker/pytorch_model.bin",
    "text_encoder/config.json", "text_encoder/model.fp16.safetensors", "text_encoder/pytorch_model.bin",
    "tokenizer/merges.txt", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json", "unet/config.json",
    "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "vae/config.json",
    "vae/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.fp16.safetensors",
)  # fmt: skip


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the repositories of a hub are made, beside its empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "origin"


def make(folder: Path, *names: str, index: dict | None = None) -> Path:
    """A folder with these files; safetensors are whole, without tensors."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        if path.suffix == ".safetensors":
            save_file({}, path)
    if index is not None:
        (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def make_sharded(folder: Path, stem: str, *, count: int, variant: str = "") -> None:
    names = [
        f"{stem}{variant and '.' + variant}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)
    ]
    make(folder, *names)
    index = f"{stem}.safetensors.index{variant and '.' + variant}.json"
    content = {"weight_map": {f"tensor{number}": Path(name).name for number, name in enumerate(names)}}
    (folder / index).write_text(json.dumps(content))


def rename(folder: Path, part: str, old: str, new: str) -> None:
    (folder / f"{part}{old}").rename(folder / f"{part}{new}")


# --- which files


def test_half_precision_where_there_is_no_other(origin: Path) -> None:
    folder = make(origin / "a", *REAL, index=CLASSES)
    assert find_model(str(folder), PIPELINE) == (folder, HALF)
    unet = PIPELINE.parts[0]
    rename(folder, unet, ".fp16.safetensors", ".safetensors")
    assert find_model(str(folder), PIPELINE)[1] == HALF | {unet: ""}
    make(folder, *(f"{part}.safetensors" for part in PIPELINE.parts))
    assert find_model(str(folder), PIPELINE)[1] == PLAIN


@pytest.mark.parametrize("variant", ["", "fp16"])
def test_weights_in_several_files(origin: Path, variant: str) -> None:
    folder = make(origin / "a", *REAL, index=CLASSES)
    unet = PIPELINE.parts[0]
    (folder / f"{unet}.fp16.safetensors").unlink()
    make_sharded(folder, unet, count=3, variant=variant)
    assert find_model(str(folder), PIPELINE)[1] == HALF | {unet: variant}
    (missing,) = folder.glob("unet/*-00002-of-00003.safetensors")
    missing.unlink()
    with pytest.raises(FileNotFoundError, match=f"a: no unet/{missing.name}; expected a folder written by save_pretr"):
        find_model(str(folder), PIPELINE)


def test_only_safetensors_are_read_and_the_remedy_is_named(origin: Path) -> None:
    folder = make(origin / "a", *(name for name in REAL if "unet/" not in name or "fp16" not in name), index=CLASSES)
    with pytest.raises(FileNotFoundError) as found:
        find_model(str(folder), PIPELINE)
    assert str(found.value) == (
        f"{folder}: no unet/diffusion_pytorch_model.safetensors or unet/diffusion_pytorch_model.fp16.safetensors, only "
        "unet/diffusion_pytorch_model.bin; weights are loaded as safetensors only: name a revision or repository that "
        "has them, or a folder in which save_pretrained wrote diffusion_pytorch_model.safetensors"
    )


def test_a_network_is_its_configuration_and_weights(origin: Path) -> None:
    folder = make(origin / "a", "tokenizer.json")
    with pytest.raises(FileNotFoundError, match=r"a: no config\.json; expected a folder written by save_pretrained"):
        find_model(str(folder), NETWORK)
    make(folder, "config.json", "pytorch_model.bin", "model.fp16.safetensors", "adapter_model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"a: no model\.safetensors, only adapter_model\.safetensors, model\."):
        find_model(str(folder), NETWORK)
    make_sharded(folder, "model", count=2)
    assert find_pretrained(str(folder)) == Pretrained(str(folder), {"model": ""})
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"a: no model-00001-of-00002\.safetensors"):
        find_pretrained(str(folder))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("unet/diffusion_pytorch_model.fp16.safetensors", "version https://git-lfs", "not a safetensors file"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "", "not a safetensors file"),
        ("model_index.json", "{", "not a JSON file"),
        ("model_index.json", "[]", "expected a JSON object"),
    ],
)
def test_damaged_files(origin: Path, name: str, content: str, message: str) -> None:
    folder = make(origin / "a", *REAL, index=CLASSES)
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=f"a: {name}: {message}"):
        find_model(str(folder), PIPELINE)


def test_a_damaged_index_of_shards(origin: Path) -> None:
    folder = make(origin / "a", "config.json")
    make_sharded(folder, "model", count=2)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(ValueError, match=r"a: model\.safetensors\.index\.json has no weight_map"):
        find_model(str(folder), NETWORK)


@pytest.mark.parametrize(
    "changed",
    [
        {"_class_name": "StableDiffusionXLInpaintPipeline"},
        {"_class_name": "FluxFillPipeline"},
        {"_class_name": "StableDiffusionPipeline"},
        {"_class_name": ["evil", "Pipeline"]},
        {"vae": ["diffusers", "AutoencoderTiny"]},
        {"unet": ["evil.module", "Anything"]},
        {"text_encoder": None},
    ],
)
def test_other_pipelines_are_refused(origin: Path, changed: dict) -> None:
    ((key, _),) = changed.items()
    folder = make(origin / "a", *REAL, index=CLASSES | changed)
    with pytest.raises(ValueError, match=rf"a: model_index\.json says .* for {key}, expected .*: only Stable Diff"):
        find_model(str(folder), PIPELINE)


# --- the cache of a hub


def test_a_name_needs_a_revision() -> None:
    for name in ("owner/name", "owner/name@", "models/mini/nothing", "nothing@abc", "../a/b@c", "/a/b@c"):
        with pytest.raises(FileNotFoundError, match="owner/name@revision"):
            find_pretrained(name)


@pytest.mark.parametrize("tree", [True, False])
@pytest.mark.parametrize("exclude", [UNUSED, PIPELINE.unused])
def test_what_the_advice_downloads_is_enough(origin: Path, tree: bool, exclude: tuple[str, ...]) -> None:
    """Although version 2 of the hub's client lists the excluded files beside it."""
    make(origin / "owner/name", *REAL, index=CLASSES)
    with pytest.raises(NotDownloaded, match=r"owner/name@main: not in the cache$"):
        find_model("owner/name@main", PIPELINE)
    snapshot = publish(origin, "owner/name", origin.parent / "cache", exclude, tree)
    for revision in ("main", commit_of("owner/name")):
        assert find_model(f"owner/name@{revision}", PIPELINE) == (snapshot, HALF)
    assert find_pretrained("owner/name@main", PIPELINE) == Pretrained(str(snapshot), HALF)
    with pytest.raises(NotDownloaded, match=r"owner/name@v1: not in the cache$"):
        find_model("owner/name@v1", PIPELINE)


def test_the_advice_leaves_out_what_is_not_loaded(origin: Path) -> None:
    command = download_command("owner/name@main", PIPELINE)
    assert command.startswith("hf download owner/name --revision main --exclude '*.bin' --exclude '*.ckpt'")
    assert command.endswith("--exclude 'safety_checker/*'")
    assert "safety_checker" not in download_command("owner/name@main", NETWORK)


def test_an_interrupted_download_is_noticed(origin: Path) -> None:
    """Also where another variant of a missing file came whole: the repository decides, not what happens to be there."""
    make(origin / "owner/name", *REAL, "unet/diffusion_pytorch_model.safetensors", index=CLASSES)
    late = ("unet/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json")
    publish(origin, "owner/name", origin.parent / "cache", (*PIPELINE.unused, *late))
    with pytest.raises(NotDownloaded, match=r"main: not in the cache: tokenizer/vocab\.json and 1 more$"):
        find_model("owner/name@main", PIPELINE)
    with pytest.raises(FileNotFoundError, match="1 more, and HF_HUB_OFFLINE is set; download it first: hf d"):
        find_pretrained("owner/name@main", PIPELINE)
    publish(origin, "owner/name", origin.parent / "cache", PIPELINE.unused)
    assert find_model("owner/name@main", PIPELINE)[1] == HALF | {"unet/diffusion_pytorch_model": ""}


def test_shards_that_were_not_downloaded(origin: Path) -> None:
    make(origin / "owner/name", "config.json", "pytorch_model.bin")
    make_sharded(origin / "owner/name", "model", count=3)
    publish(origin, "owner/name", origin.parent / "cache", (*UNUSED, "model-0000[23]*"))
    with pytest.raises(NotDownloaded, match=r"not in the cache: model-00002-of-00003\.safetensors and 1 more$"):
        find_model("owner/name@main", NETWORK)


def test_a_safety_checker_alone_is_no_model(origin: Path) -> None:
    make(origin / "owner/name", *REAL, index=CLASSES)
    publish(origin, "owner/name", origin.parent / "cache", ("*.bin", "unet/*", "vae/*", "text_encoder/*"))
    with pytest.raises(NotDownloaded, match=r"not in the cache: unet/config\.json and 5 more"):
        find_model("owner/name@main", PIPELINE)


# --- a hub that answers


SCRIPT = """
import json, sys
from dlcr.runtime.networks import find_pretrained
from dlcr.runtime.weights import NETWORK, PIPELINE
for name in sys.argv[1:]:
    try:
        found = find_pretrained(name, NETWORK if "network" in name else PIPELINE)
        print(json.dumps([found.location, dict(found.variants)]))
    except (FileNotFoundError, ValueError) as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def ask(endpoint: str, cache: Path, *names: str) -> list[list]:
    settings = {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], env={**os.environ, **settings}, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_online_no_more_is_downloaded_than_is_loaded(origin: Path) -> None:
    make(origin / "owner/half", *REAL, index=CLASSES)
    plain = [f"{part}.safetensors" for part in PIPELINE.parts]
    make(origin / "owner/both", *REAL, *plain, "unet/evil.py", index=CLASSES)
    make(origin / "owner/xl", *REAL, index=CLASSES | {"_class_name": "StableDiffusionXLInpaintPipeline"})
    make(origin / "owner/network", "config.json", "tokenizer.json", "pytorch_model.bin", "modeling.py", "onnx/a.onnx")
    make(origin / "owner/network", "qformer_tokenizer/vocab.txt", "onnx/config.json")
    make_sharded(origin / "owner/network", "model", count=2)
    make(origin / "owner/pickled-network", "config.json", "pytorch_model.bin")
    make(origin / "owner/gated-network", "config.json", "model.safetensors")
    cache = origin.parent / "online"
    with serve(origin, gated=["owner/gated-network"]) as (endpoint, asked):
        names = ("half", "both", "xl", "network", "pickled-network", "gated-network", "gone")
        half, both, other, network, pickled, gated, gone = ask(
            endpoint, cache, *(f"owner/{name}@main" for name in names)
        )
    assert half[1] == HALF
    assert file_names(Path(half[0])) == sorted(
        name for name in (*REAL, "model_index.json")
        if "safety" not in name and "feature" not in name and not name.endswith((".bin", ".ckpt", ".md"))
    )  # fmt: skip
    assert both[1] == PLAIN
    assert [name for name in file_names(Path(both[0])) if name.endswith(("safetensors", "py"))] == sorted(plain)
    assert other[0] == "ValueError"
    assert "says 'StableDiffusionXLInpaintPipeline' for _class_name" in other[1]
    assert [line for line in asked if "owner/xl" in line and "GET" in line] == [
        "GET owner/xl/resolve/main/model_index.json"
    ]
    assert file_names(Path(network[0])) == [
        "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "qformer_tokenizer/vocab.txt", "tokenizer.json",
    ]  # fmt: skip
    assert "no model.safetensors, only pytorch_model.bin" in pickled[1]
    assert gated[0] == gone[0] == "FileNotFoundError"
    page = f"{endpoint}/owner/gated-network"
    assert gated[1] == f"owner/gated-network@main: gated; accept its licence on {page}, then log in: hf auth login"
    assert gone[1].startswith("owner/gone@main: cannot be loaded: ")
    # The hub is gone: what is in the cache is loaded as before.
    (again,) = ask("http://127.0.0.1:1", cache, f"owner/half@{commit_of('owner/half')}")
    assert again == half
