"""Measurement of the units of a model, one at a time, so that also a model too large for one rank is measured.

Neighbors that are fused (Linear and ReLU, ``layers/fused``) are timed as they run: the first alone, then both, and the
second has the difference. Since a cut between them costs more, the second is timed alone, too (``UnitCost.apart``).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from ...arena import Arena
from ...context import Context
from ...device import CPU, Device
from ...layers import Embedding, Layer, Part, as_activations
from ...layers.base import summing_layers
from ...layers.embedding import sample_dtype
from ...layers.fused import Fused
from ...losses import Loss
from .recompute import is_block
from .unit_cost import UnitCost
from .units import find_units

SECONDS = 1.0
"""Time for all units of a model."""

REPEATS = 25
"""The most timed runs of a unit."""

DY = 0.01  # each element of the gradient that backward gets


def measure_units(
    model: Layer,
    input_shape: tuple[int, ...],
    num_samples: int,
    *,
    dtype: Any = None,
    loss: tuple[Loss, np.ndarray] | None = None,
    device: Device = CPU,
    seed: int = 0,
    seconds: float = SECONDS,
) -> list[UnitCost]:
    """Return the costs of the units of ``model`` for one microbatch; it is left as it was, nothing is sent.

    Parameters
    ----------
    model : Layer
        Prepared (``models.prepare``), not as a run recomputes it (``tables`` adds that).
    input_shape : tuple of int
        Shape of one sample.
    num_samples : int
        N, in one microbatch.
    dtype : numpy dtype
        Type of the samples (``sample_dtype`` by default); integers are below the size of every Embedding.
    loss : (Loss, array), optional
        Loss and targets of N samples, counted with the last unit.
    device : Device
    seed : int
        For samples and weights.
    seconds : float
        Time budget: each unit has one run that does not count and at least one that does, whatever they take.

    Raises
    ------
    UserError
        If the model cannot be cut (``find_units``).
    """
    units = find_units(model)
    dtype = sample_dtype(model) if dtype is None else dtype
    xs = [device.from_host(random_samples(model, (num_samples, *input_shape), dtype, seed))]
    found: list[UnitCost] = []
    end = time.perf_counter() + seconds
    for number, unit in enumerate(units):
        share = max(0.0, end - time.perf_counter()) / (len(units) - number)
        pair = Part(units[max(0, number - 1) : number + 1])
        fused = is_fused(pair)
        cost, y = _measure(Part([unit]), xs[-1], device, seed, share / (1 + fused))
        if fused:
            both, y = _measure(pair, xs[-2], device, seed, share / 2)
            cost = replace(_difference(both, found[-1]), apart=cost)
        found.append(replace(cost, name=unit.name, is_block=is_block(unit.layer)))
        xs = [xs[-1], y]
    if loss is not None and found:
        criterion, targets = loss
        found[-1] = _with_loss(found[-1], criterion, xs[-1], device.from_host(targets), device, end)
    return found


def random_samples(model: Layer, shape: tuple[int, ...], dtype: Any, seed: int) -> np.ndarray:
    """Return normal draws, or integers below the size of every Embedding of ``model``."""
    rng = np.random.default_rng(seed)
    sizes = [layer.num_embeddings for layer in model.layers() if isinstance(layer, Embedding)]
    if sizes or np.issubdtype(dtype, np.integer):
        return rng.integers(0, min(sizes, default=2), shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def is_fused(pair: Part) -> bool:
    """Return whether two units run as one."""
    return any(isinstance(layer, Fused) and layer.layers_fused == tuple(pair) for _, layer in pair.running())


@contextmanager
def restored(model: Layer) -> Iterator[None]:
    """Put back in the end to which arena each parameter and state of ``model`` is bound; meanwhile nothing is sent."""
    norms = summing_layers(model)
    tensors = [tensor for named in (model.named_parameters(), model.named_states()) for _, tensor in named]
    saved = [(each, dict(vars(each))) for each in (*tensors, *norms)]
    for norm in norms:
        norm.sum_over_ranks = None
    try:
        yield
    finally:
        for each, attributes in saved:
            vars(each).update(attributes)


class Probe:
    """Forward and backward of a part of a model, in memory of their own."""

    def __init__(self, part: Part, x: Any, device: Device, seed: int):
        self.part, self.x, self.device = part, x, device
        self.arena = Arena(part, seed=seed, device=device)
        self.arena.begin_step()
        self.memory = Context(seed=seed, device=device)  # of backward
        self.ctx = Context(seed=seed, device=device, share=self.memory)
        self.y: Any = None
        self.dy: Any = None
        self.writes_at_once = self.puts_off = False
        self.kept_loans = 0

    def prepare(self) -> None:
        """Renew dy, over which backward may have written."""
        self.ctx.later = None
        if self.dy is not None:
            self.dy.fill(DY)

    def forward(self) -> None:
        """Compute y."""
        self.y = self.part.forward(as_activations(self.part, self.x, self.ctx), self.ctx)
        if self.dy is None and self.ctx.loans is not None:  # the run that does not count
            self.kept_loans = self.ctx.loans.used_bytes

    def backward(self) -> None:
        """Compute dx, put off dw."""
        is_first = self.dy is None  # the run that does not count
        if is_first:
            self.dy = self.device.zeros(self.y.shape, self.y.dtype)
        self.ctx.later = []
        self.part.backward(self.dy, self.ctx)
        if is_first:
            self.writes_at_once = any(p.accumulate for p in self.arena.parameters)
        self.puts_off = bool(self.ctx.later)

    def write(self) -> None:
        """Compute dw."""
        for write in self.ctx.later or ():
            write()


def _measure(part: Part, x: Any, device: Device, seed: int, seconds: float) -> tuple[UnitCost, Any]:
    """Return the cost of a part, without a name, and its output."""
    with restored(part):
        probe = Probe(part, x, device, seed)
        forward, dx, dw = medians((probe.forward, probe.backward, probe.write), probe.prepare, device, seconds)
        num_trained, num_frozen = probe.arena.num_parameters, probe.arena.num_frozen
    loans = 0 if probe.ctx.loans is None else probe.ctx.loans.num_bytes
    has_backward = part.needs_dx or probe.writes_at_once or any(any(layer.children()) for layer in part)
    return UnitCost(
        name="",
        output_shape=tuple(probe.y.shape[1:]),
        forward=forward,
        dx=dx if has_backward and (part.needs_dx or num_trained) else 0.0,
        dw=dw if probe.puts_off else 0.0,
        output_bytes=probe.y.nbytes,
        kept_bytes=probe.ctx.num_bytes + probe.kept_loans,
        backward_bytes=probe.memory.num_bytes - loans,
        in_turn_bytes=loans - probe.kept_loans,
        num_parameters=num_trained + num_frozen,
        num_frozen=num_frozen,
    ), probe.y


def _difference(both: UnitCost, first: UnitCost) -> UnitCost:
    """Return the cost of the second of two units."""
    names = ("forward", "dx", "dw", "kept_bytes", "backward_bytes", "num_parameters", "num_frozen")
    second = replace(both, **{name: max(0, getattr(both, name) - getattr(first, name)) for name in names})
    return second if second.num_parameters > second.num_frozen else replace(second, dw=0.0)


def _with_loss(last: UnitCost, loss: Loss, outputs: Any, targets: Any, device: Device, end: float) -> UnitCost:
    ctx = Context(device=device)

    def forward() -> None:
        loss.forward(outputs, targets, ctx)

    def backward() -> None:
        loss.backward(ctx)

    seconds = medians((forward, backward), lambda: None, device, max(0.0, end - time.perf_counter()))
    return replace(
        last,
        forward=last.forward + seconds[0],
        dx=last.dx + seconds[1],
        kept_bytes=last.kept_bytes + ctx.num_bytes,
    )


def medians(
    phases: Sequence[Callable[[], None]], prepare: Callable[[], None], device: Device, seconds: float
) -> list[float]:
    """Return the median seconds of each phase, by the clock of the device: the work, not the call that queues it.

    All phases run in turn, each time after ``prepare``: once that does not count, then at least once, and again until
    ``seconds`` are over.
    """
    rows: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(rows) < 2 or (len(rows) <= REPEATS and time.perf_counter() < end):
        prepare()
        marks = [device.compute.record(timed=True)]
        for phase in phases:
            phase()
            marks.append(device.compute.record(timed=True))
        marks[-1].wait()
        rows.append([after.seconds_since(before) for before, after in pairwise(marks)])
    return [float(value) for value in np.median(rows[1:], axis=0)]
