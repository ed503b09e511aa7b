"""A monitor of your own: settings, figures and results of a run in Weights & Biases (pip install wandb).

mpirun -n 4 python -m mpitrain --monitor monitor_wandb.py:WandB:project=digits,mode=offline

In mode offline everything goes to the folder wandb/, which `wandb sync` uploads later. A resumed run keeps its id.
"""

from pathlib import Path

import mpitrain as mt


class WandB(mt.Monitor):
    """Writes a run to Weights & Biases; a call of wandb.log takes a third of a millisecond, so not every step."""

    def __init__(self, project: str = "mpitrain", mode: str = "online", every: int = 50, dir: str = "."):
        self._project, self._mode, self._every, self._dir = project, mode, every, dir

    def train_begin(self, info: mt.StepInfo) -> None:
        """Begin a run, or continue the one of an earlier part of it."""
        import wandb

        Path(self._dir).mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=self._project,
            mode=self._mode,
            dir=self._dir,
            id=self.run_id(info),
            name=info.run.path and info.run.path.absolute().name,
            resume="allow",
            config=self.settings(info),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )

    def step_end(self, info: mt.StepInfo) -> None:
        """Write the figures of a step."""
        if info.step % self._every == 0 and not info.skipped:
            self._run.log({"step/loss": info.loss, "step/lr": info.lr}, step=info.step)

    def evaluate_end(self, info: mt.StepInfo) -> None:
        """Write the scores."""
        result = info.result
        assert result is not None
        splits = {"train": result.train, "validation": result.validation, "test": result.test}
        scores = {f"{split}/{name}": value for split, found in splits.items() for name, value in found.items()}
        self._run.log(scores | {"samples_per_second": result.samples_per_second}, step=info.step)

    def train_end(self, info: mt.StepInfo) -> None:
        """End the run."""
        self._run.finish()

    def exception(self, info: mt.StepInfo, error: BaseException) -> None:
        """End the run as a failed one."""
        self._run.finish(exit_code=1)
