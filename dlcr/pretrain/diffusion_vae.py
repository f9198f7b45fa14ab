"""Trains the inpainting model's autoencoder: pictures of 96 x 48 to 24 x 12 cells of four numbers, and back.

It sees finished pictures and pictures with a gray mask, as it has to encode both. It does not start from nothing: the
residual branches start at zero and the last convolutions are solved for by least squares, so that before the first step
it codes the four principal components of 4 x 4 pixels (20 dB). A random start needs over a thousand steps to get there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetModel

from dlcr.pretrain.diffusion_pool import CELL, Examples
from dlcr.reid.colours import standardise_colours
from dlcr.runtime.progress import progress

LATENT_NOISE = 0.1
"""Standard deviation of what is added to latents (of deviation 1) while the decoder is polished."""
SEEN_WEIGHT = 0.2
"""Of the difference in features against that in pixels."""


def to_unit(images: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def mask_out(images: Tensor, masks: Tensor) -> Tensor:
    """Images [N, 3, H, W] with their masks (bool [N, 1, H, W]) at zero, which is middle gray."""
    return images * ~masks


@torch.no_grad()
def start_linear(vae: AutoencoderKL, images: Tensor) -> None:
    """Sets the weights so that the latents are principal components of `images`' cells; see the module's docstring."""
    encoder, decoder = vae.encoder, vae.decoder
    for block in (module for module in vae.modules() if isinstance(module, ResnetBlock2D)):
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
    stream = [encoder.conv_in, decoder.conv_in]
    stream += [block.downsamplers[0].conv for block in encoder.down_blocks[:-1]]
    stream += [block.upsamplers[0].conv for block in decoder.up_blocks[:-1]]
    for conv in stream:  # constants in the stream keep the following group norms from erasing the mean colour
        nn.init.normal_(conv.bias, std=0.3)
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.copy_(torch.eye(len(conv.weight))[:, :, None, None])
        nn.init.zeros_(conv.bias)
    out, channels = encoder.conv_out, vae.config.latent_channels
    components = _rows(functional.pixel_unshuffle(images, CELL))
    values, vectors = torch.linalg.eigh(torch.cov(components.T))
    latents = (components - components.mean(0)) @ (vectors[:, -channels:] / values[-channels:].sqrt())
    slope, offset = _ridge(_rows(_input_of(out, lambda: encoder(images))), latents)
    nn.init.zeros_(out.weight)
    nn.init.constant_(out.bias, -6.0)  # of the logarithm of the variance: little noise
    out.weight[:channels, :, 1, 1] = slope.T
    out.bias[:channels] = offset
    encoded = vae.encode(images).latent_dist.mean
    features = _input_of(decoder.conv_out, lambda: vae.decode(encoded))
    slope, offset = _ridge(_rows(functional.unfold(features, 3, padding=1)), _rows(images))
    decoder.conv_out.weight.copy_(slope.T.reshape(decoder.conv_out.weight.shape))
    decoder.conv_out.bias.copy_(offset)


def _rows(maps: Tensor) -> Tensor:
    """[N, C, ...] to [N * ..., C]."""
    return maps.flatten(2).transpose(1, 2).flatten(0, 1)


def _input_of(module: nn.Module, run: Callable[[], object]) -> Tensor:
    inputs = []
    handle = module.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    run()
    handle.remove()
    return inputs[0]


def _ridge(features: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Slope [C, D] and offset [D] of the regression of [N, D] on [N, C]; weights small enough for bfloat16."""
    centre, middle = features.mean(0), wanted.mean(0)
    centred = (features - centre).double()
    square = centred.T @ centred / len(centred)
    square += 1e-3 * features.double().square().mean() * torch.eye(len(square))
    slope = torch.linalg.solve(square, centred.T @ (wanted - middle).double() / len(centred)).float()
    return slope, middle - centre @ slope


