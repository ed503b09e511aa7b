"""mpitrain with a fault at one call of one function on some ranks: python doomed.py FAULT [ARGUMENTS of mpitrain].

FAULT is JSON: kind, ranks (as launched), point, call (counted from 0). Every rank notes in the file that DEALT names
which samples it was dealt for a step (before it is done; in a pipeline, if it has the first stage), and which steps are
done, each with a number that grows when the run is begun again or loses ranks: so the campaign can tell what each epoch
has really used.
"""

import errno
import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from mpitrain.cli.main import main
from mpitrain.comm.channel import Channel
from mpitrain.comm.launch import launched_rank
from mpitrain.comm.ranks import Ranks
from mpitrain.comm.shared_file import SharedFile
from mpitrain.comm.watch.watched import WatchedPlan
from mpitrain.comm.world import World
from mpitrain.data.loader import Loader
from mpitrain.layers import Flatten, Linear
from mpitrain.layers.fused.linear_chain import LinearLink
from mpitrain.optim import SGD
from mpitrain.parallel.pipeline.forward import PipelineForward
from mpitrain.parallel.pipeline.runner import StageRunner
from mpitrain.training.loop import TrainingLoop
from mpitrain.training.scoring.evaluation import Evaluator

POINTS = {
    "step": ([TrainingLoop], "_train_step"),
    "task": ([StageRunner], "forward", "backward", "weights"),
    "message": ([Channel], "receive"),
    "send": ([Channel], "send"),
    "evaluation": ([PipelineForward], "outputs"),
    "input": ([Loader], "_microbatch"),
    "forward": ([Flatten, Linear, LinearLink], "forward"),  # the layers of an mlp, fused or not
    "backward": ([Flatten, Linear, LinearLink], "backward"),
    "start": ([WatchedPlan], "start"),
    "poll": ([WatchedPlan], "poll"),
    "wait": ([WatchedPlan], "wait"),
    "update": ([SGD], "step"),
    "sum": ([Ranks], "sum"),
    "gather": ([Ranks], "all_gather"),
    "evaluate": ([Evaluator], "scores"),
    "write": ([SharedFile], "write_at"),
}
fault = json.loads(sys.argv[1])
world = None
healthy_init, healthy_step = World.__init__, TrainingLoop._train_step
log = os.open(os.environ["DEALT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
life = int(os.environ.get("LIFE", "0"))


def noted_init(self, *args, **options):
    global world
    healthy_init(self, *args, **options)
    world = self


def noted_step(self, microbatches):
    number = life * 100 + len(self.run.world.launched) - self.run.world.size
    pipeline = self.run.setup.pipeline
    uses = pipeline is None or 0 in pipeline.stages.own
    samples = [int(i) for batch in microbatches for i in batch.indices if uses]
    note = {"epoch": self.run.position.epoch, "step": self.run.step + 1, "number": number}
    os.write(log, (json.dumps({**note, "samples": samples}) + "\n").encode())
    sums = healthy_step(self, microbatches)
    os.write(log, (json.dumps({**note, "done": True}) + "\n").encode())
    return sums


def strike(kind):
    if kind == "raise":
        raise RuntimeError("a fault for the test")
    if kind == "mismatch":
        World.sum(world, np.zeros(3))
    elif kind == "delay":
        time.sleep(0.4)
    elif kind == "full":
        SharedFile.write_at = no_space
    elif kind == "corrupt":
        for path in sorted(Path("run/checkpoints").glob("step-*"))[-1:]:
            damage(path)
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[kind])


def no_space(self, offset, data):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def damage(path):
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 255]))


def doom(point, call, kind):
    owners, *names = POINTS[point]
    calls = itertools.count()

    def counted(healthy):
        def doomed(*args, **options):
            if world is not None and next(calls) == call:
                strike(kind)
            return healthy(*args, **options)

        return doomed

    for owner, name in itertools.product(owners, names):
        setattr(owner, name, counted(getattr(owner, name)))


World.__init__, TrainingLoop._train_step = noted_init, noted_step
if fault and launched_rank() in fault["ranks"]:
    doom(fault["point"], fault["call"], fault["kind"])
sys.exit(main(sys.argv[2:]))
