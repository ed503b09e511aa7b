"""Measure a training of dlrm with one large embedding table: bytes sent, time of a step, memory of each rank.

    mpirun -n 4 python scripts/benchmarks/embedding_tables.py --rows 10000000 [--mesh expert=4] [--optimizer adagrad]

Prints one line: rows of the table and numbers of a row; different rows that the samples of rank 0 need in a step; bytes
that a rank sends for the table in a step, all and for each of these rows; the median time of a step; the most memory of
each rank (VmHWM), with evaluation, checkpoints and the file of weights, and that before the model was made.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mpitrain import Hook, Trainer, World
from mpitrain.parallel.expert import DividedColumns


class Steps(Hook):
    """Times of steps, and bytes that divided tables have sent."""

    def __init__(self):
        self.times, self.sent, self.layers = [], [], []

    def step_begin(self, info):
        """Note the bytes sent so far."""
        if not self.layers:
            self.layers = [layer for layer in info.model.layers() if isinstance(layer, DividedColumns)]
        self.sent.append(sum(layer.bytes_sent for layer in self.layers))
        self.begin = time.perf_counter()

    def step_end(self, info):
        """Note the time of the step."""
        self.times.append(time.perf_counter() - self.begin)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=16, help="numbers of a row (16)")
    parser.add_argument("--columns", type=int, default=1, help="tables (1)")
    parser.add_argument("--mesh", default="", help="expert=P by default")
    parser.add_argument("--optimizer", default="adagrad")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--checkpoint", default="", help="steps between checkpoints (none)")
    options = parser.parse_args()
    world = World()
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        (folder,) = set(world.all_gather(folder)[:1])
        steps = Steps()
        trainer = Trainer(
            f"dlrm:size={options.size},bottom=64,top=64",
            f"clicks:samples=40000,columns={options.columns},codes={options.rows}",
            optimizer=options.optimizer,
            steps=options.steps,
            batch_size=options.batch,
            mesh=options.mesh or f"expert={world.size}",
            threads=1,
            shard="none",
            progress="none",
            hooks=[steps],
            world=world,
            out=str(Path(folder) / "run"),
            **({"checkpoint_every": options.checkpoint} if options.checkpoint else {}),
        )
        x = trainer.setup.dataset.train.x[: options.batch // world.size, 4:]
        touched = sum(len(np.unique(column)) for column in x.T)
        result = trainer.fit()
    sent = np.diff(steps.sent)[5:]
    mine = (peak(), before, float(np.mean(sent)) if len(sent) else 0.0, statistics.median(steps.times[5:]))
    everyone = world.all_gather(mine)
    if world.rank == 0:
        peaks = [f"{most:.0f}" for most, *_ in everyone]
        bytes_sent = statistics.mean(each[2] for each in everyone)
        print(
            f"{options.rows:>10,} x {options.size}  {options.optimizer}  {trainer.config.parallel.mesh}  "
            f"touched {touched:,}  "
            f"sent {bytes_sent:,.0f} B/step, {bytes_sent / touched:.0f} B/row  "
            f"step {1000 * max(each[3] for each in everyone):.1f} ms  "
            f"peak MiB {' '.join(peaks)} (before {everyone[0][1]:.0f})  test loss {result.test['loss']:.4f}",
            flush=True,
        )
    return 0


def peak() -> float:
    """Return the most memory of this process so far in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
