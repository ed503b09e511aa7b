"""One rank of one case of scripts/bench step: CASE REPEAT FOLDER FILE CODEC, rank 0 writes the row to FILE."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ours
import peer
import torch
from cases import CASES, LAYERS, TRANSFORMERS, Case

from mpitrain.comm.world import World
from mpitrain.data.sampler import share
from mpitrain.device import CPU
from mpitrain.ops import OPS

WARM_UP = 2
BLOCK = 10
TRIAL = 10
PAUSE = 0.02  # seconds: an idle thread of PyTorch's pool spins for 10 ms, on a core that our threads need


def main() -> None:
    case, repeat, folder, file = CASES[int(sys.argv[1])], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    codec = sys.argv[5]
    CPU.use_threads(case.threads)
    torch.set_num_threads(case.threads)
    world = World()
    if world.size > 1:
        peer.join(world.rank, world.size, folder)
    mine = share(case.batch, world.rank, world.size)
    x, y = (array[mine] for array in case.samples())
    if case.model in LAYERS:
        step = ours.make_layer_step(case.model, x)
    else:
        step = ours.make_step(case.model, x, y, world, compress=codec or "none")
        theirs_has = sum(p.numel() for p in peer.make_model(case.model).parameters())
        assert ours.num_parameters(case) == theirs_has, "not the same network"
    setting, theirs = best_peer(case, x, y, world, codec)
    ours_ms, peer_ms = 1e3 * np.median(interleaved([step, theirs], repeat, world, case.threads), axis=1)
    if world.rank == 0:
        name = f"PyTorch {torch.__version__}, {' '.join(setting)}" + ", DDP gloo" * (world.size > 1)
        name += f", {codec}" if codec else ""
        row = {"name": case.name, "ranks": world.size, "threads": case.threads, "ours_ms": round(float(ours_ms), 4)}
        row |= {"peer": name, "peer_ms": round(float(peer_ms), 4), "ratio": round(float(ours_ms / peer_ms), 4)}
        if case.model == "conv3x3":
            work = 3 * 2 * 9 * x.size * case.input_shape[2] / float(ours_ms) / 1e6
            row["share_of_peak"] = round(work / (case.threads * peak_gflops()), 3)
        file.write_text(json.dumps(row))
    world.barrier()
    if world.size > 1:
        torch.distributed.destroy_process_group()


def peak_gflops() -> float:
    """Return the peak GFLOP/s of one core, by a product in its nearest cache."""
    x, w, y = np.ones((48, 128), np.float32), np.ones((128, 32), np.float32), np.empty((48, 32), np.float32)
    seconds = []
    for _ in range(2000):
        begin = time.perf_counter()
        OPS["linear"](x, w, None, y, False)
        seconds.append(time.perf_counter() - begin)
    return 2 * 48 * 128 * 32 / float(np.min(seconds)) / 1e9


def best_peer(
    case: Case, x: np.ndarray, y: np.ndarray, world: World, codec: str
) -> tuple[tuple[str, str], Callable[[], object]]:
    """Return PyTorch's fastest setting and its step: the same on all ranks, since the slowest one's times count."""
    if case.model in LAYERS:
        settings = peer.SETTINGS[::2] if x.ndim == 4 else peer.SETTINGS[:1]
        steps = [peer.make_layer_step(case.model, x, np.ones_like(x), setting) for setting in settings]
    else:
        settings = peer.SETTINGS if x.ndim == 4 else peer.SETTINGS[:2]
        if case.model in TRANSFORMERS:  # a compiled one with a hook writes over memory that is not its own
            settings = peer.TRANSFORMER_SETTINGS[:1] if codec else peer.TRANSFORMER_SETTINGS
        steps = [peer.make_step(case, x, y, setting, codec) for setting in settings]
    best = int(np.argmin(np.median(interleaved(steps, TRIAL, world, case.threads), axis=1)))
    return settings[best], steps[best]


def interleaved(steps: list[Callable[[], object]], repeat: int, world: World, threads: int) -> np.ndarray:
    """Return the seconds of each call (len(steps), repeat), those of the slowest rank.

    Steps go in blocks, one after another as in training; the first ones of a block, which fill caches and wake threads,
    are not counted. With several threads a block begins when those of the last one sleep.
    """
    seconds = np.empty((len(steps), repeat))
    for begin in range(0, repeat, BLOCK):
        for j in np.roll(range(len(steps)), begin // BLOCK):
            time.sleep(PAUSE if threads > 1 else 0)
            for i in range(begin - WARM_UP, min(begin + BLOCK, repeat)):
                world.barrier()
                start = time.perf_counter()
                steps[j]()
                seconds[j, max(i, begin)] = time.perf_counter() - start
    return world.maximum(seconds)


if __name__ == "__main__":
    main()
