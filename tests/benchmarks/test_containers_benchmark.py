"""benchmarks/containers.py from end to end, with a program that answers as podman does and builds nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks import containers as benchmark

PODMAN = """#!/bin/sh
echo "$1 $2" >> {folder}/asked
case "$*" in
  *GraphDriver*) echo '{{"LowerDir": "{folder}/one:{folder}/two", "UpperDir": "{folder}/one"}}' ;;
  *RootFS*) echo "[sha256:layer]" ;;
  *Size*) echo 2000000000 ;;
  *Id*) echo {id} ;;
  *version*) echo podman version 1.2.3 ;;
esac
"""


def test_everything_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("one", 3), ("two", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(size << 20))
    podman = tmp_path / "podman"
    podman.write_text(PODMAN.format(folder=tmp_path, id=32 * "ab"))
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("BASE_IMAGE", "debian")
    for name in ("CONTAINERS_STORAGE_CONF", "DLCR_ENGINE"):
        monkeypatch.setenv(name, "")  # the benchmark sets both; the test takes them back
    monkeypatch.setattr(benchmark, "ROOT", small_root(tmp_path / "root"))
    benchmark.main(tmp_path / "out.json", rounds=1)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["machine"]["podman"] == "1.2.3"
    assert found["images"]["bytes"] == dict.fromkeys(benchmark.FAMILIES, 2_000_000_000)
    assert 8 << 20 <= found["images"]["together"] < 9 << 20  # layers that images share count once
    assert found["build (s)"]["base"] == 0
    assert min(found["build (s)"][name] for name in ("cold", "cold, once more", "after a change of code")) > 0
    assert found["digests stay after a change of code"]
    assert found["the same layers, built once more"] == dict.fromkeys(benchmark.FAMILIES, True)
    assert [row["family"] for row in found["no-op"]] == list(benchmark.FAMILIES)
    for row in found["no-op"]:
        assert row["more (s)"] == pytest.approx(row["podman (s)"] - row["none (s)"])
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked.count("build --network") == 9
    assert asked.count("run --rm") == 6
    assert "system prune" in asked


def small_root(root: Path) -> Path:
    """What the benchmark copies."""
    ours = benchmark.ROOT
    shutil.copytree(ours / "containers", root / "containers", ignore=shutil.ignore_patterns("images.yaml"))
    shutil.copy(ours / "constraints.txt", root)
    (root / "dlcr").mkdir()
    (root / "dlcr" / "__init__.py").touch()
    return root


def test_what_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="error: sh -c echo no >&2; exit 3: no"):
        benchmark.command(tmp_path, "sh", "-c", "echo no >&2; exit 3")
