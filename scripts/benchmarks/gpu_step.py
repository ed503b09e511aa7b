"""Training steps on one GPU, ours against PyTorch's (gpu_part.py has the command line).

Both run eagerly and as a CUDA graph, what a small model is launch-bound without: PyTorch's of the whole step, ours of
forward and backward. A language model runs in bf16: PyTorch's under autocast, eagerly and compiled, with fused AdamW.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
import ours
from cases import RATE, TRANSFORMERS, Case
from gpu_part import Part, open_part

from mpitrain.comm.world import World
from mpitrain.kernels.bench.stopwatch import LAUNCH_SECONDS
from mpitrain.kernels.launch import watched
from mpitrain.training.devices import use_device

try:
    import peer
    import torch
    from torch import nn
except ImportError:  # ours alone is measured
    torch = None

CASES = [
    ("mlp", (784,), 64),
    ("mlp", (784,), 512),
    ("lenet", (32, 32, 3), 64),
    ("lenet", (32, 32, 3), 256),
    ("resnet20", (32, 32, 3), 128),
    ("resnet20", (32, 32, 3), 256),
    ("gpt2", (1024,), 16),
]
SMALL = [("mlp", (784,), 2), ("resnet8", (32, 32, 3), 1)]
STEPS, WARM_UP = 20, 3  # steps of a round; rounds that do not count
Step = Callable[[], object]


def main() -> None:
    part = open_part("training steps cannot be measured")
    theirs = "cuda" if torch is not None and not part.small else None
    if torch is not None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    part.write(
        row for case in (SMALL if part.small else CASES) if not part.over() for row in measure(case, part, theirs)
    )


def measure(case: tuple[str, tuple[int, ...], int], part: Part, theirs: str | None) -> Iterator[dict]:
    """Yield the rows of one case; PyTorch is on its device ``theirs``, None to leave it out."""
    (name, shape, batch), device = case, part.device
    x, y = Case(name, shape, batch, 1, 1).samples()
    device.precision = precision = "bf16" if name in TRANSFORMERS else "fp32"
    world = World()
    use_device(device, world)
    contenders = {
        "ours": ours.make_step(name, x, y, world, device),
        "our graph": ours.make_step(name, x, y, world, device, graph=device.captures),
    }
    with watched(LAUNCH_SECONDS):  # a kernel that hangs is named
        for step in contenders.values():
            step()
    wait = device.synchronize
    if theirs is not None:
        contenders[f"{torch.__version__} eager"] = peer_step(name, x, y, theirs)
    if theirs == "cuda" and name in TRANSFORMERS:
        contenders[f"{torch.__version__} compiled"] = peer_step(name, x, y, theirs, compiled=True)
    elif theirs == "cuda":
        contenders[f"{torch.__version__} CUDA graph"] = graphed(peer_step(name, x, y, theirs))
    if theirs == "cuda":
        wait = torch.cuda.synchronize
    medians = rounds(list(contenders.values()), part.repeat, 1 if part.small else STEPS, wait)
    peers = list(zip(list(contenders)[2:], medians[2:], strict=True)) or [("", 0.0)]
    for what, microseconds in peers:
        ratio = f", PyTorch {what} {microseconds:.0f} us" if what else ""
        print(f"{name}, batch {batch}, {precision}: {medians[0]:.0f} us, graph {medians[1]:.0f} us{ratio}", flush=True)
        yield {
            **{"name": f"{name}, batch {batch}, {precision}", "ours_us": medians[0], "graph_us": medians[1]},
            **{"peer": what, "peer_us": microseconds},
        }


def peer_step(name: str, x: np.ndarray, y: np.ndarray, where: str, *, compiled: bool = False) -> Step:
    """Return PyTorch's step on the same samples, channels last; of a transformer under autocast to bf16."""
    model = peer.make_model(name).to(where)
    inputs, targets = torch.from_numpy(x).to(where), torch.from_numpy(y).to(where)
    if inputs.ndim == 4:
        model = model.to(memory_format=torch.channels_last)
        inputs = inputs.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    is_transformer = name in TRANSFORMERS
    if is_transformer:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, fused=True)

    def loss_of(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast(where, torch.bfloat16, enabled=is_transformer):
            return nn.functional.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())

    compute = torch.compile(loss_of) if compiled else loss_of

    def step() -> None:
        optimizer.zero_grad()
        compute(inputs, targets).backward()
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


def rounds(steps: list[Step], repeat: int, count: int, wait: Callable[[], object]) -> list[float]:
    """Return the median microseconds of a step of each, in rounds of ``count``, which take turns at going first."""
    seconds = np.empty((WARM_UP + repeat, len(steps)))
    for turn in range(len(seconds)):
        for i in range(len(steps)):
            which = (turn + i) % len(steps)
            wait()
            begin = time.perf_counter()
            for _ in range(count):
                steps[which]()
            wait()
            seconds[turn, which] = (time.perf_counter() - begin) / count
    return [float(1e6 * x) for x in np.median(seconds[WARM_UP:], axis=0)]


if __name__ == "__main__":
    main()
