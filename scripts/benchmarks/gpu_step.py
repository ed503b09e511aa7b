"""Training steps on one GPU, ours against PyTorch's: REPEAT FILE; the rows go to FILE.

Both run eagerly and as a CUDA graph, what a small model is launch-bound without: PyTorch's of the whole step, ours of
forward and backward.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ours
import peer
import torch
from cases import NUM_CLASSES
from torch import nn

from mpitrain.comm.world import World
from mpitrain.device import Device, open_gpu
from mpitrain.errors import UserError
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
    try:
        device = open_gpu("training steps cannot be measured")
    except UserError as error:
        sys.exit(str(error))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    file.write_text(json.dumps([row for case in CASES for row in measure(case, repeat, device, "cuda")]))


def measure(case: tuple[str, tuple[int, ...], int], repeat: int, device: Device, theirs: str) -> list[dict]:
    """Return the rows of one case; PyTorch is on its device ``theirs``."""
    name, shape, batch = case
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, *shape), np.float32), rng.integers(0, NUM_CLASSES, batch)
    world = World()
    use_device(device, world)
    contenders = {
        "ours": ours.make_step(name, x, y, world, device),
        "our graph": ours.make_step(name, x, y, world, device, graph=device.captures),
        f"{torch.__version__} eager": peer_step(name, x, y, theirs),
    }
    if theirs == "cuda":
        contenders[f"{torch.__version__} CUDA graph"] = graphed(peer_step(name, x, y, theirs))
    wait = torch.cuda.synchronize if theirs == "cuda" else device.synchronize
    medians = rounds(list(contenders.values()), repeat, wait)
    return [
        {
            **{"name": f"{name}, batch {batch}", "ours_us": medians[0], "graph_us": medians[1]},
            **{"peer": what, "peer_us": microseconds},
        }
        for what, microseconds in zip(list(contenders)[2:], medians[2:], strict=True)
    ]


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
