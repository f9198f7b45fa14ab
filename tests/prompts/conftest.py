"""Small describers of every kind, made once for all tests of a process: none changes them."""

from pathlib import Path

import pytest
import torch
from made_families import KINDS


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for number, (kind, make) in enumerate(KINDS.items()):
        torch.manual_seed(number)
        made[kind] = tmp_path_factory.mktemp("describer")
        make(made[kind])
    return made
