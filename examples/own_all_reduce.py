"""An all-reduce of your own, alone and in a training run.

mpirun -n 4 python own_all_reduce.py
mpirun -n 4 python -m mpitrain train --all-reduce own_all_reduce.py:neighbors
python -m mpitrain collective show own_all_reduce.py:neighbors -n 4
"""

from collections.abc import Iterator

import numpy as np

import mpitrain as mt


@mt.algorithm(rounds=lambda size: 2 * (size - 1), bytes=lambda size: 2 * (size - 1) / size)
def neighbors(rank: int, size: int) -> Iterator[mt.Step]:
    """Send chunks around a ring of ranks: once to sum them, and once to spread the sums."""
    right, left = (rank + 1) % size, (rank - 1) % size
    for first, reduce in ((rank, True), (rank + 1, False)):
        for k in range(size - 1):
            yield mt.Step(right, (first - k) % size, left, (first - k - 1) % size, reduce)


if __name__ == "__main__":
    world = mt.World()
    group = world.group("data")  # in a program that starts MPI itself: mt.Group(comm)
    array = np.full(1000, group.rank + 1.0)
    group.all_reduce(array, f"{__file__}:neighbors")  # the algorithm is checked before its first use
    assert (array == world.size * (world.size + 1) / 2).all()
    result = mt.Trainer(
        "mlp:widths=16", "digits", world=world, all_reduce=f"{__file__}:neighbors", epochs=1, progress="none"
    ).fit()
    if world.rank == 0:
        print(f"sum {array[0]:.0f} on {world.size} ranks, accuracy {result.test['accuracy']:.2f}")
