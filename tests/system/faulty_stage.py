"""mpitrain with a fault in a task of one rank of a mesh: python faulty_stage.py KIND TASK RANK CALL [ARGUMENTS].

KIND: stop (SIGSTOP to itself), sleep, kill (SIGKILL to itself), raise, nan (a NaN in what the task computes).
TASK: forward, backward, weights (tasks of training), or evaluation (forward alone). CALL is counted from 0.
"""

import itertools
import os
import signal
import sys
import time

from mpitrain.cli.main import main
from mpitrain.comm.launch import launched_rank
from mpitrain.layers import Linear
from mpitrain.layers.fused.linear_chain import LinearLink
from mpitrain.parallel.pipeline.forward import _Stage
from mpitrain.parallel.pipeline.runner import StageRunner

TASKS = {
    "forward": (StageRunner, "forward"),
    "backward": (StageRunner, "backward"),
    "weights": (StageRunner, "weights"),
    "evaluation": (_Stage, "forward"),
}
kind, task, rank, call = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
calls, is_struck = itertools.count(), False


def oversleep():
    time.sleep(1000)


def fail():
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "sleep":
        oversleep()
    elif kind == "raise":
        raise RuntimeError("a fault for the test")


def in_a_layer(healthy):
    def faulty(*args):
        if is_struck:
            fail()
        return healthy(*args)

    return faulty


def in_a_task(healthy):
    def faulty(*args):
        global is_struck
        is_struck = next(calls) == call
        if is_struck and task == "weights":
            fail()
        return healthy(*args)

    return faulty


if launched_rank() == rank:
    owner, name = TASKS[task]
    setattr(owner, name, in_a_task(getattr(owner, name)))
    for layer in (Linear, LinearLink):
        method = "backward" if task == "backward" else "forward"
        setattr(layer, method, in_a_layer(getattr(layer, method)))
sys.exit(main(sys.argv[5:]))
