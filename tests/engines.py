"""Container engines that print what they were asked, and a repository that asks them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

IMAGES = {"vision": "sha256:" + 32 * "ab", "reid": "sha256:" + 32 * "cd", "report": None}
SETTINGS = ("ATEN_", "DLCR_", "HF_", "MKL_", "NPY_", "OMP_", "ONEDNN_", "OPENBLAS_", "RAY_")
"""How variables begin that `containers/run` passes on: this machine's own are left out."""
ENGINE = """#!/bin/sh
case "$1 $2" in
  "image inspect") case "$*" in
    *RootFS*) test -e {folder}/same && echo same || echo "$*" ;; *Size*) echo 12000000 ;; *Id*) cat {folder}/id ;; esac
    test ! -e {folder}/none ;;
  info*) cat {folder}/info ;;
  build*) printf '%s\\n' "$@" >> {folder}/built; eval "cp -r \\"\\${{$#}}\\" {folder}/context" ;;
  *) printf '%s\\n' "$@"; env | sed -n 's/^\\(APPTAINERENV_[A-Z_]*\\)=.*/\\1/p' | sort ;;
esac
"""


@pytest.fixture
def root(repository: Path, tmp_path: Path) -> Path:
    """A repository with the scripts and two recorded images; the GPU's device is looked for in its folder `devices`."""
    root = tmp_path.resolve() / "dlcr"
    shutil.copytree(repository / "containers", root / "containers", ignore=shutil.ignore_patterns("images.yaml"))
    script = root / "containers" / "run"
    text = script.read_text()
    assert "/dev/nvidiactl" in text
    script.write_text(text.replace("/dev/nvidiactl", str(root / "devices")))
    shutil.copy(repository / "constraints.txt", root)
    (root / "containers" / "images.yaml").write_text(yaml.safe_dump(IMAGES, sort_keys=False))
    return root


def run(root: Path, *words: str, script: str = "run", **environment: str | None) -> subprocess.CompletedProcess:
    """Runs a script in `root` with engines that print what they are asked, one word per line."""
    programs = root.parent / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("docker", "podman", "apptainer"):
        (programs / name).write_text(ENGINE.format(folder=programs))
        (programs / name).chmod(0o755)
    for name, text in {"info": "[name=seccomp]", "id": "ef" * 32}.items():
        if not (programs / name).exists():
            (programs / name).write_text(text)
    given = {"HOME": str(root.parent / "home"), "PATH": f"{programs}:{os.environ['PATH']}", **environment}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    kept.pop("XDG_CONFIG_HOME", None)
    return subprocess.run(
        [root / "containers" / script, *words],
        cwd=root, env={name: value for name, value in (kept | given).items() if value is not None},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
