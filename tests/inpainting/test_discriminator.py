import json
import math

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from dlcr.inpainting.diffusion import load_inpainter, make_scheduler
from dlcr.inpainting.discriminator import (
    CLIP,
    LEAST_SIGNAL,
    PREDICTIONS,
    Discriminator,
    discriminator_guidance,
    load_discriminator,
    save_discriminator,
    scores,
    train_discriminator,
)
from dlcr.pretrain.diffusion_parts import build_scheduler

# of Stable Diffusion, whose network predicts noise
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
ALPHAS = DDIMScheduler(**SCHEDULE).alphas_cumprod
WIDTHS = (16, 32)
SPREAD = 0.3


def random_discriminator(channels: int = 4, prediction: str = "epsilon") -> Discriminator:
    torch.manual_seed(3)
    return Discriminator(channels, WIDTHS, prediction).eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gaussian(mean: float, count: int, seed: int) -> torch.Tensor:
    return mean + SPREAD * noise(count, 1, 4, 4, seed=seed)


def predicted_noise(latents: torch.Tensor, signal: float, mean: float) -> torch.Tensor:
    """The exact noise prediction for data that are normal around `mean`."""
    variance = signal * SPREAD**2 + 1 - signal
    return math.sqrt(1 - signal) * (latents - math.sqrt(signal) * mean) / variance


