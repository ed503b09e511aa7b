"""Checkpoints of cut tensors: the file of the whole model, read again by ranks with any other parts."""

import math
from itertools import pairwise

import numpy as np
import pytest

from mpitrain.arena import Arena, Parameter, Shard
from mpitrain.arena import State as Statistics
from mpitrain.layers import init
from mpitrain.model_table import ModelTable
from mpitrain.optim import AdamW
from mpitrain.training.checkpoint import Checkpoint, State, parts
from mpitrain.training.checkpoint.parts import Part
from mpitrain.training.checkpoint.state import held
from tests.unit.test_checkpoint_stages import contents, random_slices


def random_tensors(rng):
    """Return the shapes of the parameters and states of a model by name; some have no elements."""
    dims = rng.integers(1, 4, 6)
    return (
        {f"p{i}": tuple(rng.integers(0 if i == 3 else 1, 7, n).tolist()) for i, n in enumerate(dims)},
        {f"s{i}": (int(rng.integers(1, 9)),) for i in range(3)},
    )


def random_shards(shape, count, rng):
    """Return the parts of ``count`` ranks, of which each may have several ranges, or none."""
    if rng.random() < 0.3:
        return [None] * count
    dim = int(rng.integers(len(shape)))
    places = sorted(rng.integers(0, shape[dim] + 1, 2 * count).tolist())
    owners = rng.integers(0, count, len(places) + 1).tolist()
    pieces = list(zip(pairwise([0, *places, shape[dim]]), owners, strict=True))
    ranges = [tuple(piece for piece, owner in pieces if owner == rank) for rank in range(count)]
    return [Shard(dim, one, "tensor") for one in ranges]


def make_states(tensors, count, rng):
    """Return the training states of ``count`` ranks with different parts of a model."""
    shards = [{name: random_shards(shape, count, rng) for name, shape in some.items()} for some in tensors]
    made = []
    for rank in range(count):
        parameters = [(n, Parameter(s, init.zeros, shard=shards[0][n][rank])) for n, s in tensors[0].items()]
        states = [(n, Statistics(s, 0.0, shard=shards[1][n][rank])) for n, s in tensors[1].items()]
        arena = Arena(parameters, states, whole=ModelTable.of_tensors(parameters, states))
        made.append(State(arena, AdamW(arena)))
    return made


def expected(prefix, tensor):
    """Return the part of a rank of a tensor in which each number is another one."""
    size = math.prod(tensor.full_shape)
    whole = np.arange(size, dtype=np.float32).reshape(tensor.full_shape) + 1000 * len(prefix + tensor.name)
    return whole if tensor.shard is None else tensor.shard.take(whole)


def fill(state):
    for prefix, flat in state.buffers().items():
        for p in state.arena.parameters:
            flat[p.start : p.stop] = expected(prefix, p).reshape(-1)
    for s in state.arena.state_list:
        s.data[...] = expected("", s)


def written(tensors, num_parts, num_data, rng):
    made, before = [], frozenset()
    for state in make_states(tensors, num_parts, rng):
        fill(state)
        slices = random_slices(state.arena, num_data, rng)
        made += [Part(state, slices[rank], rank, left_out=before) for rank in range(num_data)]
        before |= {held(tensor) for tensor in state.arena.tensors}
    return contents(made)


@pytest.mark.parametrize("scratch", [0, 64 << 20])
@pytest.mark.parametrize("seed", range(30))
def test_written_by_any_parts_and_read_by_any_others(tmp_path, seed, scratch, monkeypatch):
    monkeypatch.setattr(parts, "LARGEST_SCRATCH", scratch)  # checksums run by run, or of a whole tensor
    rng = np.random.default_rng(seed)
    tensors = random_tensors(rng)
    data = written(tensors, int(rng.integers(1, 5)), int(rng.integers(1, 4)), rng)
    assert data == written(tensors, 1, 1, rng)
    path = tmp_path / "step-000000001.safetensors"
    path.write_bytes(data)
    checkpoint = Checkpoint(path)
    checkpoint.verify()
    for state in make_states(tensors, int(rng.integers(1, 5)), rng):
        (slices,) = random_slices(state.arena, 1, rng)
        checkpoint.load(state, slices)
        for prefix, flat in state.buffers().items():
            for p in state.arena.parameters:
                np.testing.assert_array_equal(flat[p.start : p.stop].reshape(p.shape), expected(prefix, p), p.name)
        for s in state.arena.state_list:
            np.testing.assert_array_equal(s.data, expected("", s), s.name)
