"""Local SGD of your own: ranks meet often at first, and less and less often later.

mpirun -n 4 python own_sync.py
mpirun -n 4 python -m mpitrain train --sync own_sync.py:Growing:longest=32
"""

import mpitrain as mt


class Growing(mt.LocalSteps):
    """The mean of the weights after periods that grow by a step every ``every`` steps of the run."""

    def __init__(self, parts: mt.SyncParts, *, every: int = 10, longest: int = 16):
        super().__init__(parts)
        self.every, self.longest = every, longest

    def is_due(self, step: int, since: int) -> bool:
        """Return whether the ranks meet after a step, the ``since``-th one after the last meeting."""
        return since >= min(self.longest, 1 + step // self.every)


if __name__ == "__main__":
    trainer = mt.Trainer("mlp:widths=64", "digits", sync=f"{__file__}:Growing", epochs=8, progress="none")
    result = trainer.fit()
    if trainer.world.rank == 0:
        print(f"accuracy {result.test['accuracy']:.2f}")
