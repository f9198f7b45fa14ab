"""Sampling works on the CPU, as a GPU refuses what it needs; tensors of a GPU are made up."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dlcr.prompts.generation import SeededSampling


def test_sampling_from_a_gpu_sums_up_probabilities_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of floats vary on a GPU, so `determinism.set_up` has it refuse them."""
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda noise, generator: noise)  # made-up tensors can't
    sampling, devices = SeededSampling([0, 1], 0.6, 0.9), []
    sampling.top_p = lambda ids, scores: devices.extend([ids.device.type, scores.device.type]) or scores
    with FakeTensorMode():
        ids = torch.zeros(2, 3, dtype=torch.long, device="cuda")
        drawn = sampling(ids, torch.zeros(2, 5, dtype=torch.float16, device="cuda"))
    assert devices == ["cpu", "cpu"]
    assert drawn.device.type == "cuda"
    assert drawn.shape == (2, 5)
