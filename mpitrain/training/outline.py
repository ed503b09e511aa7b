"""Outline of a run before its start: layers, memory of each rank, steps and messages.

Shapes and buffers are those of real forward and backward passes over a few samples of zeros.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import Config
from ..context import Context, ForwardContext
from ..data.dataset import Dataset
from ..data.lazy import is_lazy
from ..data.mapped import MappedRows, is_mapped
from ..device.loans import LEAST_BYTES
from ..head_loss import split_head
from ..layers import Layer, as_activations
from ..layers.base import Phase, summing_layers
from ..layers.embedding import sample_dtype
from ..losses import Loss
from ..plain_text import count
from .limits import largest_share, num_microbatches, num_shards
from .run import TrainingRun
from .scoring.evaluation import samples_at_once
from .setup import TrainingSetup

MEASURED_BYTES = 256 << 20  # activations that are allocated to be measured; more are extrapolated


@dataclass(frozen=True)
class LayerRow:
    """A layer of the network, or a block of layers: its output for one sample, and its parameters."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    num_parameters: int


@dataclass(frozen=True)
class Passes:
    """Forward and backward passes over samples of zeros.

    Attributes
    ----------
    layers : list of LayerRow
    samples : int
        The most that a rank computes with at once.
    train_bytes, test_bytes : int
        Memory of the activations and their gradients in a training step, and of the activations in an evaluation.
    """

    layers: list[LayerRow]
    samples: int
    train_bytes: int
    test_bytes: int


def try_passes(setup: TrainingSetup, config: Config, size: int) -> Passes:
    """Return the outline of the network on one of ``size`` ranks.

    Call it before a ``TrainingRun`` is made of the setup, which sends gradients as soon as they are there.
    """
    setup.arena.begin_step()
    shapes = _output_shapes(setup.model, lambda: _forward_backward(setup, 1, 1))
    rows = []
    for name, layer in _top(setup.model):
        num_parameters = sum(p.size for _, p in layer.named_parameters())
        rows.append(LayerRow(name, type(layer).__name__, shapes.get(name, ()), num_parameters))
    data = setup.dataset
    batch = min(config.data.batch_size, len(data.train))
    shards = num_shards(config, len(data.train), size)
    microbatches = num_microbatches(config, len(data.train))
    samples = math.ceil(batch / shards) if shards else math.ceil(largest_share(config, batch, size) / microbatches)
    tested = min(samples_at_once(data.test.x), math.ceil(len(data.test) / size))
    few = min(2, microbatches)  # the second adds to the gradients of the first, for which it takes more
    train_bytes = _extrapolate(lambda n, least: _forward_backward(setup, n, few, least), samples)
    if shards and summing_layers(setup.model):
        train_bytes *= shards // size  # the shards of a rank go through the network side by side
    return Passes(rows, samples, train_bytes, _extrapolate(lambda n, least: _forward(setup, n, least), tested))


