"""The benchmark of training runs, and its rows measure what they are named after. Its times are not tested."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from benchmarks import training as benchmark
from dlcr.data import GENERATED_SCHEMA, IMAGE_SCHEMA, encode_png, save_manifest, write_shard
from dlcr.data.shards import MEASURES
from dlcr.reid.batches import plan_epoch
from dlcr.runtime.determinism import set_up

LOSSES = {
    "cal-mini": {"identity", "clothes", "adversarial"},
    "pcb-mini": {"identity", "triplet"},
    "hpm-mini": {"identity", "triplet"},
    "mgn-mini": {"identity", "triplet"},
    "aim-mini": {"identity", "debiased", "clothes", "clothes_branch", "adversarial", "divergence"},
    "ccfa-mini, phase I": {"identity", "triplet", "d_clo", "d_id"},
    "ccfa-mini, phase II": {"d_dis", "adv", "sta", "clo", "id"},
    "ccfa-mini, phase III": {"identity", "triplet"},
    "c2d-mini, clips of 8": {"identity", "clothes", "adversarial"},
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict]]:
    """The rows of a case with one step to warm up."""
    monkeypatch.setattr(benchmark, "WARM_UP", 1)

    def call(*arguments: str) -> list[dict]:
        result = CliRunner().invoke(benchmark.app, ["--case", *arguments])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return call


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A dataset of eight subjects with four images each, which is one batch, and ten variants of them."""
    dataset, generated = tmp_path / "data/toy", tmp_path / "generated/toyset"
    ids = [f"{number // 4}/{number % 4}.png" for number in range(32)]
    subjects, clothes = [name[0] for name in ids], [f"{name[0]}-{int(name[2]) % 2}" for name in ids]
    rows = {"image_id": ids, "subject": subjects, "clothes": clothes, "camera": "A", "split": "train", "tracklet": ""}
    manifest = pd.DataFrame(rows | {"frame": 0, "width": 24, "height": 48})
    save_manifest(manifest, dataset / "manifest.parquet")
    noise = np.random.default_rng(0).integers(0, 256, (len(ids), 48, 24, 3), dtype=np.uint8)
    images = [encode_png(image) for image in noise]
    write_shard(dataset / "images/images-00000.arrow", {"image_id": ids, "image": images}, IMAGE_SCHEMA, {"of": "toy"})
    generated.mkdir(parents=True)
    for variant in range(10):
        columns = {"image_id": ids, "subject": subjects, "source_clothes": clothes, "image": images}
        same = {"target_clothes": "x", "variant": variant, "prompt": "p", "seed": 0, "checksum": "", "skipped": ""}
        columns |= {name: [value] * len(ids) for name, value in (same | dict.fromkeys(MEASURES, 0.5)).items()}
        path = generated / f"variant-{variant:03d}-block-0000.arrow"
        write_shard(path, columns, GENERATED_SCHEMA, {"set": {"kind": "toy", "dataset": "toy"}})
    return dataset, generated


@pytest.mark.slow
def test_steps_of_all_models_are_compared_to_the_first(run: Callable) -> None:
    rows = run("steps", "--scale", "0.1")
    assert [row["name"] for row in rows] == list(LOSSES)
    assert [row["images a step"] for row in rows] == [16] * 8 + [128]
    assert rows[0]["images/s over cal-mini's"] == 1
    for row in rows:  # of one round
        assert row["images/s"] == pytest.approx(row["images a step"] / row["seconds a step"])
        assert row["images/s over cal-mini's"] == pytest.approx(row["images/s"] / rows[0]["images/s"])


@pytest.mark.parametrize("name", LOSSES)
def test_all_losses_of_a_row_are_in_use(name: str) -> None:
    model, settings, epoch = next(row[1:] for row in benchmark.STEPS if row[0] == name)
    set_up()
    running = benchmark.train_steps(benchmark._recipe(model, benchmark.TINY, settings), benchmark.TINY, epoch)
    number, losses = next(running)
    assert number == 0
    assert set(losses) == LOSSES[name]


@pytest.mark.parametrize("frames", [1, 8])
@pytest.mark.parametrize(("identities", "images", "count"), [(8, 4, 11), (4, 2, 5), (8, 4, 1), (2, 2, 60)])
def test_there_are_samples_for_every_step(identities: int, images: int, count: int, frames: int) -> None:
    sizes = benchmark.Sizes((48, 24), identities, images, 0)
    owners = np.repeat(np.arange(benchmark.SUBJECTS), benchmark.CLOTHES).tolist()
    samples = benchmark.made_up_samples(benchmark._recipe("cal-mini", sizes, {}), count, owners, frames)
    rng = np.random.default_rng(0)
    plan = plan_epoch("paired", samples.subjects, samples.present, 0, 1, identities, images, rng)
    assert len(plan.rows) >= count
    assert plan.rows.shape[1] == benchmark._images(sizes)
    assert plan.replaced == 0
    assert [owners[clothes] for clothes in samples.clothes] == samples.subjects.tolist()
    assert set(samples.clothes.tolist()) == set(range(len(owners)))
    assert {len(own) for own in samples.images} == {1 if frames == 1 else 32}
    assert max(own.max() for own in samples.images) < len(samples.image_ids)


