"""What the active profile needs of this machine, and what to do where that is missing: `dlcr doctor`.

    found = diagnose(load_params(), Path())
    print(render(found))

Looks and measures; changes nothing and downloads nothing. A problem stops a stage, a warning may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from huggingface_hub import try_to_load_from_cache

from dlcr.data.manifest import load_manifest
from dlcr.data.readers import find_reader
from dlcr.faces.finder import INSIGHTFACE
from dlcr.faces.insight import pack_folder
from dlcr.inpainting.adapter_files import adapter_files
from dlcr.inpainting.families import find_family
from dlcr.inpainting.kinds import find_kind
from dlcr.params import ADAPTER, Dataset, Params, moving_revision, weight_names
from dlcr.runtime.weights import HUB_FILE, NETWORK, PIPELINE, Kind, NotDownloaded, download_command, find_model

FAMILIES = ("vision", "reid", "report")
ENGINES = ("none", "docker", "podman", "apptainer")
ANSWER_SECONDS = 20  # that a remote or an engine is waited for
PNG_BYTES = 2.0  # a pixel of a variant, measured on MiniCC (docs/scale.md)
MEMORY_GB = {"mini": 2, "hub": 20}
"""Main memory: MiniCC's stages peak at 1.1 GB (measured); 7 B parameters in half precision pass through 14 GB."""
OTHER_MODEL = "name another model in params.yaml, or put a whole one there"
NVIDIA = Path("/dev/nvidiactl")  # as containers/run has it
GPU_GB = 16
"""For the describer's weights in half precision (14 GB) and its work (docs/scale.md)."""


@dataclass(frozen=True)
class Finding:
    """`subject`: what was looked at; `advice`: what to do, empty where all is well."""

    subject: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def diagnose(params: Params, root: Path) -> list[Finding]:
    """All findings about this machine, the environment's engine and the profile `params` in the repository `root`."""
    engine = os.environ.get("DLCR_ENGINE") or "none"
    large = any("@" in name for name in weight_names(params).values())
    found = [*check_engine(engine, root), check_gpu(engine, large, root), *check_dtype(params), check_memory(large)]
    found += check_tables(params)
    found += [check_disk(params, root), *check_weights(params, engine), *check_datasets(params, root)]
    return [*found, *check_remotes(root)]


def render(found: list[Finding]) -> str:
    """The findings for a terminal, one line each, with the advice below."""
    width = max(len(finding.subject) for finding in found)
    lines = []
    for finding in found:
        lines.append(f"{finding.state:<8} {finding.subject:<{width}}  {finding.found}")
        if finding.advice:
            lines.append(f"{'':<8} {'':<{width}}  -> {finding.advice}")
    return "\n".join(lines)


def check_engine(engine: str, root: Path) -> Iterator[Finding]:
    """Whether stages can start where DLCR_ENGINE says, and how long a stage that does nothing takes there."""
    if engine not in ENGINES:
        yield Finding("engine", "problem", f"DLCR_ENGINE={engine}", f"set it to {', '.join(ENGINES[:-1])} or apptainer")
        return
    recorded = yaml.safe_load((root / "containers" / "images.yaml").read_text(encoding="utf-8"))
    if engine == "none":
        yield _own_environment()
        if any(recorded.values()):
            yield Finding(
                "images", "warning", "containers/images.yaml records images, and stages would run without them",
                "set DLCR_ENGINE: what runs now is said to come from these images",
            )  # fmt: skip
        return
    version = _run(engine, "--version")
    if version is None:
        yield Finding("engine", "problem", f"no {engine} on PATH", f"install {engine}, or unset DLCR_ENGINE")
        return
    if engine != "apptainer" and _run(engine, "info") is None:
        start = "start its service, and join its group" if engine == "docker" else "`podman info` says why"
        yield Finding("engine", "problem", f"{engine} does not answer", start)
        return
    yield Finding("engine", "ok", version.splitlines()[-1])
    for family in FAMILIES:
        yield _check_image(engine, family, recorded.get(family), root)


