"""Shared by all tests: one thread, offline hub, and the repository's root."""

import os
from pathlib import Path

# Before any numerical library starts: tests share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DLCR_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DVC_NO_ANALYTICS"] = "1"

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def _no_dvc_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never write into the checkout's own .dlcr: stages take its place from DVC_ROOT or the working directory."""
    for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DLCR_ENGINE"):
        monkeypatch.delenv(name, raising=False)