class Exact(nn.Module):
    """The perfect discriminator of such data around +1 and -1, of one cell."""

    def __init__(self, prediction: str = "epsilon") -> None:
        super().__init__()
        self.prediction = prediction

    def forward(self, latents: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        signal = ALPHAS[times].to(latents)[:, None, None, None]
        return (2 * signal.sqrt() * latents / (signal * SPREAD**2 + 1 - signal)).sum((1, 2, 3))


def train(real: torch.Tensor, generated: torch.Tensor, **changes: object) -> Discriminator:
    arguments = {"steps": 8, "batch": 4, "widths": (16,), "seed": 1} | changes
    return train_discriminator(real, generated, ALPHAS, **arguments)


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(one.numpy().tobytes() == other.numpy().tobytes() for one, other in pairs)


@pytest.mark.parametrize("time", [201, 640, 999])
def test_guidance_is_the_formula_with_the_gradient_of_finite_differences(time):
    network, latents, weight = random_discriminator().double(), noise(2, 4, 6, 3).double(), 1.7
    found = discriminator_guidance(network, latents, time, ALPHAS[time], weight)
    signal, step, times = ALPHAS[time].double(), 1e-5, torch.full((2,), time)

    def log_odds(point: torch.Tensor) -> torch.Tensor:
        probability = torch.sigmoid(network(point, times))
        return torch.log(probability / (1 - probability))

    for place in [(0, 0, 0), (1, 3, 2), (3, 5, 1)]:
        nudge = torch.zeros_like(latents)
        nudge[(slice(None), *place)] = step
        slope = (log_odds(latents + nudge) - log_odds(latents - nudge)) / (2 * step)
        expected = weight * (-torch.sqrt(1 - signal)) * slope
        assert torch.allclose(found[(slice(None), *place)], expected, rtol=1e-5, atol=1e-10)
    assert found.abs().max() > 0


@settings(max_examples=30, deadline=None)
@given(st.integers(201, 999), st.floats(-2, 2))
def test_a_perfect_discriminator_turns_the_prediction_for_generated_data_into_that_for_real_data(time, value):
    latents, signal = torch.full((1, 1, 1, 1), value, dtype=torch.float64), float(ALPHAS[time])
    guided = predicted_noise(latents, signal, -1) + discriminator_guidance(Exact(), latents, time, signal)
    assert torch.allclose(guided, predicted_noise(latents, signal, 1), atol=1e-6)


@pytest.mark.parametrize("kind", [DDIMScheduler, DPMSolverMultistepScheduler])
def test_a_velocity_is_corrected_to_the_same_step_as_a_noise(kind):
    latents, predicted, weight = noise(2, 4, 8, 4), noise(2, 4, 8, 4, seed=1), 5.0
    betas = {key: SCHEDULE[key] for key in ("beta_start", "beta_end", "beta_schedule")}

    def step(prediction: str, network: Discriminator | None) -> torch.Tensor:
        scheduler = kind(
            **betas, prediction_type=prediction, **({"clip_sample": False} if kind is DDIMScheduler else {})
        )
        scheduler.set_timesteps(5)
        time = scheduler.timesteps[1]
        signal = scheduler.alphas_cumprod[time]
        velocity = (predicted - (1 - signal).sqrt() * latents) / signal.sqrt()
        output = predicted if prediction == "epsilon" else velocity
        if network is not None:
            output = output + discriminator_guidance(network, latents, time, signal, weight)
        return scheduler.step(output, time, latents, return_dict=False)[0]

    from_noise, from_velocity = (step(name, random_discriminator(4, name)) for name in PREDICTIONS)
    assert torch.allclose(from_noise, from_velocity, atol=1e-4)
    assert torch.allclose(step("epsilon", None), step("v_prediction", None), atol=1e-4)
    assert (from_noise - step("epsilon", None)).abs().max() > 1e-2


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_the_states_of_both_solvers_are_scaled_as_in_training(tiny_model, solver):
    scheduler = make_scheduler(load_inpainter(tiny_model), solver)
    scheduler.set_timesteps(7)
    clean, random = noise(1, 4, 2, 2), noise(1, 4, 2, 2, seed=1)
    assert scheduler.init_noise_sigma == 1
    for time in scheduler.timesteps:
        signal = build_scheduler().alphas_cumprod[time]
        expected = signal.sqrt() * clean + (1 - signal).sqrt() * random
        state = scheduler.scale_model_input(scheduler.add_noise(clean, random, time[None]), time)
        assert torch.allclose(state, expected, atol=2e-3)


def sample_guided(network: nn.Module | None, prediction: str = "epsilon") -> torch.Tensor:
    """DDIM with the exact prediction for generated data, around -1."""
    scheduler = DDIMScheduler(**SCHEDULE, prediction_type=prediction, timestep_spacing="trailing")
    scheduler.set_timesteps(25)
    latents = noise(64, 1, 4, 4, seed=5)
    with torch.no_grad():
        for time in scheduler.timesteps:
            signal = scheduler.alphas_cumprod[time]
            predicted = predicted_noise(latents, float(signal), -1)
            if prediction == "v_prediction":
                predicted = (predicted - (1 - signal).sqrt() * latents) / signal.sqrt()
            if network is not None:
                predicted = predicted + discriminator_guidance(network, latents, time, signal)
            latents = scheduler.step(predicted, time, latents, return_dict=False)[0]
    return latents


@pytest.fixture(scope="module")
def learnt() -> tuple[Discriminator, list[float]]:
    losses = []
    network = train(
        gaussian(1, 200, 1),
        gaussian(-1, 300, 2),
        steps=80,
        batch=32,
        learning_rate=3e-3,
        on_step=lambda step, loss: losses.append((step, loss)),
    )
    assert [step for step, _ in losses] == list(range(1, 81))
    return network, [loss for _, loss in losses]


def test_training_tells_separable_latents_apart_and_less_so_under_noise(learnt):
    network, losses = learnt
    assert abs(losses[0] - math.log(2)) < 0.2
    assert sum(losses[-20:]) / 20 < 0.45
    real, generated = gaussian(1, 150, 3), gaussian(-1, 100, 4)
    bands = scores(network, real, generated, ALPHAS, seed=0)
    assert [(band["first"], band["last"]) for band in bands] == [(0, 249), (250, 499), (500, 749), (750, 999)]
    assert bands[0]["accuracy"] > 0.98
    assert 0.5 < bands[3]["accuracy"] < bands[0]["accuracy"]
    assert bands[3]["loss"] > bands[0]["loss"]
    assert bands == scores(network, real, generated, ALPHAS, seed=0)
    swapped = scores(network, generated, real, ALPHAS, seed=0)
    assert swapped[0]["accuracy"] < 0.02


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_guided_samples_move_towards_the_real_ones(learnt, prediction):
    network = learnt[0]
    network.prediction = prediction
    plain, guided = (sample_guided(kind, prediction).mean().item() for kind in (None, network))
    network.prediction = "epsilon"
    assert abs(plain + 1) < 0.1
    assert guided > plain + 0.2


def test_guidance_is_zero_outside_of_its_times_and_where_nearly_all_is_noise():
    network, latents = random_discriminator(), noise(1, 4, 8, 4)

    def given_at(time: int, signal: float = 0.5, times: tuple[int, int] = (200, 1000)) -> bool:
        correction = discriminator_guidance(network, latents, torch.tensor(time), signal, times=times)
        assert correction.shape == latents.shape
        return bool(correction.any())

    assert [given_at(time) for time in (0, 200, 201, 1000, 1001)] == [False, False, True, True, False]
    assert [given_at(time, times=(300, 400)) for time in (300, 301, 400, 401)] == [False, True, True, False]
    assert [given_at(999, signal) for signal in (0.0, LEAST_SIGNAL * 0.99, float(ALPHAS[999]))] == [False, False, True]


def test_the_gradient_is_zero_where_the_probability_is_clipped():
    network, latents = random_discriminator(), noise(3, 4, 8, 4)
    plain = network(latents, torch.full((3,), 500))
    with torch.no_grad():
        network.readout.bias += CLIP + 0.01 - plain.sort().values[1]
    logits = network(latents, torch.full((3,), 500))
    clipped = (torch.sigmoid(logits.double()) > 1 - 1e-5).tolist()
    assert sorted(clipped) == [False, True, True]
    correction = discriminator_guidance(network, latents, 500, 0.4)
    assert [not row.any() for row in correction] == clipped
    with torch.no_grad():
        network.readout.bias -= 3 * CLIP
    assert not discriminator_guidance(network, latents, 500, 0.4).any()


def test_a_row_depends_on_no_other_and_the_network_and_latents_stay_as_they_are():
    network, latents = random_discriminator(), noise(5, 4, 7, 3)
    with torch.no_grad():
        together = discriminator_guidance(network, latents, 500, 0.4)
    alone = torch.cat([discriminator_guidance(network, row[None], 500, 0.4) for row in latents])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-7)
    assert together.dtype == torch.float32
    assert not together.requires_grad
    assert not latents.requires_grad
    assert torch.allclose(discriminator_guidance(network, latents, 500, 0.4, weight=-2.0), -2 * together)


