"""The engine: several processes as one, accumulation, clipping, and which losses it refuses."""

import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dlcr.params import Recipe, Run
from dlcr.reid import build_model
from dlcr.reid.engine import Engine, process_count
from dlcr.reid.models.base import Batch, ReidModel
from dlcr.reid.seed import join
from dlcr.reid.train import train_run
from dlcr.runtime import determinism
from dlcr.runtime.jobs import Send, run_jobs

RECIPE = Recipe(
    model="cal-mini",
    size=(32, 16),
    epochs=2,
    learning_rate=1e-3,
    weight_decay=5e-4,
    milestones=[1],
    identities=2,
    images=2,
    progressive_every=5,
    precision="float32",
    settings={"clothes_from_epoch": 1, "triplet_weight": 1.0},
)
RUN = Run(dataset="toy", recipe="cal-mini", code="dlcr/reid/models", generated="toyset", mode="paired")


class Line(ReidModel):
    """Two groups: the body's slope, and an offset."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(1, 1, bias=False)
        self.offset = nn.Parameter(torch.zeros(1))
        nn.init.ones_(self.body.weight)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"main": list(self.body.parameters()), "offset": [self.offset]}

    def features(self, maps: Tensor) -> Tensor:
        return maps + self.offset


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    determinism.set_up(1)


def _engine(clip: float = 0.0) -> Engine:
    return Engine(Line(), 0.1, 0.0, "float32", clip)


def test_the_environment_says_how_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_count() == 1
    monkeypatch.setenv("DLCR_PROCESSES", "4")
    assert process_count() == 4
    for wrong in ("0", "two", "-1"):
        monkeypatch.setenv("DLCR_PROCESSES", wrong)
        with pytest.raises(ValueError, match="DLCR_PROCESSES must be a positive integer"):
            process_count()


def gradients(rank: int, processes: int, port: int, send: Send) -> dict[str, np.ndarray]:
    """Of one paired batch of CAL with all its losses, and the body's running statistics."""
    if processes > 1:
        join(rank, processes, port, threads=1)
    torch.manual_seed(0)
    model = build_model("cal-mini", 4, [0, 0, 1, 1, 2, 2, 3, 3], clothes_from_epoch=0, triplet_weight=1.0)
    engine = Engine(model, 1e-3, 0.0, "float32")
    images = torch.randn(16, 3, 32, 16)
    subjects = torch.arange(4).repeat_interleave(2).repeat(2)
    real = torch.arange(16) < 8
    batch = Batch(subjects, 2 * subjects + torch.arange(16) % 2, real, torch.arange(16) % 2)
    model.start_epoch(0)
    step = lambda loss, *groups: engine.accelerator.backward(loss)  # noqa: E731
    losses = model.train_step(engine.maps(images[engine.share(16)]), batch, 0, step)
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    found |= {name: value for name, value in model.named_buffers() if "running" in name}
    return {name: value.numpy() for name, value in found.items()} | {name: np.array(v) for name, v in losses.items()}


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one() -> None:
    expected = gradients(0, 1, 0, print)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    for made in run_jobs(gradients, [(0, 2, port), (1, 2, port)], 2, print):
        assert made.keys() == expected.keys()
        for name, value in expected.items():
            tolerance = 1e-5 * float(abs(value).max() + 1)
            np.testing.assert_allclose(made[name], value, rtol=1e-3, atol=tolerance, err_msg=name)


@pytest.mark.slow
def test_a_run_of_two_processes_leaves_what_one_does(make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, generated = make_toy((4, 4, 4))
    train_run("r", RUN, {"": RECIPE}, dataset, generated, [0], tmp_path / "one")
    monkeypatch.setenv("DLCR_PROCESSES", "2")
    train_run("r", RUN, {"": RECIPE}, dataset, generated, [0], tmp_path / "two")
    one, two = (pd.read_csv(tmp_path / name / "seed-0/history.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=0.05)  # Adam makes much of rounding where gradients are small
    weights = [load_file(tmp_path / name / "seed-0/model.safetensors") for name in ("one", "two")]
    assert {name: value.shape for name, value in weights[0].items()} == {n: v.shape for n, v in weights[1].items()}


def test_a_batch_that_cannot_be_split_is_refused(make_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, generated = make_toy()
    monkeypatch.setenv("DLCR_PROCESSES", "3")
    with pytest.raises(ValueError, match=r"a batch of 8 cannot be split over 3 processes"):
        train_run("r", RUN, {"": RECIPE}, dataset, generated, [0], tmp_path / "runs/r")


def test_accumulated_batches_step_once_with_their_mean() -> None:
    whole, parts = _engine(), _engine()
    x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    whole.stepper(1, True, str)((whole.maps(x) ** 2).mean(), "main")
    for i, part in enumerate(x.split(2)):
        maps = parts.maps(part, last=i == 1)
        parts.stepper(2, i == 1, str)((maps**2).mean(), "main")
        assert (parts.model.body.weight.item() == 1) == (i == 0)
    torch.testing.assert_close(parts.model.body.weight, whole.model.body.weight)
    assert parts.model.body.weight.grad is None


def test_gradients_are_cut_to_the_norm() -> None:
    seen = []
    for clip in (0.0, 0.5):
        engine = _engine(clip)
        optimizer = engine.optimizers["main"]
        step = optimizer.step
        optimizer.step = lambda engine=engine, step=step: (seen.append(engine.model.body.weight.grad.item()), step())
        engine.stepper(1, True, str)(3 * engine.maps(torch.ones(1, 1)).sum(), "main")
    assert seen == pytest.approx([3.0, 0.5], rel=1e-4)


def test_groups_step_together_or_alone() -> None:
    engine = _engine()
    step = engine.stepper(1, True, str)
    step(engine.model.offset.sum(), "offset")
    assert engine.model.body.weight.item() == 1
    assert engine.model.offset.item() == pytest.approx(-0.1)
    step(engine.model.features(engine.maps(torch.ones(1, 1))).sum(), "main", "offset")
    assert engine.model.body.weight.item() == pytest.approx(0.9)
    assert engine.model.offset.item() == pytest.approx(-0.2)


def test_a_body_in_eval_mode_gets_no_gradients() -> None:
    engine = _engine()
    engine.model.body.eval()
    assert not engine.maps(torch.ones(1, 1)).requires_grad


def test_a_loss_that_is_no_number_changes_nothing() -> None:
    engine = _engine()
    with pytest.raises(ValueError, match=r"the loss of 'main' is inf \(here\)"):
        engine.stepper(1, True, lambda: "here")(engine.maps(torch.full((1, 1), torch.inf)).sum(), "main")
    assert engine.model.body.weight.item() == 1


def test_bfloat16_maps_come_back_as_float32() -> None:
    model = Line()
    engine = Engine(model, 0.1, 0.0, "bfloat16")
    x = torch.full((1, 1), 1.001)
    assert engine.maps(x).dtype == torch.float32
    assert engine.maps(x).item() == 1.0
    assert model.body(x).item() == pytest.approx(1.001)  # the model's own body is left as it was
