"""Training steps on one GPU, ours beside PyTorch's: REPEAT FILE; the rows go to FILE.

PyTorch runs eagerly, and as a CUDA graph of the whole step (what a small model is launch-bound without).
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peer
import torch
from cases import NUM_CLASSES
from torch import nn

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.comm.world import World
from mpitrain.device import CPU, assign, look, open_device
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.optim import SGD
from mpitrain.parallel.data import DataParallel
from mpitrain.saved import Saved
from mpitrain.training.devices import use_device

CASES = [
    ("mlp", (784,), 64),
    ("mlp", (784,), 512),
    ("lenet", (32, 32, 3), 64),
    ("lenet", (32, 32, 3), 256),
    ("resnet20", (32, 32, 3), 256),
]
STEPS, WARM_UP = 20, 3  # steps of a round; rounds that do not count
Step = Callable[[], object]


def main() -> None:
    repeat, file = int(sys.argv[1]), Path(sys.argv[2])
    sight = look("cuda", 0)
    device = open_device(assign([sight])[0])
    if device is CPU:
        sys.exit(f"training steps cannot be measured here: {sight.reason}")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    file.write_text(json.dumps([row for case in CASES for row in measure(case, repeat, device, "cuda")]))


def measure(case: tuple[str, tuple[int, ...], int], repeat: int, device: object, theirs: str) -> list[dict]:
    """Return the rows of one case; PyTorch is on its device ``theirs``."""
    name, shape, batch = case
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, *shape), np.float32), rng.integers(0, NUM_CLASSES, batch)
    ours, finish = our_step(name, x, y, device)
    eager = peer_step(name, x, y, theirs)
    contenders = {"": ours, f"{torch.__version__} eager": eager}
    if theirs == "cuda":
        contenders[f"{torch.__version__} CUDA graph"] = graphed(peer_step(name, x, y, theirs))
    medians = rounds(list(contenders.values()), repeat, wait=torch.cuda.synchronize if theirs == "cuda" else finish)
    return [
        {"name": f"{name}, batch {batch}", "ours_us": medians[0], "peer": what, "peer_us": microseconds}
        for what, microseconds in zip(list(contenders)[1:], medians[1:], strict=True)
    ]


def our_step(name: str, x: np.ndarray, y: np.ndarray, device: object) -> tuple[Step, Callable[[], None]]:
    """Return the step that the trainer makes, and what waits for it."""
    world = World()
    use_device(device, world)
    model = models.build(name, x.shape[1:], NUM_CLASSES)
    arena = Arena(model.named_parameters(), model.named_states(), device=device)
    data_parallel = DataParallel(model, arena, world)
    optimizer, loss, saved = SGD(arena, momentum=0.9), SoftmaxCrossEntropy(), Saved(device=device)
    inputs, targets = device.from_host(x), device.from_host(y)

    def step() -> None:
        data_parallel.begin()
        arena.add_totals(loss.forward(model.forward(inputs, saved), targets, saved))
        model.backward(loss.backward(saved), saved)
        data_parallel.finish()
        data_parallel.update(optimizer, 0.01, 1 / float(arena.header[0]))

    return step, device.synchronise


def peer_step(name: str, x: np.ndarray, y: np.ndarray, where: str) -> Step:
    """Return PyTorch's step on the same samples, channels last."""
    model = peer.make_model(name).to(where)
    inputs, targets = torch.from_numpy(x).to(where), torch.from_numpy(y).to(where)
    if inputs.ndim == 4:
        model = model.to(memory_format=torch.channels_last)
        inputs = inputs.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    loss = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        optimizer.step()

    return step


def graphed(step: Step) -> Step:
    """Return the replay of a CUDA graph of ``step``, as PyTorch's notes on CUDA graphs make one."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def rounds(steps: list[Step], repeat: int, wait: Callable[[], object]) -> list[float]:
    """Return the median microseconds of a step of each; rounds take turns at going first."""
    seconds = np.empty((WARM_UP + repeat, len(steps)))
    for turn in range(len(seconds)):
        for i in range(len(steps)):
            which = (turn + i) % len(steps)
            wait()
            begin = time.perf_counter()
            for _ in range(STEPS):
                steps[which]()
            wait()
            seconds[turn, which] = (time.perf_counter() - begin) / STEPS
    return [float(1e6 * x) for x in np.median(seconds[WARM_UP:], axis=0)]


if __name__ == "__main__":
    main()
