"""The mini face model: finds the face of the person in a small picture, and tells people apart by it.

Two ResNets of `transformers`. The detector gives every cell of a grid (4 x 4 pixels) a logit and a box; the cells and
"no face", whose logit is 0, share one softmax, so the score is the probability that some cell holds the face. The box
is that of the head with its hair, from its top to the chin, the mean over the cells. The embedder sees the head alone,
enlarged: what lies outside the ellipse in
the box, clothes above all, is blanked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel, ResNetConfig, ResNetModel

from dlcr.faces.insight import MIN_SCORE
from dlcr.runtime.networks import find_pretrained, load_network, loading


class MiniFaceConfig(PreTrainedConfig):
    """Sizes in pixels: `size` (height, width) is what images are resized to, `head` the side of an enlarged head."""

    model_type = "dlcr-faces"

    def __init__(
        self,
        size: Sequence[int] = (96, 48),
        head: int = 32,
        embedding: int = 64,
        detector_widths: Sequence[int] = (16, 32),
        detector_depths: Sequence[int] = (2, 2),
        embedder_widths: Sequence[int] = (32, 64, 128),
        embedder_depths: Sequence[int] = (1, 1, 1),
        **kwargs: object,
    ) -> None:
        self.size, self.head, self.embedding = list(size), head, embedding
        self.detector_widths, self.detector_depths = list(detector_widths), list(detector_depths)
        self.embedder_widths, self.embedder_depths = list(embedder_widths), list(embedder_depths)
        super().__init__(**kwargs)


class MiniFaceModel(PreTrainedModel):
    """Detector and embedder; both take pictures float32 [B, 3, H, W] of values in [0, 1], H and W as in `size`."""

    config_class = MiniFaceConfig
    base_model_prefix = "faces"

    def __init__(self, config: MiniFaceConfig) -> None:
        super().__init__(config)
        self.detector = _resnet(config.detector_widths, config.detector_depths)
        self.cell = nn.Conv2d(config.detector_widths[-1], 5, 1)
        self.embedder = _resnet(config.embedder_widths, config.embedder_depths)
        cells = (config.head >> len(config.embedder_widths)) ** 2
        self.projection = nn.Linear(config.embedder_widths[-1] * cells, config.embedding)
        self.post_init()

    def detect(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, cells] of the face's place, row by row, and boxes [B, 4]: left, top, right, bottom in pixels."""
        maps = self.cell(self.detector(normalise(pictures)).last_hidden_state).float()
        logits, sides = maps[:, 0].flatten(1), functional.softplus(maps[:, 1:].flatten(2))
        step = pictures.shape[2] // maps.shape[2]
        rows, columns = (torch.arange(count, device=maps.device) * step + step / 2 for count in maps.shape[2:])
        y, x = (grid.flatten() for grid in torch.meshgrid(rows, columns, indexing="ij"))
        left, top, right, bottom = (sides * step).unbind(1)
        boxes = torch.stack([x - left, y - top, x + right, y + bottom], 1)
        return logits, (boxes * logits.softmax(1)[:, None]).sum(2)

    def embed(self, heads: Tensor) -> Tensor:
        """Embeddings [B, D], not yet of length 1, of heads [B, 3, side, side] as `cut_heads` makes them."""
        return self.projection(self.embedder(heads).last_hidden_state.flatten(1))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [B] in [0, 1] and embeddings [B, D] of length 1, of head and mirrored head together."""
        logits, boxes = self.detect(pictures)
        heads = cut_heads(pictures, boxes, self.config.head)
        return face_score(logits), functional.normalize(self.embed(heads) + self.embed(heads.flip(3)), dim=1)


def _resnet(widths: Sequence[int], depths: Sequence[int]) -> ResNetModel:
    """A ResNet of basic layers without its first pooling: half the resolution in its first stage, then halved."""
    config = ResNetConfig(embedding_size=widths[0], hidden_sizes=list(widths), depths=list(depths), layer_type="basic")
    trunk = ResNetModel(config)
    trunk.embedder.pooler = nn.Identity()
    return trunk


def normalise(pictures: Tensor) -> Tensor:
    """Values in [0, 1] to about mean 0 and deviation 1."""
    return (pictures - 0.5) / 0.25


def face_score(logits: Tensor) -> Tensor:
    """Probability [B] that a face is anywhere, of logits [B, cells]; "no face" has the logit 0."""
    return logits.logsumexp(1).sigmoid()


def cut_heads(pictures: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Heads [B, 3, side, side], normalised: the square above the chin, with 0 outside the ellipse in the box.

    pictures: [B, 3, H, W] in [0, 1]; boxes: [B, 4] in pixels, left, top, right and bottom, which is the chin. The
    square is as wide as the box's longer side, so that proportions stay, and ends at the chin; beside the jaw the
    ellipse cuts off collars, hoods and shoulders. Bilinear.
    """
    height, width = pictures.shape[2:]
    left, top, right, bottom = boxes.unbind(1)
    wide, tall = (right - left).clamp(min=1), (bottom - top).clamp(min=1)
    length = torch.maximum(wide, tall)
    unit = (torch.arange(side, device=boxes.device) + 0.5) / side
    x = ((left + right) / 2)[:, None] + (unit - 0.5) * length[:, None]
    y = bottom[:, None] + (unit - 1) * length[:, None]
    grid = torch.stack(
        [(2 * x / width - 1)[:, None].expand(-1, side, -1), (2 * y / height - 1)[:, :, None].expand(-1, -1, side)], -1
    )
    heads = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    across = (x - ((left + right) / 2)[:, None]) / (wide / 2)[:, None]
    upwards = (y - ((top + bottom) / 2)[:, None]) / (tall / 2)[:, None]
    inside = across[:, None].square() + upwards[:, :, None].square() <= 1
    return normalise(heads) * inside[:, None]


def resize(image: np.ndarray, size: Sequence[int]) -> Tensor:
    """float32 [3, *size] in [0, 1] of an RGB image uint8 [H, W, 3]; one of that size stays as it is."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
    if list(image.shape[:2]) == list(size):
        return pixels
    return functional.interpolate(pixels[None], list(size), mode="bilinear", antialias=True, align_corners=False)[0]


def load(model: str) -> tuple[int, Callable[[Sequence[np.ndarray]], list[tuple[float, np.ndarray]]]]:
    """The embedding's length, and the function from one batch of RGB images to (score, embedding) of each.

    model: a folder or `repo@revision`. Raises FileNotFoundError if it isn't there, ValueError if its config.json names
    another kind of model or its weights are not all there and finite (`check_network`).
    """
    pretrained = find_pretrained(model)
    with loading(model):
        found, _ = PreTrainedConfig.get_config_dict(pretrained.location, **pretrained.arguments())
    if found.get("model_type") != MiniFaceConfig.model_type:
        raise ValueError(
            f"{model}: config.json says model_type {found.get('model_type')!r}, expected {MiniFaceConfig.model_type!r}"
        )
    network = load_network(MiniFaceModel, model, pretrained).float()

    def work(images: Sequence[np.ndarray]) -> list[tuple[float, np.ndarray]]:
        pictures = torch.stack([resize(image, network.config.size) for image in images]).to(network.device)
        with torch.inference_mode():
            scores, embeddings = (values.float().cpu().numpy() for values in network(pictures))
        nothing = np.zeros(network.config.embedding, np.float32)
        return [
            (float(score), row) if score >= MIN_SCORE else (0.0, nothing)
            for score, row in zip(scores, embeddings, strict=True)
        ]

    return network.config.embedding, work
