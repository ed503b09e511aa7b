"""Training from a program: ``Trainer(model, data, epochs=3).fit()``."""

import dataclasses
import functools
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..comm.world import World
from ..config import Config
from ..config_file import read_config
from ..config_keywords import config_from
from ..data.checks import check_features
from ..data.conform import conform
from ..data.dataset import Split
from ..data.rows import open_rows
from ..data.sampler import share
from ..data.samples import make_dataset
from ..device import CPU
from ..errors import AgreedError, UserError
from ..layers import Layer
from ..metrics.names import Spec
from .build import make_loop
from .console import PlainConsole
from .devices import take_device
from .evaluation import Evaluator
from .hooks import Hook
from .hooks.registry import make_hooks
from .limits import num_threads
from .loop import TrainingLoop
from .progress import ProgressLog, make_progress
from .report import make_report
from .results import EpochResult
from .run_directory import CHECKPOINTS, CONFIG, LAST, RunDirectory
from .scoring import make_scoring
from .setup import OwnParts, normalizer_from, open_setup, resolved
from .weights import check_weights, load_weights, read_metadata, save_weights

Model = str | Layer | Callable[[tuple[int, ...], int], Layer]


@dataclass(frozen=True)
class Result:
    """The figures of a run, the same on all ranks.

    Attributes
    ----------
    evaluations : tuple of EpochResult
        One for each epoch, or for each evaluation with ``evaluate_every``.
    best : EpochResult
        The one with the best validation score, or test score without a validation split.
    steps : int
    stopped : bool
        True if the training ended early on request.
    skipped : int
        Steps whose update was left out.
    seconds : float
    """

    evaluations: tuple[EpochResult, ...]
    best: EpochResult
    steps: int
    stopped: bool
    skipped: int
    seconds: float

    @property
    def train(self) -> dict[str, float]:
        """Scores over the training samples before the last evaluation."""
        return self.evaluations[-1].train

    @property
    def test(self) -> dict[str, float]:
        """Scores of the last weights over the test samples."""
        return self.evaluations[-1].test

    @property
    def validation(self) -> dict[str, float]:
        """Scores of the last weights over the validation samples; empty without any."""
        return self.evaluations[-1].validation


