"""Shared by all tests: one thread, offline hub, and the repository's root."""

import os
import secrets
import sys
from pathlib import Path

# Before any numerical library starts: tests share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DLCR_THREADS"] = "1"
os.environ["DLCR_WORKERS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DVC_NO_ANALYTICS"] = "1"
# Hundreds of processes run the code of a few clones: with this, each would compile it anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Ray reads these once, when it is imported. With a token of our own nobody else on the network can use a test's
# cluster, and Ray writes none into the user's home.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import pytest
from written import refuse

ROOT = Path(__file__).parents[1]


sys.addaudithook(refuse)

# Files that take minutes, in this order before all others. The first builds images, the second makes the clone that the
# last three copy; the two between are as long, so that no process waits for it.
LONG = (
    *("test_container_engines.py", "test_pipeline.py", "test_rehearsal.py", "test_device.py"),
    *("test_growth.py", "test_remotes.py", "test_dvc_practice.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No process waits for the clone, nor is left with a long file when the others are done."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests never write into the checkout's own .dlcr: stages take its place from DVC_ROOT or the working directory."""
    ours = ("DLCR_ENGINE", "DLCR_EXECUTOR", "RAY_ADDRESS")
    for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", *ours):
        monkeypatch.delenv(name, raising=False)
