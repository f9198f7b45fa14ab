"""Stage discriminate: a network that tells a dataset's images from generated ones, for its guidance (Sec. 12).

    python -m stages.discriminate NAME     # a key of params.discriminators -> discriminators/NAME

It learns from the training images and all generated ones, but of no more than the first `discriminate.variants`
variants, the paper's K, so that a larger k changes nothing: what was trained on the same pixels before comes from the
store. scores.json says how well the images of
subjects that were held out are told apart, by parts of the noise schedule.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import typer
from torch import Tensor

from dlcr.data import Generated, load_manifest, open_generated, open_images
from dlcr.data.shards import checksum
from dlcr.inpainting import Expander
from dlcr.inpainting.discriminator import save_discriminator, scores, train_discriminator
from dlcr.inpainting.families import find_family
from dlcr.params import load_params, lookup
from dlcr.runtime import determinism, timing
from dlcr.runtime.code import code_of
from dlcr.runtime.files import write_json
from dlcr.runtime.networks import model_fingerprint
from dlcr.runtime.progress import progress
from dlcr.runtime.stage import run_stage
from dlcr.runtime.store import Store, key_of, work_folder

HELD_OUT = 10  # one subject in so many is for the scores alone
FILES = ("model.safetensors", "config.json", "scores.json")

app = typer.Typer(add_completion=False)


@app.command()
def main(name: str) -> None:
    """Train the discriminator NAME."""
    params = load_params()
    entry = lookup(params.discriminators, "discriminators", name)
    family = find_family(params.models.inpainter)
    family.require(params.models.inpainter, "discriminator")
    determinism.set_up()
    start = time.monotonic()
    manifest = load_manifest(Path("data", entry.dataset))
    train = manifest[manifest["split"] == "train"]
    image_ids, subjects = train["image_id"].tolist(), sorted(set(train["subject"]))
    images = open_images(Path("data", entry.dataset, "images"))
    generated = open_generated(Path("generated", entry.generated))
    variants = find_variants(generated, image_ids, params.discriminate.variants)
    model = {"model": params.models.inpainter, "size": params.inpaint.size, "dtype": params.inpaint.dtype}
    key = key_of(
        {
            "code": code_of(Expander, train_discriminator, family.load),
            "discriminate": params.discriminate.model_dump(),
            "sampler": model | {"model": model_fingerprint(model["model"]), "size": list(model["size"])},
            "seed": params.seed,
            "real": [[image_id, checksum(images.encoded(image_id))] for image_id in image_ids],
            "generated": [[*pair, checksum(generated.encoded(*pair))] for pair in variants],
        }
    )
    folder, store = Path("discriminators", name), Store()
    if all([store.take(f"{key}-{file}", folder / file) for file in FILES]):
        print(f"{name}: the same images as before, taken from the store")
        return
    expander = Expander(**model, batch=params.inpaint.batch, prior=params.inpaint.prior, family=family)
    held_out = set(train.loc[train["subject"].isin(subjects[::HELD_OUT]), "image_id"])
    real, real_held_out = encode(expander, images.__getitem__, image_ids, [i in held_out for i in image_ids])
    made, made_held_out = encode(expander, generated.__getitem__, variants, [i in held_out for i, _ in variants])
    schedule = expander.pipeline.scheduler.alphas_cumprod
    settings = params.discriminate.model_dump(exclude={"variants"})
    with progress(settings["steps"], "discriminate", unit="step") as bar:
        network = train_discriminator(
            real,
            made,
            schedule,
            seed=params.seed,
            on_step=lambda step, loss: bar.update(1),
            kept=work_folder(key),
            **settings,
        )
    save_discriminator(network, folder, expander.pipeline)
    found = scores(network, real_held_out, made_held_out, schedule, seed=params.seed)
    write_json(folder / "scores.json", {"bands": found, "held_out": len(held_out)})
    for file in FILES:
        store.put(f"{key}-{file}", folder / file)
    timing.record("discriminate", name, seconds=time.monotonic() - start, peak_memory_mb=timing.peak_memory_mb())
    accuracies = ", ".join(f"{100 * band['accuracy']:.0f} % at t {band['first']} to {band['last']}" for band in found)
    print(f"{name}: held-out images told apart from generated ones: {accuracies}")


def find_variants(generated: Generated, image_ids: Sequence[str], count: int) -> list[tuple[str, int]]:
    """The first `count` variants of each image, or all where there are fewer, as (image_id, variant), without those
    that were skipped."""
    count = min(count, generated.variants)
    pairs = [(image_id, variant) for variant in range(count) for image_id in image_ids]
    there = [pair for pair in pairs if not generated.skipped(*pair)]
    if not there:
        raise ValueError(f"{generated.folder}: all variants were skipped, there is nothing to tell apart")
    return there


def encode(
    expander: Expander, read: Callable[[object], np.ndarray], keys: Sequence, held_out: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """The sampler's latents [N, C, h, w] of images to train on, and of those that are held out; held only once, as
    all variants of a large dataset take gigabytes."""
    keys = [key for which in (False, True) for key, out in zip(keys, held_out, strict=True) if out == which]
    latents = None
    with progress(len(keys), "encode") as bar:
        for first in range(0, len(keys), expander.batch):
            part = keys[first : first + expander.batch]
            found = expander.prepare([read(key) for key in part], None).start
            if latents is None:
                latents = torch.empty((len(keys), *found.shape[1:]), dtype=found.dtype)
            latents[first : first + len(part)] = found.cpu()
            bar.update(len(part))
    return torch.tensor_split(latents, [len(keys) - sum(held_out)])


if __name__ == "__main__":
    run_stage(app)
