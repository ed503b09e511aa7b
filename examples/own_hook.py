"""A hook and a metric of your own: an early stop, a log of every step, and a score.

mpirun -n 4 python own_hook.py
"""

import numpy as np

import mpitrain as mt


class StopWhenGood(mt.Hook):
    """Ends the training when the test accuracy is high enough."""

    def __init__(self, accuracy: float):
        self.accuracy = accuracy

    def evaluate_end(self, info: mt.StepInfo) -> None:
        """Run after each epoch, on all ranks; one request is enough."""
        assert info.result is not None
        if info.result.test["accuracy"] >= self.accuracy:
            info.stop()


class LossLog(mt.Hook):
    """Keeps the loss of every step, on the first rank."""

    ranks = "first"

    def __init__(self) -> None:
        self.losses: list[float] = []

    def step_end(self, info: mt.StepInfo) -> None:
        """Run after each step: the loss is that of the samples of all ranks."""
        self.losses.append(info.loss)


def worst_class(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Return the accuracy of the class that is recognized worst; outputs and targets are those of all ranks."""
    right = outputs.argmax(axis=1) == targets
    return min(float(right[targets == c].mean()) for c in np.unique(targets))


if __name__ == "__main__":
    log = LossLog()
    trainer = mt.Trainer(
        "mlp:widths=64",
        "digits",
        hooks=[StopWhenGood(0.95), log],
        metrics=[worst_class, "top5"],
        epochs=20,
        progress="none",
    )
    result = trainer.fit()
    if trainer.world.rank == 0:
        print(f"stopped after {len(result.evaluations)} epochs and {len(log.losses)} steps: {sorted(result.test)}")