@pytest.mark.parametrize("size", [(96, 32), (24, 12), (5, 3), (1, 1)])
def test_latents_may_have_any_size(size):
    network = Discriminator(4, (16, 16, 32)).eval()
    logits = network(noise(2, 4, *size), torch.tensor([3, 700]))
    assert logits.shape == (2,)
    assert logits.isfinite().all()


def test_the_time_matters():
    network, latents = random_discriminator(), noise(1, 4, 8, 4).expand(2, -1, -1, -1)
    early, late = network(latents, torch.tensor([10, 900]))
    assert early != late


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop", [2, 3, 7])
def test_a_stopped_training_continues_to_the_same_bytes(tmp_path, stop):
    real, generated, seen = gaussian(1, 20, 1), gaussian(-1, 30, 2), []
    whole = train(real, generated)
    kept = tmp_path / "kept"

    def interrupt(step: int, loss: float) -> None:
        if step == stop:
            raise Stop

    with pytest.raises(Stop):
        train(real, generated, kept=kept, save_every=3, on_step=interrupt)
    torch.rand(7)  # the state of the global generator is nothing to it
    again = train(real, generated, kept=kept, save_every=3, on_step=lambda step, loss: seen.append(step))
    assert seen == list(range(stop // 3 * 3 + 1, 9))
    assert same_weights(whole, again)
    seen.clear()
    finished = train(real, generated, kept=kept, save_every=3, on_step=lambda step, loss: seen.append(step))
    assert not seen
    assert same_weights(whole, finished)


def test_a_kept_state_of_another_training_is_not_continued(tmp_path):
    real, generated = gaussian(1, 20, 1), gaussian(-1, 30, 2)
    short = {"steps": 3}
    first = train(real, generated, kept=tmp_path, **short)
    for change in ({"seed": 2}, {"batch": 6}, {"learning_rate": 1e-3}, {"weight_decay": 0.1}, {"steps": 2}):
        expected = train(real, generated, **short | change)
        assert same_weights(train(real, generated, kept=tmp_path, **short | change), expected)
        assert not same_weights(first, expected)
    assert same_weights(train(generated, real, kept=tmp_path, **short), train(generated, real, **short))


def test_training_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    train(gaussian(1, 4, 1), gaussian(-1, 4, 2), steps=1)
    assert torch.equal(state, torch.get_rng_state())


def test_training_refuses_what_does_not_fit(tmp_path):
    real = gaussian(1, 4, 1)
    with pytest.raises(ValueError, match=r"of one size, got \[4, 1, 4, 4\] and \[4, 1, 4, 3\]"):
        train(real, real[..., :3])
    with pytest.raises(ValueError, match=r"got \[4, 1, 4, 4\] and \[0, 1, 4, 4\]"):
        train(real, real[:0])
    with pytest.raises(ValueError, match="batch 7: expected an even number"):
        train(real, real, batch=7)
    with pytest.raises(ValueError, match=r"multiples of 16, got \[24\]"):
        train(real, real, widths=(24,))
    train(real, real, steps=1, kept=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"{path.name}: damaged"):
        train(real, real, steps=1, kept=tmp_path)


def test_a_saved_discriminator_is_loaded_for_its_pipeline(tiny_model, tmp_path):
    pipeline, network = load_inpainter(tiny_model), random_discriminator()
    save_discriminator(network, tmp_path, pipeline)
    loaded = load_discriminator(tmp_path, pipeline)
    assert same_weights(network, loaded)
    assert loaded.prediction == pipeline.scheduler.config.prediction_type == "v_prediction"
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save_discriminator(loaded, tmp_path, pipeline)
    assert files == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(files) == ["config.json", "model.safetensors"]


def test_another_pipeline_is_refused(tiny_model, tmp_path):
    pipeline = load_inpainter(tiny_model)
    save_discriminator(random_discriminator(), tmp_path, pipeline)
    schedule = pipeline.scheduler.config
    for change, message in [
        ({"beta_end": 0.02}, r"config.json: trained for another pipeline.*beta_end 0.012, not 0.02$"),
        ({"num_train_timesteps": 500}, "num_train_timesteps 1000, not 500$"),
        ({"rescale_betas_zero_snr": False}, "rescale_betas_zero_snr True, not False$"),
        ({"prediction_type": "epsilon"}, "prediction_type v_prediction, not epsilon$"),
        (
            {"prediction_type": "sample"},
            "predicts 'sample', discriminator guidance needs one of: epsilon, v_prediction",
        ),
    ]:
        pipeline.scheduler = DDIMScheduler.from_config(schedule, **change)
        with pytest.raises(ValueError, match=message):
            load_discriminator(tmp_path, pipeline)
    pipeline.scheduler = DDIMScheduler.from_config(schedule)
    pipeline.vae.register_to_config(scaling_factor=0.18215, latent_channels=16)
    with pytest.raises(ValueError, match=r"channels 4, not 16; scaling_factor 1.0, not 0.18215$"):
        load_discriminator(tmp_path, pipeline)


def test_a_scheduler_that_does_not_know_a_key_has_the_schedule_without_it(tiny_model, tmp_path):
    pipeline = load_inpainter(tiny_model)
    pipeline.scheduler = PNDMScheduler(**{key: SCHEDULE[key] for key in SCHEDULE if key != "clip_sample"})
    assert "rescale_betas_zero_snr" not in pipeline.scheduler.config
    save_discriminator(random_discriminator(), tmp_path, pipeline)
    pipeline.scheduler = DDIMScheduler(**SCHEDULE)
    assert load_discriminator(tmp_path, pipeline).prediction == "epsilon"


def test_damaged_files_are_named(tiny_model, tmp_path):
    pipeline = load_inpainter(tiny_model)
    with pytest.raises(FileNotFoundError, match=r"config.json: no such file; expected a folder written by"):
        load_discriminator(tmp_path, pipeline)
    save_discriminator(random_discriminator(), tmp_path, pipeline)
    save_file({"readout.bias": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors: not the weights of this discriminator"):
        load_discriminator(tmp_path, pipeline)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["pipeline"]["beta_end"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ValueError, match=r"config.json: not the description of a discriminator: KeyError\('beta_end'\)"
    ):
        load_discriminator(tmp_path, pipeline)
