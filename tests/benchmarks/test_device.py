"""The script for a day with a GPU runs on a CPU at tiny sizes; a part that fails or takes too long costs no other."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from warm import programs

from dlcr.data import MASK_SCHEMA, encode_png, write_shard
from dlcr.prompts.generation import SeededSampling
from dlcr.runtime.memory import Batch

PARTS = ["smoke", "inpaint", "vision", "training", "memory", "compile"]
SMOKE = ["prepare", "parse", "describe", "summarize", "inpaint", "discriminate", "faces", "train", "refine_eval"]


@pytest.fixture(autouse=True)
def _importable(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository))


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """benchmarks/device.sh with this Python, or another program in its place."""

    def call(*arguments: str, python: str = sys.executable, **environment: str) -> subprocess.CompletedProcess:
        own = {"PYTHON": python, "WHEELS": str(tmp_path / "no wheels"), "TMPDIR": str(tmp_path)}
        command = ["bash", "benchmarks/device.sh", *arguments]
        environment = os.environ | own | environment
        return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)

    return call


@pytest.mark.slow
@pytest.mark.timeout(2700)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: nothing is pretended")
def test_all_parts_run_at_tiny_sizes(run: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("--tiny", str(out), python=str(programs() / "python"))
    assert done.returncode == 0, done.stdout + done.stderr + (out / "log.txt").read_text()[-6000:]
    found = json.loads((out / "device.json").read_text())
    assert list(found["parts"]) == PARTS
    for name, part in found["parts"].items():
        assert (part["state"], part["tiny"], part["machine"]["device"]) == ("ok", True, "cpu")
        assert found["machine"] == part["machine"]
        assert part["cases"] == json.loads((out / f"{name}.json").read_text())["cases"]
        assert all(case["peak main memory (GB)"] > 0 for case in part["cases"].values())
    smoke = found["parts"]["smoke"]["cases"]
    assert {name.split()[0] for name in smoke} == set(SMOKE)
    assert all(case["within"] for case in smoke.values())
    assert smoke["inpaint inpainting"]["mean difference inside the masks (levels)"] > 0  # TF32 was pretended
    assert smoke["refine_eval progressive, the CPU's models and variants"]["within"]
    for case in found["parts"]["memory"]["cases"].values():
        assert case["pretended"]
        assert case["halvings"][0] == "out of GPU memory: batches of 4 become batches of 2"
    # nothing is left over, but what libraries hide there for other processes
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["out"]


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """A Python whose parts are made up: each writes a result, then inpaint fails, and vision is out of time."""
    program = tmp_path / "python"
    program.write_text(
        f"""#!/usr/bin/env bash
[ "$2" = benchmarks.device ] || exec {sys.executable} "$@"
echo "{{\\"cases\\": {{\\"one\\": {{\\"part\\": \\"$3\\"}}}}}}" >"$4/$3.json"
case $3 in
  inpaint) echo "Traceback"; echo "RuntimeError: no"; exit 3 ;;
  vision) echo "still at it"; exit 124 ;; # as `timeout` ends
