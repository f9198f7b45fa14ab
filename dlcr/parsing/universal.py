"""Hugging Face's universal segmentation models as parsers; see `dlcr.parsing.load_parser`.

MaskFormer, Mask2Former, OneFormer and EoMT answer with queries: each has a probability for every class and for "no
object", the last one, and a mask. A label's score at a pixel is the sum over the queries of its probability times the
mask (Cheng et al., Per-Pixel Classification is Not All You Need, 2021, Sec. 3.4): the models' own processors compute
it, enlarge the scores bilinearly to the image's own size and take the best label there. "No object" is never the best,
so the numbers are those of the model's labels.

Their processors pad a batch to its largest picture, and then stretch the padding over the images too. So each image is
processed alone here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForUniversalSegmentation,
    AutoTokenizer,
    OneFormerForUniversalSegmentation,
    OneFormerProcessor,
    PreTrainedConfig,
)
from transformers.image_transforms import get_size_with_aspect_ratio

from dlcr.parsing.batches import check_logits, in_parts_by_size
from dlcr.runtime.networks import Pretrained, load_network, loading

TYPES = ("eomt", "eomt_dinov3", "mask2former", "maskformer", "oneformer")
"""Model types of AutoModelForUniversalSegmentation that can be used.

The others are DETR, whose backbone needs timm, and VidEoMT, which parses videos.
"""
HALF = ("mask2former", "maskformer")
"""Types that compute in half precision on a GPU, as semantic heads do; the others in float32.

OneFormer takes the numbers of tokens, up to 49407, as values, which half precision rounds. EoMT can mask its attention
in float32, whatever its weights are, which attention in half precision need not accept.
"""


class OneFormerSegmenter(OneFormerForUniversalSegmentation):
    """OneFormer; a file saved in training holds a text encoder too, which nothing else uses."""

    _keys_to_ignore_on_load_unexpected = (r"\.text_mapper\.",)


def load(
    model: str, config: PreTrainedConfig, pretrained: Pretrained
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """The function from one batch of RGB images to their label maps; as `huggingface.load` says, and raises."""
    with loading(model):
        processor = image_processor(config, pretrained)
    if getattr(processor, "pad_size", None):
        raise ValueError(f"{model}: its processor pads images (pad_size); expected one that only resizes images")
    if config.model_type == "oneformer":
        network = load_network(OneFormerSegmenter, model, pretrained, is_training=False)
        asked = {"task_inputs": semantic_task(model, config, pretrained, processor).to(network.device)}
    else:
        network, asked = load_network(AutoModelForUniversalSegmentation, model, pretrained), {}
    if network.device.type == "cuda" and config.model_type not in HALF:
        network.float()
    elif network.device.type == "cuda" and network.dtype == torch.float32:
        network.half()

    def queries_of(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        task = {name: tokens.expand(len(part), -1) for name, tokens in asked.items()}
        found = network(pixel_values=part.to(network.device), **task)
        return check_logits(model, found.class_queries_logits), check_logits(model, found.masks_queries_logits)

    def work(images: Sequence[np.ndarray]) -> list[np.ndarray]:
        inputs = [processor([image], return_tensors="pt", input_data_format="channels_last") for image in images]
        pictures = [picture for one in inputs for picture in one["pixel_values"].to(network.dtype)]
        with torch.inference_mode():
            rows = in_parts_by_size(pictures, queries_of)
            maps = []
            for image, one in zip(images, inputs, strict=True):
                count = len(one["pixel_values"])  # one picture; several patches where EoMT's processor splits the image
                classes, masks = (torch.stack(column).float() for column in zip(*rows[:count], strict=True))
                rows = rows[count:]
                maps.append(best_labels(processor, one, classes, masks, image.shape[:2]))
            return maps

    return work


def image_processor(config: PreTrainedConfig, pretrained: Pretrained) -> Callable:
    """A model's image processor, with PIL as in `huggingface.image_processor`.

    OneFormer's would download the names of the classes it was trained on (`class_info_file`); they serve its training.
    """
    unread = {"class_info_file": None} if config.model_type == "oneformer" else {}
    return AutoImageProcessor.from_pretrained(pretrained.location, backend="pil", **unread, **pretrained.arguments())


def semantic_task(model: str, config: PreTrainedConfig, pretrained: Pretrained, processor: Callable) -> torch.Tensor:
    """The tokens, int64 [1, L], that ask a OneFormer for semantic segmentation.

    Raises ValueError where its tokenizer is missing or another's: the network would take any numbers.
    """
    with loading(model):
        tokenizer = AutoTokenizer.from_pretrained(pretrained.location, **pretrained.arguments())
    if len(tokenizer) != config.text_encoder_vocab_size:
        raise ValueError(
            f"{model}: a tokenizer of {len(tokenizer)} tokens; expected the files of one of "
            f"{config.text_encoder_vocab_size} (vocab.json, merges.txt)"
        )
    ask = OneFormerProcessor(processor, tokenizer, task_seq_length=config.task_seq_len)
    blank = np.zeros((32, 32, 3), np.uint8)
    return ask([blank], ["semantic"], return_tensors="pt", input_data_format="channels_last")["task_inputs"]


def best_labels(
    processor: Callable, inputs: Mapping, classes: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]
) -> np.ndarray:
    """The best label of every pixel of an image of `size` = (H, W), uint8 [H, W], by its processor's own rule.

    inputs: what the processor made of the image, n patches. classes, masks: float32 [n, Q, C + 1] and [n, Q, h, w].
    EoMT's processor can pad (`do_pad`), and forgets it in semantic maps: what was padded is cut off before.
    """
    if getattr(processor, "do_pad", False) and hasattr(processor, "do_split_image"):
        padded = inputs["pixel_values"].shape[-2:]
        height, width = get_size_with_aspect_ratio(size, processor.size.shortest_edge, processor.size.longest_edge)
        masks = torch.nn.functional.interpolate(masks, size=padded, mode="bilinear", align_corners=False)
        masks = masks[..., :height, :width]
    found = SimpleNamespace(
        class_queries_logits=classes, masks_queries_logits=masks, patch_offsets=inputs.get("patch_offsets")
    )
    (labels,) = processor.post_process_semantic_segmentation(found, target_sizes=[size])
    return labels.to(torch.uint8).cpu().numpy()
