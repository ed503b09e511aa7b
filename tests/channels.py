"""Channels between the ranks of a job, for tests."""

import numpy as np
from mpi4py import MPI

from mpitrain.comm.channel import Channel
from mpitrain.comm.schedule.staging import HOST

SIZES = (0, 1, 5, 400, 1001)  # elements of 8 bytes


def open_channel(world, staging=HOST):
    """Make a channel between the stages of a pipeline of all ranks; every rank calls it."""
    pipe = world.group("pipe", MPI.COMM_WORLD)
    pipe.use_staging(staging)
    return Channel(pipe)


def around(world):
    return (world.rank + 1) % world.size, (world.rank - 1) % world.size


def values(num_elements, *key):
    return np.random.default_rng(key).standard_normal(num_elements)