class Trainer:
    """Trainer of a model on all ranks of the job; every rank runs the same program.

    Parameters
    ----------
    model : str, Layer or callable(input_shape, num_outputs) -> Layer
        A text such as ``"mlp:widths=64+32"`` or ``"mine.py:net"``, a function, or a network. Its weights are drawn
        by ``seed``.
    data : str, Dataset, object or pair
        A text such as ``"digits"`` or ``"csv:table.csv,target=price"``; an object with a length and
        ``take(indices) -> (x, y)`` (see ``data.samples.Samples``); a pair of arrays (x, y); or a pair (train, test)
        of such objects.
    hooks : sequence of Hook, of classes of hooks or of str
    metrics : str, or sequence of str, Metric or callable(outputs, targets) -> float
        Scores in addition to the loss and the accuracy (or error), exact over all ranks.
    world : World, optional
        All ranks of the job by default.
    **settings
        Everything that ``mpitrain train --help`` lists, with underscores: ``epochs=3``, ``batch_size=32``,
        ``optimizer="adam:lr=0.003"``, ``out="runs/first"``, ``checkpoint_every=100``, ``all_reduce="ring"`` ...
        Without ``out`` no file is written.

    Attributes
    ----------
    config : Config
    setup : TrainingSetup
        Data, network (``setup.model``), its buffers (``setup.arena``) and loss.
    world : World

    Raises
    ------
    AgreedError
        On all ranks, for settings, data or a model that do not work.

    Examples
    --------
    >>> trainer = Trainer("mlp:widths=16", "digits", epochs=1, progress="none")
    >>> result = trainer.fit()
    >>> result.steps, sorted(result.test)
    (23, ['accuracy', 'loss'])
    """

    def __init__(
        self,
        model: Model = "convnet",
        data: Any = "digits",
        *,
        hooks: Sequence[Hook | type[Hook] | str] = (),
        metrics: str | Sequence[Spec] = (),
        world: World | None = None,
        **settings: Any,
    ):
        self.world = default_world() if world is None else world
        with self.world.together():
            config = config_from(
                **settings,
                model=model if isinstance(model, str) else _name_of(model),
                data=data if isinstance(data, str) else "",
                **({"metrics": metrics} if isinstance(metrics, str) else {}),
            )
            self._hooks = make_hooks([*make_hooks(config.run.hook), *hooks])
        self._open(config, _own(model, data, () if isinstance(metrics, str) else metrics))

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        model: Model | None = None,
        data: Any = None,
        hooks: Sequence[Hook | type[Hook] | str] = (),
        world: World | None = None,
    ) -> "Trainer":
        """Return a trainer with the last weights and the settings of the run in ``directory``.

        Parameters
        ----------
        model, data : optional
            For a run whose model or data were given as objects of a program, not as texts.

        Raises
        ------
        AgreedError
            If there is no such run, or its weights do not fit the model.
        """
        trainer = cls.__new__(cls)
        trainer.world = default_world() if world is None else world
        path = Path(directory)
        with trainer.world.together():
            trainer._hooks = make_hooks(hooks)
            if not (path / CONFIG).is_file():
                raise UserError(f"{path} is not a run directory: it has no {CONFIG}")
            config = read_config(path / CONFIG)
            metadata = read_metadata(path / LAST)
            if data is None and not config.data.source:
                raise UserError(f"the data of {path} are not known by name: give them as data=")
        config = dataclasses.replace(config, run=dataclasses.replace(config.run, out=""))
        trainer._open(config, _own(model, config.data.source if data is None else data, ()))
        setup, targets = trainer.setup, metadata["target_normalizer"]
        with trainer.world.together():
            check_weights(path / LAST, setup.model)
            load_weights(path / LAST, setup.arena)
        trainer.setup = dataclasses.replace(
            setup,
            normalizer=normalizer_from(metadata["normalizer"]),
            target_normalizer=None if targets is None else normalizer_from(targets),
        )
        return trainer

    def _open(self, config: Config, own: OwnParts) -> None:
        world = self.world
        CPU.use_threads(num_threads(config, world))
        with world.together():
            world.check_name(config.parallel.all_reduce)
        self.setup = open_setup(config, world, take_device(config, world), own=own)
        self.config = resolved(config, self.setup)

    def fit(self) -> Result:
        """Train, and return the results; all ranks call it together.

        The training begins with the weights of the model as they are, so a second call continues with them, with a
        new optimizer.

        Raises
        ------
        AgreedError
            On all ranks, if the loss is not finite or the run directory cannot be written.
        HookError
            On a rank where a hook fails; the job ends on all ranks if it is not caught.
        """
        begin, world = time.perf_counter(), self.world
        world.watch(self.config.parallel.timeout)
        path = Path(self.config.run.out) if self.config.run.out else None
        directory = self._open_directory(path)
        display = self._display()
        loop = make_loop(self.config, self.setup, world, display, directory=directory, run_path=path, hooks=self._hooks)
        try:
            loop.train()
            self._finish(loop, directory, time.perf_counter() - begin)
        except BaseException as error:
            if world.size == 1 or isinstance(error, AgreedError):
                loop.run.data_parallel.free()
            raise
        finally:
            world.watch(0)
        loop.run.data_parallel.free()
        run = loop.run
        return Result(
            tuple(run.results.evaluations),
            run.results[run.results.best],
            run.step,
            run.ends_early,
            run.results.skipped,
            time.perf_counter() - begin,
        )

    def _open_directory(self, path: Path | None) -> RunDirectory | None:
        directory = None
        with self.world.together():
            if path is not None and self.world.rank == 0:
                if (path / CHECKPOINTS).exists():
                    raise UserError(f"{path} holds an earlier run: choose another out= or remove it")
                directory = RunDirectory(path, self.config)
        return directory

    def _display(self) -> ProgressLog:
        first = self.world.rank == 0
        kind = self.config.run.progress if first else "none"
        return make_progress(kind, PlainConsole(quiet=not first), self.config.run)

    def _finish(self, loop: TrainingLoop, directory: RunDirectory | None, seconds: float) -> None:
        if self.config.run.out:
            report = make_report(loop, self.world, seconds)
            with self.world.together():
                if directory is not None:
                    directory.write_report(report)
                    directory.close()

    def evaluate(self, data: Any = None) -> dict[str, float]:
        """Return the scores of the current weights, the same on all ranks (collective).

        Parameters
        ----------
        data : optional
            As in ``Trainer``: all samples of it, or the test split of a set that has one. By default the test samples
            of the trainer's own data.
        """
        setup = self.setup
        with self.world.together():
            splits = self._splits(data)
            scoring = make_scoring(setup.loss, setup.target_normalizer, setup.dataset.num_outputs, setup.metrics)
        return self._evaluator().scores(splits, scoring)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (N, K) for samples (N, ...): logits of classes, or values in the units of the targets.

        All ranks call this together with the same samples, and each computes a share.
        """
        setup, world = self.setup, self.world
        with world.together():
            x = np.asarray(x)
            x = check_features(x, "the samples") if len(x) else x
            if x.shape[1:] != setup.dataset.input_shape:
                wanted = " x ".join(map(str, setup.dataset.input_shape))
                raise UserError(f"samples must be (N, {wanted}), but they are {x.shape}")
        mine, evaluator = share(len(x), world.rank, world.size), self._evaluator()
        device = setup.arena.device
        parts = [np.array(device.to_host(outputs)) for _, outputs in evaluator.outputs(x, mine)]
        gathered = [part for parts in world.all_gather(parts) for part in parts]
        found = np.concatenate([np.empty((0, setup.dataset.num_outputs), np.float32), *gathered])
        return found if setup.target_normalizer is None else setup.target_normalizer.inverse(found)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the numbers of the classes (N,), or the predicted values (N, K), for samples (N, ...).

        All ranks call this together with the same samples.
        """
        outputs = self.outputs(x)
        return outputs.argmax(axis=1) if self.setup.target_normalizer is None else outputs

    def save(self, path: str | Path) -> None:
        """Write the weights, with the normalization of the data, to a safetensors file; all ranks call this together.

        Raises
        ------
        AgreedError
            If it cannot be written.
        """
        with self.world.together():
            if self.world.rank == 0:
                save_weights(Path(path), self.setup.arena, self.setup.metadata(self.config))

    def _evaluator(self) -> Evaluator:
        setup = self.setup
        return Evaluator(setup.model, self.world, setup.normalizer, setup.arena.device)

    def _splits(self, data: Any) -> Sequence[Split]:
        setup = self.setup
        if data is None:
            return [setup.dataset.test]
        assert setup.signature is not None
        if isinstance(data, str):
            return open_rows(data, setup.signature, "").parts
        dataset = make_dataset((data, data), task=setup.dataset.task)
        return [conform(dataset, setup.signature, dataset.name).train]


@functools.cache
def default_world() -> World:
    """Return all ranks of this job."""
    return World()


def _own(model: Model | None, data: Any, metrics: Sequence[Spec]) -> OwnParts:
    return OwnParts(
        data=None if isinstance(data, str) else data,
        model=None if isinstance(model, str) else model,
        metrics=metrics,
    )


def _name_of(model: Any) -> str:
    """Return the text that names a function of a file; for others the name of the function or class."""
    if not callable(model) or isinstance(model, Layer):
        if not isinstance(model, Layer):
            raise UserError(f"the model must be a text, a Layer or a function, not a {type(model).__name__}")
        return type(model).__name__
    name = str(getattr(model, "__name__", type(model).__name__))
    file = inspect.getsourcefile(model) if inspect.isfunction(model) else None
    if file and file.endswith(".py") and model.__qualname__ == name:
        return f"{Path(file).absolute()}:{name}"
    return name
