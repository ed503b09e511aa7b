"""mpitrain with a fault: python faulty.py KIND RANK STEP [ARGUMENTS of mpitrain].

KIND: raise, user-error, drift (one weight changes), limit (files longer than 250 kB cannot be written any more),
a signal to itself: kill, interrupt, term, usr1, usr2, hup; or kill-writing (SIGKILL in the first write of a checkpoint
begun after STEP). RANK -1 means all ranks.
"""

import os
import resource
import signal
import sys

from mpitrain.cli.main import main
from mpitrain.comm.shared_file import SharedFile
from mpitrain.errors import UserError
from mpitrain.training.loop import TrainingLoop

ALL = -1
kind, rank, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
healthy_step, healthy_write = TrainingLoop._train_step, SharedFile.write_at
SIGNALS = {
    "kill": signal.SIGKILL,
    "interrupt": signal.SIGINT,
    "term": signal.SIGTERM,
    "usr1": signal.SIGUSR1,
    "usr2": signal.SIGUSR2,
    "hup": signal.SIGHUP,
}


def half_a_write(self, offset, data):
    healthy_write(self, offset, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def faulty_step(self, microbatches):
    if rank in (self.run.world.rank, ALL) and self.run.step == step:
        if kind == "raise":
            raise RuntimeError("a fault for the test")
        if kind == "user-error":
            raise UserError("bad input for the test")
        if kind == "drift":
            self.run.setup.arena.parameters[0].data.flat[0] += 1e-3
        elif kind == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, resource.RLIM_INFINITY))
        elif kind == "kill-writing":
            SharedFile.write_at = half_a_write
        else:
            os.kill(os.getpid(), SIGNALS[kind])
    return healthy_step(self, microbatches)


TrainingLoop._train_step = faulty_step
sys.exit(main(sys.argv[4:]))
