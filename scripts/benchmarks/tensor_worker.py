"""One rank of scripts/bench tensor: steps of a transformer block, whole, divided, and by PyTorch, in turn."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from mpitrain.arena import Arena
from mpitrain.comm.world import World
from mpitrain.context import Context
from mpitrain.layers import GELU, LayerNorm, Linear, MultiHeadAttention, PreNormBlock, Sequential
from mpitrain.model_table import ModelTable
from mpitrain.parallel.tensor.rules import divide

HEAD = 64  # numbers of a head


def block(size: int) -> Sequential:
    """Return one block as a model."""
    mlp = Sequential(Linear(size, 4 * size), GELU(), Linear(4 * size, size))
    attention = MultiHeadAttention(size, size // HEAD, causal=True)
    model = Sequential(PreNormBlock(LayerNorm(size), attention, LayerNorm(size), mlp))
    model.ask_dx(True)
    return model


def make_ours(size: int, x: np.ndarray, group: object, *, sequence: bool = False) -> Callable[[], None]:
    """Return a step, forward and backward; without a group, of the whole block."""
    model = block(size)
    table = ModelTable.of(model)
    if group is not None:
        model = divide(model, group, x.shape[1:], sequence=sequence).model
    arena, ctx, dy = Arena(model.named_parameters(), whole=table), Context(), np.ones_like(x)

    def step() -> None:
        arena.begin_step()
        model.forward(x, ctx)
        model.backward(dy, ctx)

    return step


def make_peer(size: int, x: np.ndarray, rank: int, num_ranks: int) -> Callable[[], None]:
    """Return the step of PyTorch's tensor parallelism over gloo."""
    import torch
    from torch import nn
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "RANK": str(rank), "WORLD_SIZE": str(num_ranks)}
    os.environ.setdefault("MASTER_PORT", "29517")
    mesh = init_device_mesh("cpu", (num_ranks,))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
            self.q, self.k, self.v, self.out = (nn.Linear(size, size) for _ in range(4))
            self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm1(x)
            heads = [f(y).unflatten(-1, (-1, HEAD)).transpose(1, 2) for f in (self.q, self.k, self.v)]
            y = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
            x = x + self.out(y.transpose(1, 2).flatten(2))
            return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))

    plan = {name: ColwiseParallel() for name in ("q", "k", "v", "up")} | {"out": RowwiseParallel()}
    module = parallelize_module(Block(), mesh, plan | {"down": RowwiseParallel()})
    inputs = torch.from_numpy(x).requires_grad_()

    def step() -> None:
        module.zero_grad()
        inputs.grad = None
        module(inputs).sum().backward()

    return step


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    world = World()
    group = world.group("tensor")
    x = np.random.default_rng(0).standard_normal((options.rows, options.tokens, options.size)).astype(np.float32)
    steps = {
        "one rank": make_ours(options.size, x, None),
        "tensor": make_ours(options.size, x, group),
        "tensor, sequence": make_ours(options.size, x, group, sequence=True),
    }
    if not options.no_peer:
        steps["PyTorch"] = make_peer(options.size, x, world.rank, world.size)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(options.repeats + 1):
        for name, step in steps.items():
            world.barrier()
            begin = time.perf_counter()
            if name != "one rank" or world.rank == 0:
                step()
            mine = time.perf_counter() - begin
            if repeat:  # the first makes plans and buffers
                seconds[name].append(max(world.all_gather(mine)))
            else:
                world.all_gather(mine)
    if world.rank == 0:
        medians = {name: statistics.median(some) for name, some in seconds.items()}
        best = {name: min(some) for name, some in seconds.items()}
        print(json.dumps({"medians": medians, "best": best, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