def memory_of(run: TrainingRun, passes: Passes) -> dict[str, tuple[int, str]]:
    """Return the bytes of each part of training on rank 0, with a remark on each."""
    arena, exchange, size = run.setup.arena, run.data_parallel.sync, run.loader.size
    own = arena.trained_size if exchange.own is None else sum(part.stop - part.start for part in exchange.own)
    in_common = exchange.sharded and not run.data_parallel.messages_per_step
    slots = list(run.optimizer.slots)
    config, data, normalized = run.config, run.setup.dataset, run.setup.normalizer is not None
    partial_sums = max(0, (num_shards(config, len(data.train), size) // size).bit_length() - 1)
    sample = 4 * math.prod(data.input_shape) * (1 if normalized else 4)  # tokens and targets are int64
    share = largest_share(config, min(config.data.batch_size, len(data.train)), size)
    scratch = arena.device.workspace_bytes
    return {
        "weights": (arena.values.nbytes, f"one copy for {size} ranks" if in_common else ""),
        "gradients": (arena.gradients.nbytes * (1 + partial_sums), ""),
        **exchange.kept_bytes,
        "optimizer": (
            len(slots) * own * arena.dtype.itemsize,
            ", ".join(slots) + (f" of 1/{size} of the weights" if own < arena.size - 64 else ""),
        ),
        **({"exchange": (exchange.extra_bytes, ", ".join(exchange.slots))} if exchange.extra_bytes else {}),
        "activations": (passes.train_bytes, f"{count(passes.samples, 'sample')} at a time, with their gradients"),
        "evaluation": (passes.test_bytes, f"up to {count(samples_at_once(data.test.x), 'sample')} at a time"),
        **({"scratch": (scratch, "working memory, used by one op at a time")} if scratch else {}),
        "batches": (sample * share * (1 + run.loader.prefetch), "the one in use and those prefetched"),
        "data": (_data_bytes(data) + run.loader.normalized_bytes, "all samples, on every rank"),
    }


def _extrapolate(run: Callable[[int, float], int], samples: int) -> int:
    """Return the bytes of ``run(samples, least)``: measured for few samples, else extrapolated from 1 and 2.

    ``least`` (``Loans.least``) is in proportion to the samples, so that the same arrays are lent.
    """
    one, two = (run(n, LEAST_BYTES * n / max(1, samples)) for n in (1, 2))
    estimate = one + (two - one) * (samples - 1)
    return run(samples, LEAST_BYTES) if estimate <= MEASURED_BYTES else estimate


def _context(setup: TrainingSetup, least: float, *, training: bool = True) -> Context:
    device = setup.arena.device
    ctx = Context(device=device) if training else ForwardContext(device=device)
    if ctx.loans is not None:
        ctx.loans.least = least
    return ctx


def _forward_backward(setup: TrainingSetup, num_samples: int, microbatches: int, least: float = LEAST_BYTES) -> int:
    """Run a training step without its update, and return the bytes of its buffers."""
    ctx = _context(setup, least)
    setup.arena.writes = [0] * len(setup.arena.parameters)
    model, loss = split_head(setup.model, setup.training_loss)
    for _ in range(microbatches):
        _to_the_loss(setup, model, loss, num_samples, ctx)
        model.backward(loss.backward(ctx), ctx)
    return ctx.num_bytes + loss.memory()


def _forward(setup: TrainingSetup, num_samples: int, least: float) -> int:
    """Evaluate, and return the bytes of the buffers."""
    ctx = _context(setup, least, training=False)
    model, loss = split_head(setup.model, setup.training_loss)
    _to_the_loss(setup, model, loss, num_samples, ctx)
    return ctx.num_bytes + loss.memory()


def _to_the_loss(setup: TrainingSetup, model: Layer, loss: Loss, num_samples: int, ctx: Context) -> None:
    data, device = setup.dataset, setup.arena.device
    x = device.zeros((num_samples, *data.input_shape), sample_dtype(setup.model))
    outputs = model.forward(as_activations(model, x, ctx), ctx)
    numbers = data.task == "regression"
    # whole targets: a divided loss takes the part that belongs to its outputs
    y = np.zeros((num_samples, *data.train.y.shape[1:]), np.float32 if numbers else np.int64)
    loss.forward(outputs, device.from_host(y), ctx)


def _top(model: Layer) -> list[tuple[str, Layer]]:
    """Return the layers of a network with their names; a block counts as one."""
    return list(model.children()) or [("", model)]


def _output_shapes(model: Layer, run: Callable[[], object]) -> dict[str, tuple[int, ...]]:
    """Return the shape of the output for one sample of each layer of ``_top``, by name, in one forward of ``run``."""
    shapes: dict[str, tuple[int, ...]] = {}
    places = {layer: name.partition(".")[0].split("+") for name, layer in model.running()}
    before: list[str] = []

    def observe(layer: Layer, phase: Phase, array: np.ndarray) -> None:
        if phase == "output":  # the last layer of a block gives its output; fused layers have one for all
            shapes.update(dict.fromkeys(places[layer], tuple(array.shape[1:])))
        elif phase == "forward" and before != places[layer]:  # a block that joins its results gives what comes in here
            shapes.update(dict.fromkeys(before, tuple(array.shape[1:])))
            before[:] = places[layer]

    stop = model.observe(observe)
    try:
        run()
    finally:
        stop()
    return shapes


def _data_bytes(data: Dataset) -> int:
    """Return the bytes of a dataset, excluding arrays mapped from a file."""
    arrays = [array for split in data.splits.values() for array in (split.x, split.y)]
    return sum(_bytes(array) for array in arrays)


def _bytes(array: Any) -> int:
    if is_lazy(array):
        return int(array.num_bytes)
    if isinstance(array, MappedRows):
        return array.index_bytes
    return 0 if is_mapped(array) else int(array.nbytes)
