"""mpitrain with a rank that does not come, or does something else: python hanging.py KIND RANK STEP [ARGUMENTS].

KIND: stop (SIGSTOP to itself), sleep, loop (for ever), stuck-reader, one-more (a collective that the others do not
call), other-order, other-size, other-dtype, other-model, slow (in every step).
"""

import os
import signal
import sys
import time

import numpy as np

from mpitrain.cli.main import main
from mpitrain.data.loader import Loader
from mpitrain.training import setup
from mpitrain.training.loop import TrainingLoop

kind, rank, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
healthy_step, healthy_input, healthy_model = TrainingLoop._train_step, Loader._prepare, setup.make_model


def oversleep():
    time.sleep(1000)


def run_in_circles():
    while True:
        pass


def one_rank_fails(loop):
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "sleep":
        oversleep()
    elif kind == "loop":
        run_in_circles()
    elif kind == "one-more":
        loop.run.world.all_gather(None)


def all_ranks_call(world, odd):
    if kind == "other-order":
        first, then = (world.maximum, world.minimum) if odd else (world.minimum, world.maximum)
        first(np.zeros(4))
        then(np.zeros(4))
    elif kind == "other-size":
        world.sum(np.zeros(5 if odd else 4))
    elif kind == "other-dtype":
        world.sum(np.zeros(2, np.float64) if odd else np.zeros(4, np.float32))


def faulty_step(self, microbatches):
    if kind == "slow" and self.run.world.rank == rank:
        time.sleep(0.05)
    if self.run.step == step:
        if self.run.world.rank == rank:
            one_rank_fails(self)
        all_ranks_call(self.run.world, self.run.world.rank == rank)
    return healthy_step(self, microbatches)


def stuck_input(self, epoch, start_step):
    if kind == "stuck-reader" and self.rank == rank and epoch == 2:
        time.sleep(1000)
    yield from healthy_input(self, epoch, start_step)


def other_model(config, input_shape, num_outputs, *others):
    launched = int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0")))
    return healthy_model(config, input_shape, num_outputs + (kind == "other-model" and launched == rank), *others)


TrainingLoop._train_step, Loader._prepare, setup.make_model = faulty_step, stuck_input, other_model
sys.exit(main(sys.argv[4:]))
