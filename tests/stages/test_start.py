"""Stages start quickly: what takes seconds to import is imported by the functions that use it."""

import subprocess
import sys

import pytest

SLOW = [
    *("torch", "transformers", "diffusers", "kornia", "accelerate", "dvclive", "scipy", "sklearn", "onnxruntime"),
    *("insightface", "matplotlib"),
]


@pytest.mark.parametrize(
    ("stage", "needed"),
    [
        ("prepare", set()),
        ("parse", set()),
        ("describe", set()),
        ("summarize", set()),
        ("inpaint", set()),
        ("faces", set()),
        ("train", {"torch"}),
        ("refine_eval", set()),
        ("report", {"matplotlib"}),
        ("pretrain", set()),
    ],
)
def test_a_stage_imports_only_the_slow_libraries_that_all_its_work_needs(stage: str, needed: set[str]) -> None:
    code = f"import sys, stages.{stage}; print(*(name for name in {SLOW} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert set(found.stdout.split()) == needed
