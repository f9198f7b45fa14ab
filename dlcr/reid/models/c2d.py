"""CAL on tracklets (Gu et al., CVPR 2022): C2DRes50, the model of CCVID, and a small one.

A clip goes through the ResNet frame by frame; max pooling over each frame and the mean over time give the body's
output. Neck, heads, losses and steps are CAL's (`dlcr.reid.models.cal`). As in the release (guxinqian/Simple-CCReID:
models/vid_resnet.py, configs/default_vid.py): clips of 8 frames of 256x128, resized bicubically and mirrored, neither
cropped nor erased; plain cross-entropy, no triplet loss, the clothes losses from epoch 50. The test feature is the
neck's output for a clip, without its mirror; a tracklet's is the mean over its clips, of length 1
(`dlcr.evaluation.features`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlcr.reid.clips import FRAMES
from dlcr.reid.models.base import register_model
from dlcr.reid.models.cal import CAL


class Frames(nn.Module):
    """The body: clips [B, frames, 3, H, W] to [B, D], the mean over time of each frame's map's maxima."""

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        self.resnet = resnet

    def forward(self, clips: Tensor) -> Tensor:
        maxima = self.resnet(clips.flatten(0, 1)).last_hidden_state.amax((2, 3)).unflatten(0, clips.shape[:2])
        # in mixed precision the mean is float32, as all pooling behind a body is
        return maxima.mean(1, dtype=torch.promote_types(maxima.dtype, torch.float32))


@register_model("c2d")
@register_model("c2d-mini", backbone="mini")
class C2D(CAL):
    """CAL whose body gives pooled features; settings as there, without a triplet loss.

    On ResNet-50, 256x128, features are 2048-d, on the small backbone, 96x48, 160-d.
    """

    frames = FRAMES
    augmented_by = ("mirror",)
    bicubic = True
    body_class = Frames
    pooled = 1

    def __init__(
        self,
        subjects: int,
        clothes: Sequence[int],
        backbone: str = "resnet50",
        weights: str | None = None,
        smoothing: float = 0.0,
        clothes_from_epoch: int = 50,
    ) -> None:
        super().__init__(subjects, clothes, backbone, weights, smoothing, clothes_from_epoch)

    def features(self, maps: Tensor) -> Tensor:
        """f, float32 [B, D] of clips: the neck's output is the heads' input and the test feature."""
        return self.neck(maps)
