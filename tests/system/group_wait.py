"""Ranks 0 and 2 sum on an axis of their own; rank 2 does not come: python group_wait.py SECONDS."""

import sys
import time

import numpy as np
from mpi4py import MPI

from mpitrain.comm.world import World

world = World()
world.watch(float(sys.argv[1]))
world.first_step_done()
group = world.group("tensor", MPI.COMM_WORLD.Split(world.rank % 2, world.rank))
if world.rank != 1:
    group.all_reduce(np.ones(10), "ring")
if world.rank == 2:
    time.sleep(1000)
if world.rank != 1:
    group.all_reduce(np.ones(10), "ring")
world.barrier()