def test_time_is_that_of_the_counted_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, timed = [], []

    def made_up_steps(recipe: object, sizes: object) -> object:
        for number in range(100):
            taken.append(number)
            yield number, {}

    def seconds(running: object) -> float:
        timed.append(next(running)[0])
        return float(timed[-1])

    monkeypatch.setattr(benchmark, "train_steps", made_up_steps)
    monkeypatch.setattr(benchmark, "_seconds", seconds)
    found = benchmark.cal(benchmark.Sizes((48, 24), 4, 2, 3), "float32", tiny=True)
    assert taken == [0, 1, 2, 3]
    assert timed == [1, 2, 3]
    assert found["seconds a step"] == 2
    assert found["images/s"] == 8


def test_operations_are_those_of_forward_and_backward() -> None:
    set_up()
    found = benchmark.cal(benchmark.TINY, "bfloat16", tiny=True)
    model = benchmark.build_model("cal-mini", 2, [0, 1])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.body(torch.zeros(16, 3, 48, 24))
    # backward costs twice as much as forward, but for the first layer
    assert 2.8 < found["TFLOP a step"] * 1e12 / counter.get_total_flops() < 3.2
    assert found["TFLOP/s"] == pytest.approx(found["TFLOP a step"] / found["seconds a step"])
    assert 0.1 < found["peak memory (GB)"] < 100


def test_the_code_of_the_gpu_row_runs_on_a_tiny_model(run: Callable) -> None:
    (row,) = run("cal-gpu", "--scale", "0.1")
    assert row["images a step"] == 16
    assert row["images/s"] > 0
    if not torch.cuda.is_available():
        assert row["share of the peak"] is None
        assert row["reason"] == "no peak known of CPU"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_row_is_empty_with_a_reason(run: Callable) -> None:
    (row,) = run("cal-gpu")
    assert row["images/s"] is row["share of the peak"] is row["peak memory (GB)"] is None
    assert row["reason"] == "no CUDA device"
    assert row["asked"] == "peak memory (GB): at most 12"


@pytest.mark.parametrize(
    ("device", "peak"),
    [("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H200", 989), ("NVIDIA L4", None)],
)
def test_peaks_are_known_by_name(device: str, peak: int | None) -> None:
    found = benchmark.share_of_peak(100.0, device)
    assert found["nominal peak (TFLOP/s)"] == peak
    assert found["share of the peak"] == (None if peak is None else 100 / peak)
    assert found.get("reason") == (None if peak else "no peak known of NVIDIA L4")


def test_both_precisions_on_the_cpu(run: Callable) -> None:
    rows = run("cal-cpu", "--scale", "0.1")
    assert [row["name"] for row in rows] == ["CAL, bfloat16", "CAL, float32"]
    assert rows[0]["TFLOP a step"] == rows[1]["TFLOP a step"]


def test_runs_wait_for_the_cache_or_for_the_shards(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []
    train_seed = benchmark.train_seed
    monkeypatch.setattr(benchmark, "train_seed", lambda job, send: jobs.append(job) or train_seed(job, send))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(benchmark.tempfile, "tempdir", str(tmp_path / "temporary"))
    set_up()
    rows = benchmark.waiting(0.1, *folders)
    assert [row["name"] for row in rows] == ["from the cache", "decoding from the shards"]
    assert [job.pixels.stored is None for job in jobs] == [False, True]
    assert all(0 <= row["waiting"] < 1 for row in rows)
    assert {row["asked"] for row in rows} == {"waiting: at most 0.05"}
    assert list((tmp_path / "temporary").iterdir()) == []


def test_concatenation_is_beside_progressive(folders: tuple[Path, Path]) -> None:
    set_up()
    progressive, concatenated, ratio = benchmark.concat(0.1, *folders)
    assert (progressive["images"], progressive["optimizer steps"]) == (64, 1)
    assert (concatenated["images"], concatenated["optimizer steps"]) == (11 * 32, 11)
    assert (ratio["images"], ratio["optimizer steps"]) == (5.5, 11)
    assert ratio["seconds"] == concatenated["seconds"] / progressive["seconds"]
    assert ratio["asked"] == "seconds: at least 10"


def test_without_data_runs_are_skipped_with_a_reason(folders: tuple[Path, Path]) -> None:
    missing = folders[0], folders[1].with_name("lost")
    reason = "no folder generated/lost, which `dvc repro` makes"
    assert [(row["waiting"], row["reason"]) for row in benchmark.waiting(1, *missing)] == [(None, reason)] * 2
    assert [(row["seconds"], row["reason"]) for row in benchmark.concat(1, *missing)] == [(None, reason)]


@pytest.mark.slow
def test_results_are_written_by_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in set(benchmark.CASES) - {"cal-gpu"}:
        monkeypatch.delitem(benchmark.CASES, case)
    result = CliRunner().invoke(benchmark.app, ["--scale", "0.1", "--out", str(tmp_path / "found.json")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found) == {"machine", "scale", "cases"}
    assert found["scale"] == 0.1
    assert found["machine"]["threads"] == 1
    assert set(found["cases"]) == {"cal-gpu"}
    assert set(found["cases"]["cal-gpu"]) == {"rows", "duration of this case (s)"}
    assert [row["name"] for row in found["cases"]["cal-gpu"]["rows"]] == ["CAL, bfloat16"]