def train_vae(vae: AutoencoderKL, pool: Examples, *, steps: int, batch: int, learning_rate: float, seed: int) -> None:
    """L1 on pixels and on differences between neighbours (for sharp edges), and a small Kullback-Leibler term.

    Mirrors examples at random; one batch in four is masked. Afterwards the latents are standardised.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    start_linear(vae, to_unit(pool.targets[:96]))

    def loss(step: int) -> Tensor:
        images, masks = _draw(pool, batch, rng)
        if step % 4 == 0:
            images = mask_out(images, masks)
        with torch.autocast("cpu", torch.bfloat16):
            moments = vae.quant_conv(vae.encoder(images.contiguous(memory_format=torch.channels_last))).float()
            made = vae.decoder(vae.post_quant_conv(_draw_latents(moments))).float()
        return _distance(made - images, 1.0 + masks) + 1e-4 * _divergence(moments)

    _optimise(vae, "training the autoencoder", loss, steps, learning_rate)
    standardise(vae, to_unit(pool.targets[:500]))


def polish_decoder(
    vae: AutoencoderKL,
    eyes: ResNetModel,
    pool: Examples,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Trains the decoder on, with most weight on the clothes, while the encoder and so the latents stay as they are.

    Beside the pixels, pictures are compared by what `eyes`, the Re-ID models' backbone, sees in them: the few dark
    pixels of a hood or a collar weigh next to nothing in an average of pixels, and tell a hoodie from a coat. Only the
    masked pixels come from the decoder there, as in a finished variant. The latents get a little noise, as sampled ones
    have.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    eyes.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        images, masks = _draw(pool, batch, rng)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(images.contiguous(memory_format=torch.channels_last)).latent_dist.mean
            latents = latents + LATENT_NOISE * torch.randn(latents.shape)
            made = vae.decoder(vae.post_quant_conv(latents)).float()
            seen = _seen_difference(eyes, torch.where(masks, made, images), images)
        return _distance(made - images, 1.0 + 5.0 * masks) + SEEN_WEIGHT * seen

    _optimise(vae, "polishing the decoder", loss, steps, learning_rate)
    vae.requires_grad_(True)


def _seen_difference(eyes: ResNetModel, made: Tensor, true: Tensor) -> Tensor:
    """LPIPS without learned weights (Zhang et al., CVPR 2018): squared distance of unit features, summed over stages.

    made, true: [N, 3, H, W] in [-1, 1].
    """
    pictures = standardise_colours(torch.cat([made, true]).add(1).div(2))
    stages = eyes(pictures.contiguous(memory_format=torch.channels_last), output_hidden_states=True).hidden_states[1:]
    total = torch.zeros(())
    for stage in stages:
        one, other = functional.normalize(stage.float(), dim=1).chunk(2)
        total = total + (one - other).square().sum(1).mean()
    return total


def _optimise(vae: AutoencoderKL, title: str, loss: Callable[[int], Tensor], steps: int, learning_rate: float) -> None:
    """AdamW with a one-cycle learning rate. The networks run in bfloat16, the weights stay float32."""
    vae.train().to(memory_format=torch.channels_last)
    weights = [weight for weight in vae.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.1, cycle_momentum=False)
    with progress(steps, title, unit="step") as bar:
        for step in range(steps):
            optimizer.zero_grad()
            loss(step).backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            bar.update(1)
    vae.eval()


def _draw(pool: Examples, batch: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    rows = np.sort(rng.integers(len(pool.words), size=batch))
    images, masks = to_unit(pool.targets[rows]), torch.from_numpy(pool.masks[rows])[:, None]
    return (images.flip(3), masks.flip(3)) if rng.uniform() < 0.5 else (images, masks)


def _draw_latents(moments: Tensor) -> Tensor:
    mean, logvar = moments.chunk(2, 1)
    return mean + torch.randn(mean.shape) * torch.exp(0.5 * logvar.clamp(-30, 20))


def _distance(error: Tensor, weight: Tensor) -> Tensor:
    """error [N, 3, H, W], weight [N, 1, H, W]; weighted means, so that a weight's scale does not matter."""
    weight = weight / weight.mean()
    edges = (weight[:, :, 1:] * error.diff(dim=2).abs()).mean() + (weight[..., 1:] * error.diff(dim=3).abs()).mean()
    return (weight * error.abs()).mean() + 0.25 * edges


def _divergence(moments: Tensor) -> Tensor:
    mean, logvar = moments.chunk(2, 1)
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


@torch.no_grad()
def standardise(vae: AutoencoderKL, images: Tensor) -> None:
    """Folds an affine map into the 1 x 1 convolutions, after which the latents of `images` have mean 0, deviation 1.

    The scaling factor, which in other models does this for all channels alike, is then 1.
    """
    latents = vae.encode(images).latent_dist.mean
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    before, after, ones = vae.quant_conv, vae.post_quant_conv, torch.ones(len(mean))
    before.bias -= torch.cat([mean, 2 * deviation.log()])
    before.bias /= torch.cat([deviation, ones])
    before.weight /= torch.cat([deviation, ones])[:, None, None, None]
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= deviation[None, :, None, None]


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, examples: Examples) -> dict[str, float]:
    """Peak signal-to-noise ratio in dB over whole pictures (`all`) and in the pixels of the masks (`holes`)."""
    images = to_unit(examples.targets)
    made = vae.decode(vae.encode(images).latent_dist.mean).sample.clamp(-1, 1)
    error = (made - images).square().mean(1) / 4
    inside = error[torch.from_numpy(examples.masks)]
    return {"all": -10 * float(error.mean().log10()), "holes": -10 * float(inside.mean().log10())}
