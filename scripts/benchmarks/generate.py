"""Compare generation, token by token with a cache of keys and values, with PyTorch's on the CPU.

Blocks of our tokens and of PyTorch's alternate, and the medians are compared. The ratio is our tokens/s / PyTorch's:
above 1 we are faster. PyTorch has a plain loop with memory made once, or the package transformers with its cache, which
is slower, and which you install into the environment yourself.

    scripts/bench generate [--only TEXT] [--threads N] [--repeat N] [--tokens N] [--peer loop|transformers]
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from peer_generate import Writer
from peer_gpt import GPT

from mpitrain import Arena, models
from mpitrain.cli.terminal import make_console
from mpitrain.device import CPU
from mpitrain.generation import NextToken, Sampling, continue_text
from mpitrain.training.display.text_table import Column, print_table

CASES = {
    "gpt-small": (6, 384, 6, 8192, 256),
    "gpt2": (12, 768, 12, 50257, 1024),
}
"""Blocks, width, heads, vocabulary, window."""
PROMPT = list(range(16))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench generate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default="", metavar="TEXT", help=f"cases with this in their name: {', '.join(CASES)}")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each (1)")
    parser.add_argument("--repeat", type=int, default=9, metavar="N", help="blocks of each that are timed (9)")
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help="tokens of a block (64)")
    parser.add_argument("--peer", choices=["loop", "transformers"], default="loop", help="how PyTorch generates (loop)")
    options = parser.parse_args(sys.argv[1:])
    CPU.use_threads(options.threads)
    torch.set_num_threads(options.threads)
    rows = []
    for name, sizes in CASES.items():
        if options.only in name:
            their_writer = loop_writer if options.peer == "loop" else transformers_writer
            ours, theirs = our_writer(*sizes), their_writer(*sizes)
            rows.append((name, *compare(ours, theirs, options.repeat, options.tokens)))
    columns = [Column("case", "word")]
    columns += [
        Column(head, "number") for head in ("ours: tokens/s", "PyTorch", "ratio", "ours: CPU ms", "PyTorch", "ratio")
    ]
    print_table(make_console(), columns, rows)
    print(f"PyTorch: {options.peer}; {options.threads} threads, medians of {options.repeat} x {options.tokens} tokens "
          f"after a prompt of 16; load {os.getloadavg()[0]:.1f}")  # fmt: skip
    return 0


def our_writer(depth: int, width: int, heads: int, vocabulary: int, window: int) -> Callable[[int], object]:
    model = models.build(f"gpt:depth={depth},width={width},heads={heads}", (window,), vocabulary)
    Arena(model)
    predict = NextToken(model)
    return lambda count: list(continue_text(predict, PROMPT, count, Sampling(temperature=0)))


def loop_writer(depth: int, width: int, heads: int, vocabulary: int, window: int) -> Callable[[int], object]:
    writer = Writer(GPT(vocabulary, window, depth, width, heads), window)
    return lambda count: writer.write(PROMPT, count)


def transformers_writer(depth: int, width: int, heads: int, vocabulary: int, window: int) -> Callable[[int], object]:
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ModuleNotFoundError:
        sys.exit(f"--peer transformers needs that package: {sys.executable} -m pip install transformers")
    sizes = {"n_layer": depth, "n_embd": width, "n_head": heads, "n_positions": window, "vocab_size": vocabulary}
    model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()  # type: ignore[no-untyped-call]
    prompt = torch.tensor([PROMPT])
    exact = {"do_sample": False, "use_cache": True, "pad_token_id": 0, "attention_mask": torch.ones_like(prompt)}
    return lambda count: model.generate(prompt, max_new_tokens=count, min_new_tokens=count, **exact)


def compare(ours: Callable[[int], object], theirs: Callable[[int], object], repeat: int, tokens: int) -> list[str]:
    """Return tokens/s of both and their ratio, and CPU milliseconds a token of both and their ratio."""
    times: tuple[list[tuple[float, float]], ...] = ([], [])
    for _ in range(repeat + 1):  # the first warms up
        for each, found in zip((ours, theirs), times, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            each(tokens)
            found.append((time.perf_counter() - wall, time.process_time() - cpu))
    (wall, cpu), (their_wall, their_cpu) = (
        (statistics.median(column) / tokens for column in np.array(found[1:]).T.tolist()) for found in times
    )
    speeds = [f"{1 / wall:.0f}", f"{1 / their_wall:.0f}", f"{their_wall / wall:.2f}"]
    return [*speeds, f"{cpu * 1e3:.2f}", f"{their_cpu * 1e3:.2f}", f"{cpu / their_cpu:.2f}"]


if __name__ == "__main__":
    sys.exit(main())
