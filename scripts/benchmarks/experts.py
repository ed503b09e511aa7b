"""Compare forward and backward of a mixture of experts with PyTorch's on the CPU, which loops over the experts.

Our steps, PyTorch's, and those of one network with the same products (top_k times the tokens) alternate; medians are
compared. The ratio is PyTorch's time / ours: above 1 we are faster. PyTorch's layer is that of Mixtral in transformers
with GELU: for each expert it picks the tokens, runs two Linears, and adds the weighted results (index_add_).

    scripts/bench experts [--threads N] [--repeat N]
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from mpitrain import GELU, Arena, Context, Experts, Linear, MixtureOfExperts, Sequential
from mpitrain.cli.terminal import make_console
from mpitrain.device import CPU
from mpitrain.layers import Layer
from mpitrain.training.display.text_table import Column, print_table

CASES = [(128, 2048, 8, 2), (384, 2048, 8, 2), (384, 2048, 32, 1)]  # size of a vector, tokens, experts, top_k


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each (1)")
    parser.add_argument("--repeat", type=int, default=9, metavar="N", help="steps of each that are timed (9)")
    options = parser.parse_args(sys.argv[1:])
    CPU.use_threads(options.threads)
    torch.set_num_threads(options.threads)
    rows = []
    for size, tokens, experts, top_k in CASES:
        x = np.random.default_rng(0).standard_normal((tokens, size)).astype(np.float32)
        ours = MixtureOfExperts(Experts(experts, size, 4 * size, GELU(approximate=True)), top_k)
        dense = Sequential(Linear(size, 4 * size), GELU(approximate=True), Linear(4 * size, size))
        steps = our_step(ours, x), their_step(Mixture(size, experts, top_k), x), our_step(dense, np.tile(x, (top_k, 1)))
        mine, theirs, plain = medians(steps, options.repeat)
        name = f"{tokens} x {size}, {top_k} of {experts}"
        rows.append(
            [name, f"{mine:.1f}", f"{theirs:.1f}", f"{theirs / mine:.2f}", f"{plain:.1f}", f"{plain / mine:.2f}"]
        )
    heads = ("ours: ms", "PyTorch", "ratio", "one network", "ratio")
    print_table(make_console(), [Column("tokens, experts", "word"), *(Column(head, "number") for head in heads)], rows)
    print(f"{options.threads} threads, medians of {options.repeat} steps; load {os.getloadavg()[0]:.1f}")
    return 0


def our_step(layer: Layer, x: np.ndarray) -> Callable[[], object]:
    arena, ctx = Arena(layer), Context()

    def step() -> None:
        arena.begin_step()
        layer.backward(layer.forward(x, ctx), ctx)

    return step


class Mixture(torch.nn.Module):
    """The loop of Mixtral's layer in transformers, with GELU."""

    def __init__(self, size: int, experts: int, top_k: int):
        super().__init__()
        self.top_k, self.router = top_k, torch.nn.Linear(size, experts, bias=False)
        self.experts = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.Linear(size, 4 * size), torch.nn.GELU(approximate="tanh"), torch.nn.Linear(4 * size, size)
            )
            for _ in range(experts)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the weighted results of the chosen experts."""
        weights, chosen = self.router(x).softmax(1).topk(self.top_k, 1)
        if self.top_k > 1:
            weights = weights / weights.sum(1, keepdim=True)
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            tokens, places = torch.where(chosen == number)
            y.index_add_(0, tokens, expert(x[tokens]) * weights[tokens, places, None])
        return y


def their_step(layer: Mixture, x: np.ndarray) -> Callable[[], object]:
    tokens = torch.from_numpy(x).requires_grad_()

    def step() -> None:
        layer.zero_grad()
        y = layer(tokens)
        y.backward(y.detach())

    return step


def medians(steps: tuple[Callable[[], object], ...], repeat: int) -> list[float]:
    """Return the median milliseconds of each, after one that is not timed."""
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(repeat + 1):
        for step, found in zip(steps, times, strict=True):
            begin = time.perf_counter()
            step()
            found.append(time.perf_counter() - begin)
    return [1e3 * statistics.median(found[1:]) for found in times]


if __name__ == "__main__":
    sys.exit(main())
