"""A monitor of your own: settings, figures and results of a run in MLflow (pip install mlflow-skinny).

mpirun -n 4 python -m mpitrain --monitor monitor_mlflow.py:MLflow:experiment=digits,uri=file:mlruns

The store is uri=URI, or MLFLOW_TRACKING_URI: a server, or as here a folder. A resumed run continues there.
"""

import os
import time
from typing import Any

import mpitrain as mt

TAG = "mpitrain.run"


class MLflow(mt.Monitor):
    """Writes a run to MLflow; steps go in batches."""

    def __init__(self, experiment: str = "mpitrain", uri: str = "", every: int = 1):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # for folders
        self._experiment, self._uri, self._every = experiment, uri or None, every
        self._metrics: list[Any] = []

    def train_begin(self, info: mt.StepInfo) -> None:
        """Begin a run, or find the one of an earlier part of it."""
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(self._uri)
        found = self._client.get_experiment_by_name(self._experiment)
        where = found.experiment_id if found else self._client.create_experiment(self._experiment)
        key = self.run_id(info)
        runs = self._client.search_runs([where], f"tags.`{TAG}` = '{key}'")
        name = info.run.path and info.run.path.absolute().name
        self._run = runs[0] if runs else self._client.create_run(where, run_name=name, tags={TAG: key})
        self._run = self._run.info.run_id
        self._client.update_run(self._run, status="RUNNING")
        self._past = {name: self._last(name) for name in ("step/loss", "test/loss")}  # not to be written again
        for name, value in self.settings(info).items() if not runs else ():
            self._client.log_param(self._run, name, value)

    def step_end(self, info: mt.StepInfo) -> None:
        """Keep the figures of a step."""
        if info.step % self._every == 0 and info.step > self._past["step/loss"] and not info.skipped:
            self._keep(info.step, {"step/loss": info.loss, "step/lr": info.lr})

    def evaluate_end(self, info: mt.StepInfo) -> None:
        """Write the scores, with the steps before them."""
        assert info.result is not None
        if info.step > self._past["test/loss"]:
            for split in ("train", "validation", "test"):
                self._keep(info.step, {f"{split}/{k}": v for k, v in getattr(info.result, split).items()})
        self._write()

    def checkpoint_begin(self, info: mt.StepInfo) -> None:
        """Write all steps before a checkpoint."""
        self._write()

    def train_end(self, info: mt.StepInfo) -> None:
        """End the run."""
        self._write()
        self._client.set_terminated(self._run, "KILLED" if info.run.ends_early else "FINISHED")

    def exception(self, info: mt.StepInfo, error: BaseException) -> None:
        """End the run as a failed one."""
        self._write()
        self._client.set_terminated(self._run, "FAILED")

    def _last(self, name: str) -> int:
        return max((metric.step for metric in self._client.get_metric_history(self._run, name)), default=0)

    def _keep(self, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        self._metrics += [Metric(name, value, int(1000 * time.time()), step) for name, value in values.items()]

    def _write(self) -> None:
        while self._metrics:  # MLflow takes 1000 at once
            self._client.log_batch(self._run, self._metrics[:1000])
            del self._metrics[:1000]
