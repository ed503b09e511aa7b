"""PyTorch's side of scripts/bench pipeline: the same networks and cuts, torch.distributed.pipelining over gloo."""

import itertools
from collections.abc import Callable

import numpy as np
import peer
import torch
from cases import NUM_CLASSES
from pipeline_cases import RATE, Case
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

SCHEDULES = {"1f1b": Schedule1F1B, "gpipe": ScheduleGPipe}
MEMORY = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def settings(case: Case) -> list[tuple[str, str]]:
    """Return the settings that are tried: schedule and memory format."""
    return list(itertools.product(SCHEDULES, MEMORY if len(case.shape) == 3 else ["contiguous"]))


def make_step(
    case: Case, stops: list[int], x: np.ndarray, y: np.ndarray, rank: int, setting: tuple[str, str]
) -> Callable[..., object]:
    """Return a training step of this rank's stage; x and y of a whole step, x with channels last."""
    schedule, memory = setting
    module, inputs, targets = make_part(case, stops, rank), torch.from_numpy(x), torch.from_numpy(y)
    if inputs.ndim == 4:
        module = module.to(memory_format=MEMORY[memory])
        if memory == "channels_last":  # gloo sends contiguous arrays only
            before, after = [_Permuted(0, 3, 1, 2)] * (rank > 0), [_Permuted(0, 2, 3, 1)] * (rank + 1 < len(stops))
            module = nn.Sequential(*before, *module, *after)
        inputs = inputs.permute(0, 3, 1, 2).contiguous(memory_format=MEMORY[memory])
    sums = nn.CrossEntropyLoss(reduction="sum")
    stage = PipelineStage(module, rank, len(stops), torch.device("cpu"))
    runs = SCHEDULES[schedule](
        stage, case.microbatches, lambda outputs, targets: sums(outputs, targets) / len(x), scale_grads=False
    )
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, momentum=0.9, fused=True)
    arguments = [inputs] if rank == 0 else []
    options = {"target": targets} if rank + 1 == len(stops) else {}

    def step(losses: list[torch.Tensor] | None = None) -> None:
        optimizer.zero_grad()
        runs.step(*arguments, **options, losses=losses, return_outputs=False)
        optimizer.step()

    return step


def make_part(case: Case, stops: list[int], rank: int) -> nn.Sequential:
    """Return the units of a stage, cut as ours."""
    units = _resnet(case.size) if case.name.startswith("resnet") else _transformer(case.size, *case.shape)
    return nn.Sequential(*units[[0, *stops][rank] : stops[rank]])


def _resnet(blocks: int) -> list[nn.Module]:
    *layers, pool, flatten, linear = peer.resnet(blocks)
    return [*layers, nn.Sequential(pool, flatten), linear]  # units as ours


def _transformer(blocks: int, length: int, width: int) -> list[nn.Module]:
    def mlp() -> nn.Module:
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attention() -> nn.Module:
        return nn.Sequential(nn.LayerNorm(width), peer.Attention(width))

    layers = [_Residual(make()) for _ in range(blocks) for make in (attention, mlp)]
    return [*layers, nn.LayerNorm(width), nn.Flatten(), nn.Linear(length * width, NUM_CLASSES)]


class _Residual(nn.Module):
    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class _Permuted(nn.Module):
    """Views images with channels first as those with channels last, or back; copies nothing."""

    def __init__(self, *axes: int):
        super().__init__()
        self._axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(self._axes) if x.ndim == 4 else x
