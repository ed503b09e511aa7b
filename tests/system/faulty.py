"""mpitrain with a fault: python faulty.py KIND RANK STEP [ARGUMENTS of mpitrain].

KIND: raise, user-error, kill (SIGKILL to itself), interrupt (SIGINT to itself), drift (one weight changes).
"""

import os
import signal
import sys

from mpitrain.cli.main import main
from mpitrain.errors import UserError
from mpitrain.training.trainer import Trainer

kind, rank, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
healthy_step = Trainer._train_step


def faulty_step(self, microbatches):
    if self.world.rank == rank and self.step == step:
        if kind == "raise":
            raise RuntimeError("a fault for the test")
        if kind == "user-error":
            raise UserError("bad input for the test")
        if kind == "drift":
            self.session.arena.parameters[0].data.flat[0] += 1e-3
        else:
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}[kind])
    return healthy_step(self, microbatches)


Trainer._train_step = faulty_step
sys.exit(main(sys.argv[4:]))
