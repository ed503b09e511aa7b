"""The peak memory of a process that makes steps of one side only: CASE ours|peer, prints megabytes."""

import os
import resource
import sys

import numpy as np
from cases import CASES, LAYERS, TRANSFORMERS

STEPS = 5


def main() -> None:
    case, side = CASES[int(sys.argv[1])], sys.argv[2]
    x, y = case.samples()
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
        setting = peer.TRANSFORMER_SETTINGS[0] if case.model in TRANSFORMERS else peer.SETTINGS[2 if x.ndim == 4 else 0]
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
