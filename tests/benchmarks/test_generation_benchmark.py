"""The benchmark of generation runs, and what it compares is the same work. Its times are not tested."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import common
from benchmarks.generation import large, models, storage, work
from benchmarks.generation.__main__ import app
from dlcr.data import read_table
from dlcr.prompts import describe, load_describer

LARGE = "inpaint", "inpaint-queries", "segformer-b2", "llava-7b"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, float], dict]:
    """A case with a single round."""
    monkeypatch.setattr(common, "ROUNDS", 1)

    def call(case: str, scale: float) -> dict:
        result = CliRunner().invoke(app, ["--case", case, "--scale", str(scale)])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return call


@pytest.mark.slow
def test_the_plain_loop_paints_the_same_pictures(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "VARIANTS", 2)
    found = run("mini", 0.01)
    # of 255: another solver, number of steps, guidance or noise is many levels away
    assert found["mean difference to the plain loop inside the masks (levels)"] < 2
    assert found["batches of 1, 4, 32, float32: largest difference (levels)"] <= 1
    assert all(value > 0 for key, value in found.items() if "images/s" in key or "times faster" in key)


@pytest.mark.parametrize("case", ["parse", "describe"])
def test_batches_find_the_same(run: Callable, case: str) -> None:
    found = run(case, 0.02)
    assert any("batch 64 (images/s)" in key for key in found)
    assert all(value == 1 for key, value in found.items() if "same result" in key)


@pytest.mark.parametrize("case", LARGE)
def test_the_code_of_large_models_runs_on_tiny_ones(run: Callable, case: str) -> None:
    found = run(case, 0.01)
    assert found["images/s"] > 0
    assert 0 < found["share of the matrix rate"] < 1
    assert found["target, aim (images/s)"] > found["target, at least (images/s)"] > found["paper, A100 (images/s)"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("case", LARGE)
def test_without_a_gpu_large_models_are_skipped_with_a_reason(run: Callable, case: str) -> None:
    found = run(case, 1)
    assert found["images/s"] is None
    assert found["reason"] == "no CUDA device"


def test_the_large_language_model_always_answers_with_all_tokens(tmp_path: Path) -> None:
    models.save_llava(tmp_path, tiny=True)
    describer = load_describer(str(tmp_path))
    head, passes = describer.model.lm_head, []
    head.register_forward_hook(lambda *_: passes.append(1))
    head.weight.data.zero_()
    for token in (0, describer.processor.tokenizer.eos_token_id, 32_000):  # whatever it says, the end included
        head.bias = torch.nn.Parameter(torch.zeros(len(head.weight)))
        head.bias.data[token] = 1
        passes.clear()
        assert len(describe(describer, work.made_up(2), "What?", max_new_tokens=32)) == 2
        assert len(passes) == 32


def test_operations_are_counted_in_inference_mode_too() -> None:
    layer, rows = torch.nn.Linear(5, 7), torch.ones(3, 5)
    queries = torch.ones(1, 2, 4, 8)
    attention = torch.nn.functional.scaled_dot_product_attention
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert large.flops(lambda: layer(rows)) == 2 * 3 * 5 * 7
            assert large.flops(lambda: attention(queries, queries, queries)) == 2 * (2 * 2 * 4 * 4 * 8)


@pytest.mark.slow
def test_storage_compares_the_same_bytes_and_leaves_nothing(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(storage, "BLOCK", 8)
    found = run("storage", 0.001)
    assert found["images"] == 180
    assert found["shards"] == 30
    assert all(found[f"dvc {verb}, times faster"] > 0 for verb in ("add", "status", "checkout"))
    assert list(tmp_path.iterdir()) == []


def test_shards_hold_what_the_loose_files_hold(tmp_path: Path) -> None:
    size, files = storage.write_variants(tmp_path / "loose", tmp_path / "shards", 3)
    loose = [path.read_bytes() for path in sorted(tmp_path.glob("loose/**/*.png"))]
    shards = sorted((tmp_path / "shards").iterdir())
    packed = [data for path in shards for data in read_table(path)["image"].to_pylist()]
    assert packed == loose
    assert (size, files) == (sum(map(len, loose)), len(shards))


def test_a_command_of_dvc_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        storage.Dvc(tmp_path).run(tmp_path, "status")