esac
"""
    )
    program.chmod(0o755)
    return str(program)


def test_a_part_that_fails_or_takes_too_long_costs_no_other(run: Callable, stand_in: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(str(out), "inpaint", "vision", "smoke", python=stand_in)
    assert done.returncode == 1
    found = json.loads((out / "device.json").read_text())["parts"]
    assert {name: part["state"] for name, part in found.items()} == {
        "inpaint": "failed",
        "vision": "timeout",
        "smoke": "ok",
    }
    assert found["inpaint"]["last lines"] == ["Traceback", "RuntimeError: no"]
    assert found["vision"]["last lines"] == ["still at it"]
    assert all(part["cases"] == {"one": {"part": name}} for name, part in found.items())
    assert "RuntimeError: no" in (out / "log.txt").read_text()


def test_a_part_without_time_left_is_skipped(run: Callable, stand_in: str, tmp_path: Path) -> None:
    run(str(tmp_path / "out"), "smoke", python=stand_in, DEVICE_SECONDS="0")
    found = json.loads((tmp_path / "out/device.json").read_text())["parts"]
    assert found == {"smoke": {"state": "skipped", "seconds": 0, "limit": 0, "last lines": []}}


def test_a_part_is_ended_at_its_limit(run: Callable, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(f'#!/usr/bin/env bash\n[ "$2" = benchmarks.device ] || exec {sys.executable} "$@"\nsleep 600\n')
    program.chmod(0o755)
    run(str(tmp_path / "out"), "smoke", python=str(program), DEVICE_SECONDS="1")
    assert json.loads((tmp_path / "out/device.json").read_text())["parts"]["smoke"]["state"] != "ok"


def test_a_second_run_keeps_nothing_of_the_first(run: Callable, stand_in: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(str(out), "smoke", "inpaint", python=stand_in)
    run(str(out), "smoke", python=stand_in)
    assert list(json.loads((out / "device.json").read_text())["parts"]) == ["smoke"]
    assert "inpaint" not in (out / "log.txt").read_text()


def test_limits_leave_all_parts_together_under_eight_minutes(repository: Path) -> None:
    script = (repository / "benchmarks/device.sh").read_text()
    limits = {name: int(value) for name, value in re.findall(r"\[(\w+)\]=(\d+)", script)}
    assert list(limits) == PARTS
    assert sum(limits.values()) <= 460
    assert "${DEVICE_SECONDS:-460}" in script


def test_carried_packages_are_pinned_and_the_lacking_ones_are_named(repository: Path, tmp_path: Path) -> None:
    folder = repository / "benchmarks/device"
    names = [line for line in (folder / "packages.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = re.findall(r"^([^=]+)==", (repository / "constraints.txt").read_text(), flags=re.MULTILINE)
    spelled = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    assert {re.sub(r"[-_.]+", "-", name) for name in names} <= spelled
    for name in ("packages.py", "packages.txt"):
        shutil.copy(folder / name, tmp_path / name)
    (tmp_path / "packages.txt").write_text("# a comment\nnumpy\nno.such-package  # why\nRuamel_YAML\n")
    done = subprocess.run([sys.executable, tmp_path / "packages.py"], check=True, capture_output=True, text=True)
    assert done.stdout == "no.such-package\n"


def test_what_a_gpu_refuses_is_refused() -> None:
    from benchmarks.device.pretend import PretendedGpu

    with PretendedGpu():
        torch.ones(3, dtype=torch.long).cumsum(0)
        with pytest.raises(RuntimeError, match="cumsum does not have a deterministic implementation"):
            torch.ones(3).cumsum(0)
        scores = torch.zeros(2, 5)
        assert SeededSampling([0, 1], 1.0, 0.5)(torch.zeros(2, 1, dtype=torch.long), scores).shape == (2, 5)
        small = torch.nn.functional.interpolate(
            torch.ones(1, 1, 4, 4, requires_grad=True), scale_factor=2, mode="bilinear"
        )
        with pytest.raises(RuntimeError, match="upsample_bilinear2d_backward"):
            small.sum().backward()


def test_convolutions_are_rounded_as_a_gpu_rounds() -> None:
    from benchmarks.device.pretend import PretendedGpu, tf32

    assert tf32(torch.tensor([1 + 2**-12, 1 + 2**-10, -3.0])).tolist() == [1.0, 1 + 2**-10, -3.0]
    values = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    weights = torch.ones(1, 1, 1, 1)
    with PretendedGpu():
        rounded = torch.nn.functional.conv2d(values, weights)
        product = values[0, 0] @ values[0, 0]
    assert torch.equal(rounded, tf32(values))
    assert not torch.equal(rounded, values)
    assert torch.equal(product, values[0, 0] @ values[0, 0])


def write_masks(folder: Path, masks: list[np.ndarray]) -> Path:
    ids = [f"{number}.png" for number in range(len(masks))]
    columns = {"image_id": ids, "mask": [encode_png(mask) for mask in masks], "area": [0.5] * len(ids)}
    write_shard(folder / "masks-00000.arrow", columns | {"status": ["ok"] * len(ids)}, MASK_SCHEMA, {"of": "toy"})
    return folder


def test_masks_may_differ_in_few_pixels(tmp_path: Path) -> None:
    from benchmarks.device import compare

    mask = np.zeros((50, 40), bool)
    mask[10:40, 10:30] = True
    one, many = mask.copy(), mask.copy()
    one[10, 10] = many[10] = many[12] = False
    cpu = write_masks(tmp_path / "cpu", [mask, mask])
    found = compare.masks(cpu, write_masks(tmp_path / "one", [mask, one]))
    assert found["within"]
    assert found["equal pixels"] == 1 - 1 / 4000
    assert found["of the worst mask"] == 1 - 1 / 2000
    assert not compare.masks(cpu, write_masks(tmp_path / "many", [many, many]))["within"]


def test_texts_are_compared_row_by_row(tmp_path: Path) -> None:
    from benchmarks.device import compare

    for name, last in (("cpu", "c"), ("gpu", "c"), ("other", "d")):
        pd.DataFrame({"prompt": ["a", "b", last]}).to_parquet(tmp_path / name)
    cpu, gpu, other = (tmp_path / name for name in ("cpu", "gpu", "other"))
    assert compare.texts(cpu, gpu, "prompt") == {
        "texts": 3,
        "equal texts": 1.0,
        "tolerance": "equal texts at least 0.9",
        "within": True,
    }
    assert not compare.texts(cpu, other, "prompt")["within"]


def write_evaluation(folder: Path, aps: list[float], hits: list[int], feature: list[float]) -> Path:
    folder.mkdir()
    ids = [f"{number}.png" for number in range(len(aps))]
    scores = {"top1": 100 * float(np.mean(np.array(hits) == 1)), "map": 100 * float(np.mean(aps))}
    (folder / "scores.json").write_text(json.dumps({"mean": {"cc": scores}}))
    rows = {"seed": 0, "setting": "cc", "kind": "plain", "image_id": ids, "rank": [2 - hit for hit in hits], "ap": aps}
    pd.DataFrame(rows).to_parquet(folder / "per_query.parquet")
    pd.DataFrame({"image_id": ids[:1], "feature": [feature]}).to_parquet(folder / "features.parquet")
    return folder


def test_scores_by_the_same_weights_may_hardly_differ(tmp_path: Path) -> None:
    from benchmarks.device import compare

    aps, hits = [1.0] * 9 + [0.5], [1] * 9 + [2]
    cpu = write_evaluation(tmp_path / "cpu", aps, hits, [1.0, 0.0])
    close = compare.same_models(cpu, write_evaluation(tmp_path / "close", [*aps[:9], 0.4], hits, [2.0, 0.001]))
    assert close["within"]
    assert close["mAP (points)"] == pytest.approx(1.0)
    assert close["queries with another top-1"] == 0
    turned = write_evaluation(tmp_path / "turned", aps, [2, 2, *hits[2:]], [1.0, 0.0])
    assert compare.same_models(cpu, turned)["queries with another top-1"] == 2
    assert not compare.same_models(cpu, turned)["within"]
    assert not compare.same_models(cpu, write_evaluation(tmp_path / "feature", aps, hits, [1.0, 0.1]))["within"]


def test_weights_are_compared_by_their_size(tmp_path: Path) -> None:
    from benchmarks.device import compare

    for name, size in (("cpu", 1.0), ("near", 1.001), ("far", 1.1)):
        (tmp_path / name).mkdir()
        save_file({"a": torch.full((4,), size), "steps": torch.tensor(7)}, tmp_path / name / "model.safetensors")
    near = compare.weights(tmp_path / "cpu", tmp_path / "near")
    assert near["relative difference of the weights"] == pytest.approx(0.001, rel=1e-3)
    assert near["within"]
    assert not compare.weights(tmp_path / "cpu", tmp_path / "far")["within"]


def test_halving_is_found_and_results_are_compared() -> None:
    from benchmarks.device import memory

    layer = torch.nn.Conv2d(1, 1, 1)

    def work(batch: int) -> list:
        return Batch(batch).run(lambda part: layer(torch.ones(len(part), 1, 2, 2)).tolist(), range(8))

    def same(one: list, other: list) -> dict:
        return {"within": one == other}

    found = memory.halved(work, 8, 2, same)
    assert found["within"]
    assert found["halvings"] == ["out of GPU memory: batches of 8 become batches of 4"]
    assert not memory.halved(lambda batch: list(range(8)), 8, 2, same)["within"]  # nothing was halved


def test_a_case_that_fails_costs_no_other(tmp_path: Path) -> None:
    from benchmarks.device.results import Results

    def fail() -> dict:
        raise ValueError("no")

    def fill() -> dict:
        raise torch.OutOfMemoryError("too large\nmore")

    results = Results(tmp_path / "part.json", tiny=True)
    results.case("fails", fail)
    results.case("too large", fill)
    results.case("differs", lambda: {"within": False})
    results.case("works", lambda: {"images/s": 1.0})
    cases = json.loads((tmp_path / "part.json").read_text())["cases"]
    assert cases["fails"]["error"] == "ValueError: no"
    assert cases["too large"]["out of memory"] == "too large"
    assert cases["works"]["images/s"] == 1.0
    assert [line.split(":")[0] for line in results.failed] == ["fails", "differs"]
