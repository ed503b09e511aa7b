"""Gradient hooks: a user's sums train as ours do, and each mistake in one is a sentence on all ranks."""

import numpy as np
import pytest

from mpitrain import Trainer
from mpitrain.errors import AgreedError, UserError

pytestmark = pytest.mark.mpi

FILE = """
import numpy as np

def right(group, gradient, step, state):
    group.all_reduce(gradient, "ring")

def returned(group, gradient, step, state, *, times=1):
    state["calls"] = state.get("calls", -1) + 1
    assert state["calls"] == step
    return group.all_reduce(gradient.copy(), "ring") * np.float32(times)

def shape(group, gradient, step, state):
    return gradient[1:]

def kind(group, gradient, step, state):
    return gradient.astype(np.float64)

def nan(group, gradient, step, state):
    group.all_reduce(gradient, "ring")
    if step == 2 and group.rank == 0:
        gradient[3] = np.nan

def differs(group, gradient, step, state):
    group.all_reduce(gradient, "ring")
    if step == 1 and group.rank == group.size - 1:
        gradient[3] += 1

def fails(group, gradient, step, state):
    group.all_reduce(gradient, "ring")
    if step == 1:
        raise KeyError("lost")

def few(group, gradient):
    pass
"""
OPTIONS = {"epochs": 1, "progress": "none", "batch_size": 200, "check_every": 1}


@pytest.fixture
def file(world, directory):
    path = directory / "mine.py"
    if world.rank == 0:
        path.write_text(FILE)
    world.barrier()
    return path


def train(world, **options):
    trainer = Trainer("mlp:widths=16", "digits", world=world, **OPTIONS | options)
    trainer.fit()
    return trainer.setup.arena.values.copy()


@pytest.mark.parametrize("name", ["right", "returned", "returned:times=1"])
def test_sums_of_the_user_train_as_ours(world, file, name):
    ours = train(world, shard="none", all_reduce="ring", bucket_mb=0.001)
    theirs = train(world, gradient_hook=f"{file}:{name}", bucket_mb=0.001)
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("shape", UserError, r"has returned float32 \(\d+,\), but must return None or float32 \(\d+,\), in step 1"),
        ("kind", UserError, r"has returned float64 \(\d+,\), but must return None or float32 \(\d+,\), in step 1"),
        ("nan", AgreedError, "has made a NaN or an infinity of finite gradients in step 3"),
        ("differs", AgreedError, r"has left other sums on rank \d than on rank \d in step 2"),
        ("fails", UserError, r"failed: KeyError: 'lost' \(line 31\) in step 2"),
        ("few", AgreedError, r"few in .*mine.py must take \(group, gradient, step, state\)"),
        ("fewer", AgreedError, "mine.py has no function 'fewer'; did you mean 'few'"),
        ("right:times=1", AgreedError, "has no option 'times'"),
    ],
)
def test_a_mistake_is_one_sentence(world, file, name, error, message):
    if world.size == 1 and name in ("shape", "kind", "nan", "differs", "fails"):
        train(world, gradient_hook=f"{file}:{name}")  # one rank has nothing to sum
        return
    with pytest.raises(error, match=message):
        train(world, gradient_hook=f"{file}:{name}")


@pytest.mark.parametrize("more", [{"all_reduce": "ring"}, {"shard": "optimizer"}, {"compress": "int8"}])
def test_other_ways_to_sum_are_refused(world, file, more):
    with pytest.raises(AgreedError, match="does not go with --gradient-hook, which sums the gradients itself"):
        train(world, gradient_hook=f"{file}:right", **more)


def test_settings_that_are_refused(world, file):
    pipe = [({"mesh": "pipe=2"}, "--gradient-hook does not go with a pipeline yet")] if world.size == 2 else []
    for more, message in (({"reproducible": 4}, "--gradient-hook does not go with --reproducible"), *pipe):
        with pytest.raises(AgreedError, match=message):
            train(world, gradient_hook=f"{file}:right", **more)
