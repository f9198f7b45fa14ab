"""One training step of any model, on one process or several, by accelerate.

Several processes train as one would: each runs its share of every batch through the model's body, with the statistics
of batch norm taken over all of them; the maps are then gathered with their gradients, and every process computes the
losses of the whole batch (mining, covariances and necks see all of it) and takes the same step of the heads. A batch of
32 (64 with its pairs) therefore stays one of 32 (64), whatever the number of processes.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, distributed, nn
from torch.optim import Adam

from dlcr.reid.models import Maps, ReidModel

PRECISIONS = {"float32": "no", "bfloat16": "bf16"}


def process_count() -> int:
    """How many processes train one model: the environment's DLCR_PROCESSES, or one. ValueError for another number."""
    wanted = os.environ.get("DLCR_PROCESSES") or "1"
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"DLCR_PROCESSES must be a positive integer, got {wanted!r}")
    return int(wanted)


class Engine:
    """A model, its optimizers, and the processes and number types that they run in.

    learning_rate, weight_decay: of every group's Adam. precision: "float32" or "bfloat16" maps. clip: the norm that a
    step's gradients are cut to, 0 for never.

    The rank, the number of processes and their address come from the variables that `torch.distributed` reads.
    """

    def __init__(
        self, model: ReidModel, learning_rate: float, weight_decay: float, precision: str, clip: float = 0.0
    ) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state()  # the next run of this process may have another precision
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=PRECISIONS[precision])
        self.processes, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.device = self.accelerator.device
        if self.processes > 1:
            model.body = with_shared_statistics(model.body)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.body = self.accelerator.prepare_model(_Body(model.body))
        self.clip = clip
        self.groups = model.parameter_groups()
        self.optimizers = {
            group: self.accelerator.prepare_optimizer(
                Adam(parameters, learning_rate, weight_decay=weight_decay, fused=True)
            )
            for group, parameters in self.groups.items()
        }

    def share(self, count: int) -> slice:
        """The part of a batch of `count` images that this process runs through the body."""
        each = count // self.processes
        return slice(self.rank * each, (self.rank + 1) * each)

    def maps(self, images: Tensor, last: bool = True) -> Maps:
        """What the body makes of this process' share of the images, gathered: of the whole batch, float32.

        Without gradients where the model has put its body into eval mode. last: whether the optimizers step after this
        batch; the processes need not agree on gradients before.
        """
        trained = self.model.body.training
        waits = nullcontext() if last or not trained else self.accelerator.no_sync(self.body)
        with waits, torch.set_grad_enabled(trained):
            maps = self.body(images)
        if self.processes == 1:
            return maps
        gathered = tuple(_Gather.apply(part.contiguous()) for part in (maps if isinstance(maps, tuple) else (maps,)))
        return gathered if isinstance(maps, tuple) else gathered[0]

    def stepper(self, batches: int, last: bool, where: Callable[[], str]) -> Callable[..., None]:
        """The `step` of one of the `batches` that make an optimizers' step; in the last one, they take it.

        A loss that is no finite number is a ValueError that says `where`, before any weight changes.
        """

        def step(loss: Tensor, *groups: str) -> None:
            if not torch.isfinite(loss):
                raise ValueError(f"the loss of {' and '.join(map(repr, groups))} is {loss.item()} ({where()})")
            self.accelerator.backward(loss / batches)
            if not last:
                return
            if self.clip:
                self.accelerator.clip_grad_norm_([p for group in groups for p in self.groups[group]], self.clip)
            for group in groups:
                self.optimizers[group].step()
                self.optimizers[group].zero_grad()

        return step


class _Body(nn.Module):
    """What accelerate wraps, so that the model's own body stays as it is where it runs without an engine."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Maps:
        return self.body(images)


class _Gather(torch.autograd.Function):
    """The rows of all processes, in order.

    Backward adds up what every process' copy of the loss says of a row; DDP's mean over the processes undoes that.
    """

    @staticmethod
    def forward(context, part: Tensor) -> Tensor:
        rows = [torch.empty_like(part) for _ in range(distributed.get_world_size())]
        distributed.all_gather(rows, part)
        return torch.cat(rows)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient).chunk(distributed.get_world_size())[distributed.get_rank()]


class _Sum(torch.autograd.Function):
    """The sum over all processes, and the same of its gradient."""

    @staticmethod
    def forward(context, part: Tensor) -> Tensor:
        total = part.contiguous().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


def with_shared_statistics(body: nn.Module) -> nn.Module:
    """The body with batch norms whose statistics are those of all processes' images; weights and names stay."""
    if torch.cuda.is_available():
        return nn.SyncBatchNorm.convert_sync_batchnorm(body)
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = _SharedBatchNorm
    return body


class _SharedBatchNorm(nn.BatchNorm2d):
    """SyncBatchNorm for processes without a GPU, where PyTorch has none: batch norm over all processes' images."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        x32 = x.float()
        count = x32[:, 0].numel() * distributed.get_world_size()
        mean = _Sum.apply(x32.sum((0, 2, 3))) / count
        variance = _Sum.apply((x32 - mean[:, None, None]).square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (x32 * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)
