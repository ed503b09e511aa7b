"""The peak memory of a process that makes steps of one side only: CASE ours|peer, prints megabytes."""

import os
import resource
import sys

import numpy as np
from cases import CASES, LAYERS, NUM_CLASSES

STEPS = 5


def main() -> None:
    case, side = CASES[int(sys.argv[1])], sys.argv[2]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.batch, *case.input_shape), np.float32)
    y = rng.integers(0, NUM_CLASSES, case.batch)
    lone = case.model in LAYERS
    if side == "ours":
        import ours

        from mpitrain.comm.world import World
        from mpitrain.device import CPU

        CPU.use_threads(case.threads)
        step = ours.make_layer_step(case.model, x) if lone else ours.make_step(case.model, x, y, World())
    else:
        import peer
        import torch

        torch.set_num_threads(case.threads)
        setting = peer.SETTINGS[2 if x.ndim == 4 else 0]
        step = (
            peer.make_layer_step(case.model, x, np.ones_like(x), setting)
            if lone
            else peer.make_step(case, x, y, setting)
        )
    for _ in range(STEPS):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    sys.stdout.flush()
    os._exit(0)  # nothing to tidy up


if __name__ == "__main__":
    main()
