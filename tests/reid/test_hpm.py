"""HPM's structure, and its step against a literal transcription in doubles, with gradients."""

import pytest
import torch
from reid.test_pcb import (
    BACKBONE,
    assert_only_generated_images_matter,
    assert_overfits,
    assert_state_survives,
    batch_of,
    compare_with_literal,
    double_model,
    literal_cross_entropy,
    literal_pixels,
    literal_reduction,
    literal_triplet,
)
from torch import Tensor

from dlcr.reid.models.base import build_model


def literal_pooling(image: Tensor, scales: tuple[int, ...]) -> list[Tensor]:
    """G of one map [D, h, w]: average plus maximum of each stripe, coarse to fine, from the top."""
    height, g = image.shape[1], []
    for scale in scales:
        for j in range(scale):
            pixels = literal_pixels(image, j * height // scale, -(-(j + 1) * height // scale))
            largest = torch.stack([max(column) for column in torch.stack(pixels, dim=1)])
            g.append(sum(pixels) / len(pixels) + largest)
    return g


def test_hpm_has_the_papers_shape() -> None:
    model = build_model("hpm", 5, range(5)).eval()
    # for each of 15 stripes a 1x1 convolution without bias, a batch norm and a classifier without bias
    assert sum(parameter.numel() for parameter in model.parameters()) == BACKBONE + 15 * (
        2048 * 256 + 2 * 256 + 256 * 5
    )
    assert all(0.8 < reduce[0].weight.std() / (2 / 256) ** 0.5 < 1.2 for reduce in model.reductions)
    assert all(0.0005 < head.weight.std() < 0.002 for head in model.identity_heads)
    with torch.no_grad():
        assert model.body(torch.randn(1, 3, 192, 64)).shape == (1, 2048, 12, 4)
        assert model.features(torch.rand(2, 2048, 24, 8)).shape == (2, 3840)


def test_mini_feature_is_all_reduced_stripes() -> None:
    torch.manual_seed(0)
    model = build_model("hpm-mini", 2, [0, 1]).eval()
    for reduce in model.reductions:
        torch.nn.init.normal_(reduce[1].running_mean)
        torch.nn.init.uniform_(reduce[1].running_var, 0.5, 2)
        torch.nn.init.normal_(reduce[1].weight)
        torch.nn.init.normal_(reduce[1].bias)
    maps = torch.rand(2, 160, 12, 3)
    f = model.features(maps)
    assert f.shape == (2, 7 * 64)
    for i, image in enumerate(maps):
        for part, g in enumerate(literal_pooling(image, (1, 2, 4))):
            convolution, norm, _ = model.reductions[part]
            normed = (convolution.weight @ g - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
            h = (norm.weight * normed + norm.bias).clamp(min=0)
            torch.testing.assert_close(f[i, 64 * part : 64 * (part + 1)], h, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert model(torch.randn(2, 3, 96, 48)).shape == (2, 448)
        assert model(torch.randn(2, 3, 100, 48)).shape == (2, 448)  # a map of 13 rows


@pytest.mark.parametrize(
    ("smoothing", "triplet_weight", "height"),
    [(0.0, 0.0, 12), (0.1, 0.0, 12), (0.2, 0.7, 13)],
)
def test_a_step_is_the_formula(smoothing: float, triplet_weight: float, height: int) -> None:
    torch.manual_seed(0)
    model = double_model("hpm-mini", smoothing=smoothing, triplet_weight=triplet_weight)
    batch = batch_of([0, 0, 1, 1, 2])
    maps = torch.rand(5, 160, height, 2, dtype=torch.float64, requires_grad=True)
    g = [literal_pooling(image, (1, 2, 4)) for image in maps]
    h = [literal_reduction([image[part] for image in g], model.reductions[part]) for part in range(7)]
    identity = torch.zeros((), dtype=torch.float64)
    for part in range(7):
        for i, y in enumerate(batch.subjects.tolist()):
            logits = [(row * h[part][i]).sum() for row in model.identity_heads[part].weight]
            identity = identity + literal_cross_entropy(logits, y, smoothing) / 5
    f = [torch.cat([h[part][i] for part in range(7)]) for i in range(5)]
    triplet = literal_triplet(f, batch.subjects.tolist())
    expected = {"identity": identity} | ({"triplet": triplet} if triplet_weight else {})
    compare_with_literal(model, maps, batch, expected, identity + triplet_weight * triplet, seed=9)


def test_generated_images_train_the_identity_heads() -> None:
    assert_only_generated_images_matter("hpm-mini")


def test_state_survives() -> None:
    assert_state_survives("hpm-mini")


def test_a_step_updates_batch_norm_once() -> None:
    model = build_model("hpm-mini", 3, [0, 1, 2], triplet_weight=1.0).train()
    model.train_step(torch.rand(4, 160, 12, 6), batch_of([0, 0, 1, 1]), 0, lambda loss, *groups: None)
    assert all(reduce[1].num_batches_tracked == 1 for reduce in model.reductions)


@pytest.mark.slow
def test_mini_overfits_eight_people() -> None:
    torch.manual_seed(0)
    model = build_model("hpm-mini", 8, range(8), smoothing=0.0)

    def heads(maps: Tensor) -> list[Tensor]:
        parts = model.features(maps).split(64, dim=1)
        return [head(part) for head, part in zip(model.identity_heads, parts, strict=True)]

    assert_overfits(model, heads, steps=16)
