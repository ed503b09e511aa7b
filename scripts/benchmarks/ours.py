"""Our side of scripts/bench step."""

import sys
from collections.abc import Callable

import numpy as np
from cases import GROUPS, HEAD, NUM_CLASSES, POSITIONS, RATE, TRANSFORMERS, VOCABULARY, WORDS, Case

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.comm.world import World
from mpitrain.context import Context
from mpitrain.data.loader import Batch
from mpitrain.device import CPU, Device
from mpitrain.head_loss import split_head
from mpitrain.layers import GELU, Conv2d, Layer, LayerNorm, Linear, MultiHeadAttention
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.model_table import ModelTable
from mpitrain.optim import SGD, AdamW, QueuedUpdate
from mpitrain.parallel.data import DataParallel
from mpitrain.training.executors.graphed import StepGraphs


def num_parameters(case: Case) -> int:
    """Return the number of trainable scalars of the network."""
    return sum(entry.size for entry in ModelTable.of(make_model(case.model, case.input_shape)).parameters)


def make_model(name: str, input_shape: tuple[int, ...]) -> Layer:
    """Return the network."""
    texts = {"minilm": f"bert:vocabulary={WORDS},window={POSITIONS}", "gpt2": "gpt:size=gpt2"}
    text = texts.get(name, name.partition("-")[0])
    return models.build(text, input_shape, VOCABULARY.get(name, NUM_CLASSES))


def make_step(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    world: World,
    device: Device = CPU,
    *,
    graph: bool = False,
    compress: str = "none",
) -> Callable[[], None]:
    """Return the step that the trainer makes, without its bookkeeping, on this rank's samples x (n, ...) and y (n,).

    ``graph``: forward and backward, and the update, as CUDA graphs, from the third step on.
    """
    model = make_model(name, x.shape[1:])
    arena = Arena(model.named_parameters(), model.named_states(), device=device)
    data_parallel = DataParallel(model, arena, world, synchronize_batch_norm=False, compress=compress)
    optimizer = AdamW(arena) if name in TRANSFORMERS else SGD(arena, momentum=0.9)
    ctx, (body, loss) = Context(device=device), split_head(model, SoftmaxCrossEntropy())
    inputs, targets = device.from_host(x), device.from_host(y)
    batch = Batch(inputs, targets, 0, np.arange(len(x)))
    graphs = StepGraphs(arena, ctx, 1, [], sys.exit) if graph else None
    norm = data_parallel.queued_norm()
    queued = None if norm is None else QueuedUpdate(optimizer, norm, 0.0, graph, sys.exit)

    def work() -> None:
        arena.add_totals(loss.forward(body.forward(inputs, ctx), targets, ctx))
        body.backward(loss.backward(ctx), ctx)

    def step() -> None:
        data_parallel.begin()
        work() if graphs is None else graphs.run(0, batch, work)
        if queued is None:
            data_parallel.finish()
            data_parallel.update(optimizer, RATE, 1 / float(arena.header[0]))
        else:
            queued.begin(RATE)
            data_parallel.finish(queued.queue)

    return step


def make_layer_step(model: str, x: np.ndarray) -> Callable[[], None]:
    """Return forward and backward (dx and dw) of a layer that has as many outputs as channels."""
    size = x.shape[-1]
    make = {
        "conv3x3": lambda: Conv2d(size, size, 3, padding=1, bias=False),
        "depthwise3x3": lambda: Conv2d(size, size, 3, padding=1, groups=size, bias=False),
        "grouped3x3": lambda: Conv2d(size, size, 3, padding=1, groups=GROUPS, bias=False),
        "dilated3x3": lambda: Conv2d(size, size, 3, padding=2, dilation=2, bias=False),
        "linear": lambda: Linear(size, size),
        "layernorm": lambda: LayerNorm(size),
        "gelu": GELU,
        "attention": lambda: MultiHeadAttention(size, size // HEAD, causal=True),
    }
    layer, ctx = make[model](), Context()
    arena, ones, dy = Arena(layer.named_parameters()), np.ones_like(x), np.ones_like(x)

    def step() -> None:
        arena.begin_step()
        layer.forward(x, ctx)
        if model == "gelu":  # which writes over dy
            np.copyto(dy, ones)
        layer.backward(dy, ctx)

    return step
