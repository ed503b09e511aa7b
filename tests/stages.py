"""Models in parts, as the ranks of a mesh hold them, with numbers that depend on the names of tensors only."""

import zlib
from itertools import chain, pairwise

import numpy as np

from mpitrain.arena import Arena
from mpitrain.layers import BatchNorm2d, Linear, ReLU, Sequential
from mpitrain.model_table import ModelTable
from mpitrain.models import build
from mpitrain.optim import SGD, AdamW
from mpitrain.training.checkpoint import State


def tied():
    """Two layers of one weight, and a layer that is there twice, with its running statistics."""
    first, last, norm = Linear(6, 6), Linear(6, 6), BatchNorm2d(6)
    last.weight = first.weight
    last.weight.uses = 2
    middle = Sequential(Linear(6, 5, bias=False), BatchNorm2d(5), ReLU(), Linear(5, 6))
    return Sequential(first, norm, middle, last, norm, Linear(6, 3))


MODELS = {
    "mlp": lambda: build("mlp:widths=8+9+7", (3,), 5),
    "resnet8": lambda: build("resnet8", (8, 8, 3), 4),
    "tied": tied,
}
OPTIMIZERS = {"sgd": lambda arena: SGD(arena, momentum=0.9), "adamw": AdamW}


def cut(num_units, num_stages, num_chunks, rng):
    """Return the units (first, stop) of each chunk of each stage: random cuts, so that some chunks may be empty."""
    places = sorted(rng.integers(0, num_units + 1, num_stages * num_chunks - 1).tolist())
    chunks = list(pairwise([0, *places, num_units]))
    stages = [[] for _ in range(num_stages)]
    for number, chunk in enumerate(chunks):
        turn, place = divmod(number, num_stages)
        back = turn % 2 and num_chunks == 2  # the V placement: the last stage has the two chunks in the middle
        stages[num_stages - 1 - place if back else place].append(chunk)
    return stages


def stage_arena(name, chunks, seed=0, **options):
    """Return the arena of some parts of a model."""
    model = MODELS[name]()
    parts = [model.part(first, stop) for first, stop in chunks]
    parameters, states = ([*part.named_parameters()] for part in parts), ([*part.named_states()] for part in parts)
    return Arena(chain(*parameters), chain(*states), whole=ModelTable.of(model), seed=seed, **options)


def numbers(name, size, rank=0):
    """Return what the tensor of that name holds (on a rank with states of its own)."""
    return np.random.default_rng([rank, zlib.crc32(name.encode())]).standard_normal(size).astype(np.float32)


def filled(arena, optimizer, slices=None, rank=0):
    """Return a state with the numbers of its names; slots hold NaN outside of ``slices``."""
    state = State(arena, OPTIMIZERS[optimizer](arena))
    for prefix, flat in state.buffers().items():
        for p in arena.parameters:
            flat[p.start : p.stop] = numbers(prefix + p.name, p.size)
        if prefix and slices is not None:
            flat[~inside(arena, slices)] = np.nan
    for s in arena.state_list:
        s.data[...] = numbers(s.name, s.size, rank)
    return state


def blank(arena, optimizer):
    """Return a state full of NaN, with zeros between the parameters."""
    state = State(arena, OPTIMIZERS[optimizer](arena))
    for flat in state.buffers().values():
        for p in arena.parameters:
            flat[p.start : p.stop] = np.nan
    arena.states[:] = np.nan
    return state


def inside(arena, slices):
    """Return where the arena is in ``slices``."""
    mine = np.zeros(arena.size, bool)
    for part in slices:
        mine[part] = True
    return mine


def assert_filled(state, slices, rank=0):
    """Assert that each tensor holds its numbers, to the bit; slots only in ``slices``, and NaN elsewhere."""
    arena = state.arena
    for prefix, flat in state.buffers().items():
        mine = inside(arena, slices if prefix and slices is not None else [slice(None)])
        for p in arena.parameters:
            wanted = np.where(mine[p.start : p.stop], numbers(prefix + p.name, p.size), np.float32("nan"))
            np.testing.assert_array_equal(flat[p.start : p.stop], wanted, prefix + p.name)
    for s in arena.state_list:
        np.testing.assert_array_equal(s.data, numbers(s.name, s.size, rank), s.name)
