"""Event files for TensorBoard (``--monitor tensorboard``)."""

import importlib
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dataset import CLASSIFICATION, Split
from ..data.lazy import is_lazy
from ..errors import UserError
from ..plain_text import visible
from ..training.hooks import StepInfo
from ..training.run import TrainingRun
from .base import DELAY_SECONDS, Monitor, Pace, changed_settings, make_directory
from .event_file import MOST_RECORDS, EventFile
from .text_samples import can_write_texts, write_texts
from .wrong_images import WrongImages

BINS = 40  # of a histogram
MOST_RANKS = 16  # whose shares of time are curves of their own
ALWAYS_SHOWN = ("model", "data", "optimizer", "lr", "batch-size", "epochs", "seed")
NEVER_SHOWN = ("out", "monitor", "progress")


class TensorBoard(Monitor):
    """Event files for TensorBoard: scores, learning rate, speed, time shares, settings, wrong images, texts.

    Parameters
    ----------
    dir : str
        Directory of the event files; empty for that of the run.
    every : int
        Steps between two points of the curves of single steps.
    histograms : bool
        Write histograms of the weights as well.
    images : int
        Misclassified test images to show; 0 for none.
    texts : int
        Continuations of test texts by a language model; 0 for none.
    """

    def __init__(self, dir: str = "", every: int = 1, histograms: bool = False, images: int = 16, texts: int = 2):
        self._dir, self._every, self._histograms = dir, every, histograms
        self._num_images, self._num_texts = images, texts
        for name, value, least in (("every", every, 1), ("images", images, 0), ("texts", texts, 0)):
            if value < least:
                raise UserError(f"the monitor tensorboard: {name} is {value}, but must be at least {least}")
        self._steps: deque[tuple[float, int, float, float]] = deque(maxlen=MOST_RECORDS)
        self._file: EventFile | None = None
        self._images: WrongImages | None = None

    def check(self, has_directory: bool) -> None:
        """Raise a UserError if a package is missing, or the directory cannot be written."""
        try:
            for package in ("tensorboardX", "PIL.Image"):
                importlib.import_module(package)
        except ImportError as error:
            raise UserError(f"it needs the package {error.name}: pip install 'mpitrain[tensorboard]'") from None
        if not self._dir and not has_directory:
            raise UserError("there is no run directory to write into: give out=, or tensorboard:dir=DIR")
        if self._dir:
            make_directory(Path(self._dir))
            if not os.access(self._dir, os.W_OK | os.X_OK):
                raise UserError(f"the directory {self._dir} cannot be written")

    def train_begin(self, info: StepInfo) -> None:
        """Open a new event file, which continues those of an earlier part of the run."""
        run = info.run
        name = "" if run.path is None else run.path.absolute().name
        directory = Path(self._dir) / name if self._dir or run.path is None else run.path
        again = run.length.evaluates_after(run.step) and run.results.last_step < run.step
        self._file = EventFile(directory, run.step + (0 if again else 1))
        self._steps.clear()
        self._pace, self._showing = Pace(DELAY_SECONDS), Pace()
        data = run.setup.dataset
        if self._num_images and data.task == CLASSIFICATION and not is_lazy(data.test.x) and data.test.x.ndim == 4:
            self._images = WrongImages(self._num_images, data.class_names)
        self._describe(run, _worth_showing(self.settings(info)) | {"ranks": run.world.size})
        self._flush()

    def step_end(self, info: StepInfo) -> None:
        """Keep the figures of a step, and write those that have waited long enough."""
        if info.step % self._every == 0 and not info.skipped:
            self._steps.append((time.time(), info.step, info.loss, info.lr))
        if self._pace.is_due:
            self._flush()

    def checkpoint_begin(self, info: StepInfo) -> None:
        """Write everything: after a resume, the steps before the checkpoint do not come again."""
        self._flush()

    def test_outputs(self, info: StepInfo, split: Split, rows: slice, outputs: np.ndarray) -> None:
        """Keep the misclassified images of a batch."""
        if self._images is not None:
            self._images.add(split, rows, info.arena.device.to_host(outputs))

    def evaluate_end(self, info: StepInfo) -> None:
        """Add scores, speed and time shares; now and then images, texts and histograms."""
        result = info.result
        assert result is not None
        splits = {"train": result.train, "validation": result.validation, "test": result.test}
        scalars = {f"{split}/{name}": value for split, scores in splits.items() for name, value in scores.items()}
        scalars["speed/samples_per_second"] = result.samples_per_second
        self._add(info.step, *self._scalars(scalars | _shares(info.run)))
        if self._showing.is_due or info.run.is_last:
            with self._showing.work():
                self._show(info)
        if self._images is not None:
            self._images.clear()
        if self._pace.is_due:
            self._flush()

    def train_end(self, info: StepInfo) -> None:
        """Write everything."""
        self._end(info, "STATUS_SUCCESS")

    def exception(self, info: StepInfo, error: BaseException) -> None:
        """Write everything."""
        self._end(info, "STATUS_FAILURE")

    def _end(self, info: StepInfo, status: str) -> None:
        from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo
        from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

        if self._file is None:
            return
        end = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()), version=0)
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=end.SerializeToString())
        metadata = SummaryMetadata(plugin_data=plugin)
        self._add(info.step, Summary.Value(tag="_hparams_/session_end_info", metadata=metadata))
        try:
            self._flush()
        finally:
            self._file.close()

    def _describe(self, run: TrainingRun, settings: dict[str, Any]) -> None:
        """Add the settings, as hyperparameters to compare runs by, and as a table."""
        from tensorboardX import summary

        scores = dict.fromkeys(f"test/{name}" for name in ("loss", run.scoring.metric))
        experiment, begin, _ = summary.hparams(settings, scores)
        table = "\n".join(["| option | value |", "|---|---|", *(f"| {k} | `{v}` |" for k, v in settings.items())])
        for part in (experiment, begin, summary.text("settings", table)):
            self._add(0, *part.value)

    def _show(self, info: StepInfo) -> None:
        from tensorboardX import summary
        from tensorboardX.proto.summary_pb2 import Summary

        picture = None if self._images is None else self._images.draw()
        if picture is not None:
            image = Summary.Image(height=picture.height, width=picture.width, colorspace=3)
            image.encoded_image_string = picture.png
            self._add(info.step, Summary.Value(tag="misclassified", image=image))
        if self._num_texts and can_write_texts(info.run):
            for number, sample in enumerate(write_texts(info.run, self._num_texts), 1):
                text = f"    {visible(sample.prompt)} [...] {visible(sample.continuation)}"
                self._add(info.step, *summary.text(f"continuation/{number}", text).value)
        if self._histograms:
            for name, parameter in info.model.named_parameters():
                values = info.arena.device.to_host(parameter.data).ravel()
                finite = values[np.isfinite(values)]
                if finite.size:
                    self._add(info.step, *summary.histogram(f"weights/{name}", finite, BINS).value)

    def _flush(self) -> None:
        """Write the events that wait.

        Raises
        ------
        UserError
            If that cannot be; they are kept.
        """
        assert self._file is not None
        with self._pace.work():
            while self._steps:
                now, step, loss, lr = self._steps.popleft()
                self._add(step, *self._scalars({"step/loss": loss, "step/lr": lr}), now=now)
            self._file.flush()

    def _add(self, step: int, *values: Any, now: float = 0.0) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        assert self._file is not None
        self._file.add(Event(wall_time=now or time.time(), step=step, summary=Summary(value=values)))

    def _scalars(self, values: dict[str, float]) -> list[Any]:
        from tensorboardX.proto.summary_pb2 import Summary

        return [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]


def _worth_showing(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the most important settings, and those that are not the defaults."""
    names = dict.fromkeys([*ALWAYS_SHOWN, *changed_settings(settings)])
    shown = {name: settings[name] for name in names if name not in NEVER_SHOWN}
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in shown.items()}


def _shares(run: TrainingRun) -> dict[str, float]:
    """Return the time shares of each rank, or of many ranks the least, the median and the largest."""
    shares = [times.shares() for times in run.times_of_ranks]
    if len(shares) <= MOST_RANKS:
        return {f"time/{part}/rank{rank}": one[part] for rank, one in enumerate(shares) for part in one}
    found = {}
    for part in shares[0]:
        values = np.array([one[part] for one in shares])
        for name, value in (("least", values.min()), ("median", np.median(values)), ("most", values.max())):
            found[f"time/{part}/{name}"] = float(value)
    return found