def _check_image(engine: str, family: str, image: str | None, root: Path) -> Finding:
    """Runs a command that does nothing in the image of a family, as a stage would."""
    start = time.monotonic()
    done = subprocess.run(
        [root / "containers" / "run", family, "true"],
        cwd=root, env={**os.environ, "DLCR_ENGINE": engine}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return Finding(f"image {family}", "ok", f"{image[:19]} starts in {time.monotonic() - start:.1f} s")
    said = done.stderr.strip().splitlines()
    builder = engine if engine in ("docker", "podman") else "docker"
    return Finding(
        f"image {family}", "problem", said[-1] if said else f"exit code {done.returncode}",
        f"build and record it: DLCR_ENGINE={builder} make images (docs/containers.md)",
    )  # fmt: skip


def _own_environment() -> Finding:
    """Stages are `python -m stages...`: the python on PATH must be one with the packages."""
    found = shutil.which("python")
    names = ("dlcr", "torch", "diffusers", "transformers", "dvclive")
    code = f"import importlib.util as u; print(*[n for n in {names} if u.find_spec(n) is None])"
    missing = _run(found, "-c", code) if found else None
    if missing is None or missing.strip():
        what = f"{found}, without {missing.strip()}" if missing else "not there"
        activate = f". {Path(sys.prefix) / 'bin' / 'activate'}"
        return Finding("engine", "problem", f"none; python on PATH is {what}", f"activate the environment: {activate}")
    return Finding("engine", "ok", f"none: stages run by {found}")


def check_gpu(engine: str, large: bool, root: Path) -> Finding:
    """Whether stages have a GPU, and one large enough for the profile's models."""
    if not NVIDIA.exists():
        if large:
            return Finding("GPU", "warning", "none", "the profile's models take weeks on a CPU: use a machine with one")
        return Finding("GPU", "ok", "none; the profile's small models need none")
    code = "import torch; c = torch.cuda; print(c.is_available() and c.get_device_properties(0).total_memory // 2**30)"
    answer = _run(str(root / "containers" / "run"), "vision", "python", "-c", code, cwd=root, seconds=120)
    memory = (answer or "False").strip().splitlines()[-1]
    if not memory.isdecimal():
        advice = {
            "none": "install torch's CUDA build: pip install --force-reinstall torch -c constraints.txt",
            "docker": "install NVIDIA's Container Toolkit: nvidia-ctk runtime configure --runtime=docker",
            "podman": "tell podman of the GPUs: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
            "apptainer": "`apptainer exec --nv` must find the driver's libraries",
        }
        return Finding("GPU", "problem", f"there is one, but torch under engine {engine} sees none", advice[engine])
    if large and int(memory) < GPU_GB:
        return Finding("GPU", "warning", f"{memory} GiB", f"the describer takes about {GPU_GB} GB: name a smaller one")
    return Finding("GPU", "ok", f"{memory} GiB")


def check_dtype(params: Params) -> Iterator[Finding]:
    """Whether this machine computes in the inpainter's type, where it inpaints; half precision is for GPUs."""
    made = params.generated.values()
    diffused = any(find_kind(item.kind).guidable for item in made)
    if diffused and params.inpaint.dtype == "float16" and not NVIDIA.exists():
        yield Finding("inpaint.dtype", "problem", "float16 needs a GPU", "write bfloat16 or float32 in params.yaml")


def check_tables(params: Params) -> Iterator[Finding]:
    """Whether the report has the tables and rows that the profile fills."""
    from dlcr.reporting.tables import check  # loads pandas

    try:
        check(params)
    except ValueError as error:
        yield Finding("report.tables", "problem", str(error), "correct the key in params.yaml")


def check_memory(large: bool) -> Finding:
    """Free main memory against what the profile's stages take."""
    needed = MEMORY_GB["hub" if large else "mini"]
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines() if Path("/proc/meminfo").exists() else []
    kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    if kilobytes is None:
        return Finding("memory", "ok", "not known on this system")
    free = kilobytes * 1024 / 1e9
    if free < needed:
        return Finding("memory", "warning", f"{free:.0f} GB free", f"stages take about {needed} GB: end other programs")
    return Finding("memory", "ok", f"{free:.0f} GB free; stages take about {needed} GB")


def check_disk(params: Params, root: Path) -> Finding:
    """Free space against the profile's generated sets: in the workspace and, if it makes no links, in DVC's cache."""
    free = shutil.disk_usage(root).free / 1e9
    needed = 2 * generated_bytes(params, root) / 1e9
    found = f"{free:.0f} GB free; the profile's generated sets take up to {needed:.1f} GB, DVC's cache included"
    if free < needed:
        advice = "lower k, remove sets, or let DVC link files: dvc config --local cache.type hardlink,symlink"
        return Finding("disk", "warning", found, advice)
    return Finding("disk", "ok", found)


def generated_bytes(params: Params, root: Path) -> float:
    """Bytes of all generated sets of the profile, from the images there are or, before `prepare`, should be."""
    total = 0.0
    for item in params.generated.values():
        dataset = params.datasets[item.dataset]
        images = _images(dataset, item.split, params, root / "data" / item.dataset)
        total += images * (item.k or params.k) * find_reader(dataset.reader).pixels * PNG_BYTES
    return total


def _images(dataset: Dataset, split: str, params: Params, packed: Path) -> int:
    if (packed / "manifest.parquet").is_file():
        return int((load_manifest(packed)["split"] == split).sum())
    if dataset.reader == "minicc":  # people to train with are on cameras A, B and C, queries on C
        sizes = params.minicc
        people = {"train": 3 * sizes.train_subjects, "query": sizes.test_subjects}
        return people[split] * sizes.images_per_camera
    return find_reader(dataset.reader).published.get(split, 0)


def check_weights(params: Params, engine: str) -> Iterator[Finding]:
    """Whether every model's weights are on this machine; nothing is downloaded. One finding per model, not per key."""
    keys: dict[str, list[str]] = {}
    for key, name in weight_names(params).items():
        keys.setdefault(name, []).append(key)
    for name, those in keys.items():
        if "models.inpainter" in those:
            problem, advice = _missing_inpainter(name, engine)
        elif any(key.endswith(ADAPTER) for key in those):
            problem, advice = _missing_adapter(name, params.models.inpainter, engine)
        else:
            problem, advice = _missing(name, _prior_kind() if "inpaint.prior" in those else NETWORK, engine)
        subject = f"weights of {those[0]}" + (f" and {len(those) - 1} more" if len(those) > 1 else "")
        if not problem and moving_revision(name):
            yield Finding(subject, "warning", f"{name}: what that names can change", "dlcr models pin")
        else:
            yield Finding(subject, "problem" if problem else "ok", problem or name, advice)


def _prior_kind() -> Kind:
    from dlcr.inpainting.families.kandinsky import PRIOR  # with torch: seconds

    return PRIOR


def _missing_inpainter(name: str, engine: str) -> tuple[str, str]:
    """As `_missing`; which files an inpainter has says its index, or, where that is not here yet, Stable Diffusion."""
    try:
        return _missing(name, find_family(name, download=False).kind, engine)
    except FileNotFoundError:
        return _missing(name, PIPELINE, engine)
    except ValueError as error:
        return str(error), OTHER_MODEL


def _missing_adapter(name: str, inpainter: str, engine: str) -> tuple[str, str]:
    """As `_missing`; which files of an IP-Adapter are needed says the inpainter's family."""
    try:
        family = find_family(inpainter, download=False)
        family.check(inpainter, {"adapter": name, "guidance": family.guidance})
        files = adapter_files(name, family.adapter)
    except (FileNotFoundError, ValueError) as error:
        return str(error), OTHER_MODEL
    for file in files:
        if not HUB_FILE.fullmatch(file) and not Path(file).is_file():
            return f"{file}: no such file", OTHER_MODEL
        problem, advice = _missing(file, NETWORK, engine)
        if problem:
            rest = (HUB_FILE.fullmatch(other)["path"] for other in files if other != file)
            return problem, " ".join([advice, *rest])
    return "", ""


def _missing(name: str, kind: Kind, engine: str) -> tuple[str, str]:
    """What is missing of the model `name` and what to do, both empty where nothing is."""
    if name.startswith(INSIGHTFACE):
        folder = pack_folder(name.removeprefix(INSIGHTFACE))
        there = bool(list(folder.glob("*.onnx")))
        return ("", "") if there else (f"{folder}: no *.onnx files", "put insightface's model pack there")
    if Path(name).is_file():
        return "", ""
    # Where containers have no network by themselves, the hub's client gets it.
    prefix = "containers/run --network vision " if engine in ("docker", "podman", "apptainer") else ""
    hub_file = HUB_FILE.fullmatch(name)
    if hub_file:
        repository, revision, path = hub_file["repository"], hub_file["revision"], hub_file["path"]
        there = isinstance(try_to_load_from_cache(repository, path, revision=revision), str)
        download = f"{prefix}hf download {repository} --revision {revision} {path}"
        return ("", "") if there else (f"{name}: not in the cache", download)
    try:
        find_model(name, kind, download=False)
    except NotDownloaded as error:
        return str(error), prefix + download_command(name, kind)
    except (FileNotFoundError, ValueError) as error:
        return str(error), OTHER_MODEL
    return "", ""


def check_datasets(params: Params, root: Path) -> Iterator[Finding]:
    """Whether the datasets' own folders are there, and where containers see them."""
    for name, dataset in params.datasets.items():
        if dataset.reader == "minicc":
            continue
        subject, source = f"dataset {name}", root / dataset.source
        if not source.is_dir() or not any(source.iterdir()):
            found = f"{dataset.source}: {'empty' if source.is_dir() else 'no such folder'}"
            yield Finding(subject, "problem", found, "put or link your copy there (README: Real datasets and models)")
        elif Path(dataset.source).is_absolute():
            found = f"{dataset.source}: outside the repository, where containers do not see it"
            yield Finding(subject, "warning", found, f"link it: ln -s {dataset.source} datasets/{name}")
        else:
            yield Finding(subject, "ok", dataset.source)


def check_remotes(root: Path) -> Iterator[Finding]:
    """Whether DVC's remotes answer."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        names = sorted(repo.config["remote"])
        default = repo.config["core"].get("remote")
        if not names:
            yield Finding("remotes", "ok", "none: what is made stays here (docs/dvc.md: Sharing data)")
        for name in names:
            subject = f"remote {name}" + (" (default)" if name == default else "")
            problem = _within(ANSWER_SECONDS, lambda name=name: _ask_remote(repo, name))
            if problem:
                yield Finding(subject, "problem", problem, "see docs/dvc.md: Sharing data")
            else:
                yield Finding(subject, "ok", repo.config["remote"][name]["url"])


def _ask_remote(repo: object, name: str) -> str:
    odb = repo.cloud.get_remote_odb(name)
    odb.fs.exists(odb.path)
    return ""


def _within(seconds: float, ask: Callable[[], str]) -> str:
    """What `ask` returns, or in a line why it did not."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(ask).result(timeout=seconds)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except Exception as error:  # of whatever library speaks to this kind of remote
        return " ".join(f"{type(error).__name__}: {error}".split())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _run(*words: str, cwd: Path | None = None, seconds: float = ANSWER_SECONDS) -> str | None:
    """What a command prints; None where it is not there, fails or takes too long."""
    try:
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=True, timeout=seconds)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
