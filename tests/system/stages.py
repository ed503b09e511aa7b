"""Three stages that send each other activations and gradients, one of which fails: python stages.py KIND SECONDS.

KIND: stop, kill, sleep (what stage 1 does instead of a task), forgets (stage 1 sends nothing), circle (all wait for
each other), length (an activation of another length), mesh (sizes that do not fit).
"""

import os
import signal
import sys
import time

import numpy as np

import mpitrain as mt

kind, seconds = sys.argv[1], float(sys.argv[2])
ACTIVATION, GRADIENT = 0, 100


def oversleep():
    time.sleep(1000)


FAULTS = {
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sleep": oversleep,
}

world = mt.World()
world.watch(seconds)
world.first_step_done()
pipe = mt.Mesh(world, "data=2,pipe=4" if kind == "mesh" else "pipe=3")["pipe"]
channel, stage = mt.Channel(pipe), pipe.rank
x, dy = np.zeros((8, 1000)), np.zeros((8, 1000))
for microbatch in range(5):
    here = f"of microbatch {microbatch}"
    arrivals, sends = [], []
    if kind == "circle" and microbatch == 3:
        channel.receive(x[3], (stage + 1) % 3, ACTIVATION + 3, f"activation {here} from the right").wait()
    if stage > 0:
        label = f"activation {here} from stage {stage - 1}"
        arrivals.append(channel.receive(x[microbatch], stage - 1, ACTIVATION + microbatch, label))
    if stage < 2:
        label = f"gradient {here} from stage {stage + 1}"
        arrivals.append(channel.receive(dy[microbatch], stage + 1, GRADIENT + microbatch, label))
    if stage == 1 and microbatch == 3 and kind in FAULTS:
        FAULTS[kind]()
    if not (stage == 1 and microbatch == 3 and kind == "forgets"):
        if stage < 2:
            y = np.ones(999 if kind == "length" and microbatch == 3 and stage == 1 else 1000)
            label = f"activation {here} to stage {stage + 1}"
            sends.append(channel.send(y, stage + 1, ACTIVATION + microbatch, label))
        if stage > 0:
            label = f"gradient {here} to stage {stage - 1}"
            sends.append(channel.send(np.ones(1000), stage - 1, GRADIENT + microbatch, label))
    for message in arrivals + sends:
        message.wait()
world.barrier()
world.leave(0)
print("finished")
