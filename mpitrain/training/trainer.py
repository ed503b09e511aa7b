"""Training from a program: ``Trainer(model, data, epochs=3).fit()``."""

import contextlib
import dataclasses
import functools
import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..comm.world import World
from ..config import Config, Parallel
from ..config_file import read_config
from ..config_keywords import config_from
from ..data.categories import check_categories
from ..data.checks import check_features, check_token_rows
from ..data.dataset import Split
from ..data.matching.conform import conform
from ..data.matching.rows import open_rows
from ..data.matching.signature import Signature
from ..data.samples import make_dataset
from ..data.sources import inherit_options, replace_option
from ..device import CPU
from ..errors import AgreedError, UserError
from ..layers import Layer
from ..metrics.names import Spec
from ..monitor.opening import open_monitors
from .build import make_loop
from .devices import take_device
from .directory.changes import changes
from .directory.open_run import Place, find_earlier, open_run
from .directory.resume import restore, with_normalizers_of
from .directory.run_directory import AUTO, CONFIG, LAST, METRICS, TOKENIZER
from .directory.trained_model import read_training_data
from .display.progress import make_progress
from .display.progress_log import ProgressLog
from .display.silent_console import SilentConsole
from .hooks import Hook
from .hooks.registry import make_hooks
from .limits import num_threads
from .loop import TrainingLoop
from .pretrained.with_weights import with_weights
from .report import write_results
from .results import Result
from .scoring.evaluation import Evaluator, make_evaluator
from .scoring.scores import make_scoring
from .setup import OwnParts, open_setup, resolved, task_facts
from .weight_streams import drain
from .weights import check_weights, gather_tensors, load_weights, save_weights

Model = str | Layer | Callable[[tuple[int, ...], int], Layer]


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
            For a run whose model or data were given as objects of a program, not as texts; or other data than those of
            the run, whose columns and classes are found by their names.
        hooks : optional
            In addition to those that the run has by name (``--hook``).

        Raises
        ------
        AgreedError
            If there is no such run, its weights do not fit the model, or the data are not of its kind.
        """
        trainer = cls.__new__(cls)
        trainer.world = default_world() if world is None else world
        path = Path(directory)
        with trainer.world.together():
            if not (path / CONFIG).is_file():
                raise UserError(f"{path} is not a run directory: it has no {CONFIG}")
            config = read_config(path / CONFIG)
            trainer._hooks = make_hooks([*make_hooks(config.run.hook), *hooks])
            trained = read_training_data(config, path / LAST)
            if data is None and not config.data.source:
                raise UserError(f"the data of {path} are not known by name: give them as data=")
            source = data if isinstance(data, str) else config.data.source
            if source:
                source = inherit_options(source, trained.signature.source)
                if data is None and (path / TOKENIZER).is_file():
                    source = replace_option(source, "tokenizer", str(path / TOKENIZER))
            if isinstance(model, str):
                config = dataclasses.replace(config, model=config_from(model=model).model)
        default = Parallel()
        names = ("mesh", "pipeline", "stages", "balance", "shard", "gather_weights", "offload_optimizer")
        whole = {name: getattr(default, name) for name in names}  # on each rank
        config = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, source=source),
            parallel=dataclasses.replace(config.parallel, **whole),
            run=dataclasses.replace(config.run, out="", monitor=""),
        )
        trainer._open(config, _own(model, source if data is None else data, ()), trained.signature)
        with trainer.world.together():
            conform(trainer.setup.dataset, trained.signature, trainer.setup.dataset.name)
            check_weights(path / LAST, trainer.setup.arena.whole)
            load_weights(path / LAST, trainer.setup.arena)
        trainer.setup = dataclasses.replace(
            trainer.setup,
            normalizer=trained.normalizer,
            target_normalizer=trained.target_normalizer,
            loss=trained.loss,
        )
        return trainer

    def _open(self, config: Config, own: OwnParts, earlier: Signature | None = None) -> None:
        world, self._own = self.world, own
        CPU.use_threads(num_threads(config, world))
        with world.together():
            world.check_name(config.parallel.all_reduce)
            if earlier is None and own.model is None:
                config = with_weights(config)
        device = take_device(config, world)
        if config.parallel.mesh == "auto":
            from .mesh.auto import with_mesh

            config = with_mesh(config, world, device, own)
        self.setup = open_setup(config, world, device, earlier, own)
        self.config = resolved(config, self.setup)

    def fit(self, *, resume: bool = False, allow_changed_data: bool = False) -> Result:
        """Train, and return the results; all ranks call it together.

        The training begins with the weights of the model as they are, so a second call continues with them, with a
        new optimizer.

        Parameters
        ----------
        resume : bool
            Continue the run in ``out`` from its newest checkpoint, to the bit as if it had not ended; where there is
            no run yet, begin it. So the same program starts a run and, after an interruption, continues it.
        allow_changed_data : bool
            Resume though the data are not those of the checkpoint.

        Raises
        ------
        AgreedError
            On all ranks, if the loss is not finite, if the run directory cannot be written, is in use by another run or
            holds one that is not to be resumed, or if the run there is finished or was begun with other settings.
        HookError
            On a rank where a hook fails; the job ends on all ranks if it is not caught.
        """
        begin, world = time.perf_counter(), self.world
        world.watch(self.config.parallel.timeout)
        try:
            display = self._display()
            monitors = open_monitors(self.config.run, world, has_directory=bool(self.config.run.out))
            place = self._open_run(display, resume, allow_changed_data)
            with contextlib.nullcontext() if place is None else place.owner:
                return self._fit(place, display, monitors, begin)
        finally:
            world.watch(0)

    def _fit(self, place: Place | None, display: ProgressLog, monitors: Sequence[Hook], begin: float) -> Result:
        """Train in ``place``, or without files, and write the results."""
        world, checkpoint = self.world, None if place is None else place.checkpoint
        options: dict[str, Any] = {"hooks": self._hooks, "observers": monitors}
        if place is not None:
            options |= {"directory": place.directory, "run_path": place.path}
        if checkpoint is not None:
            self.setup = with_normalizers_of(checkpoint, self.setup)
        loop = make_loop(self.config, self.setup, world, display, **options)
        try:
            with world.together():
                if checkpoint is not None:
                    restore(loop.run, checkpoint)
            loop.train()
            if place is not None:
                self._write(loop, place, time.perf_counter() - begin)
        except BaseException as error:
            if world.size == 1 or isinstance(error, AgreedError):
                loop.run.data_parallel.free()
            raise
        loop.run.data_parallel.free()
        run = loop.run
        return run.results.summary(run.step, run.ends_early, time.perf_counter() - begin)

    def _open_run(self, display: ProgressLog, resume: bool, allow_changed_data: bool) -> Place | None:
        """Open the directory ``out``, in which no other run may write from now on; None without one."""
        world, out = self.world, self.config.run.out
        with world.together():
            if resume and not out:
                raise UserError("resume=True needs the directory of the run: give the trainer out=")
            if not resume and out and world.rank == 0 and (Path(out) / METRICS).exists():
                raise UserError(
                    f"{out} holds an earlier run: continue it with fit(resume=True), choose another out= or remove it"
                )
        if not out:
            return None
        how = AUTO if resume else ""
        self._bring_into_order(find_earlier(self.config, world, how))
        place = open_run(self.config, world, how, self.setup, display.note, allow_changed_data=allow_changed_data)
        with world.together():
            if place is None:
                raise UserError(f"{out} is finished: there is nothing to resume; Trainer.load opens its weights")
        return place

    def _bring_into_order(self, earlier: Signature | None) -> None:
        """Open the data again where they differ from those of an earlier run: in its order of columns and classes."""
        setup, config = self.setup, self.config
        assert setup.signature is not None
        if earlier is None or not any(changes(earlier, setup.signature)):
            return
        if config.data.source:
            with self.world.together():
                source = inherit_options(config.data.source, earlier.source)
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=source))
        self._open(config, self._own, earlier)

    def _display(self) -> ProgressLog:
        if self.world.rank != 0:
            return make_progress("none", SilentConsole(), self.config.run)
        from .display.console import PlainConsole

        return make_progress(self.config.run.progress, PlainConsole(), self.config.run)

    def _write(self, loop: TrainingLoop, place: Place, seconds: float) -> None:
        """Write the results of a run that has ended; one that was preempted keeps its checkpoint only."""
        if not loop.run.preempted:
            write_results(loop, place.path, seconds)
        elif place.directory is not None:
            place.directory.close()

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
            facts = task_facts(setup.dataset)
            scoring = make_scoring(
                setup.loss, setup.target_normalizer, setup.dataset.num_outputs, setup.metrics, **facts
            )
        return self._evaluator().scores(splits, scoring)

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (N, K) for samples (N, ...): logits of classes, or values in the units of the targets.

        For rows of tokens (N, L), padded by -1, a language model returns the logits (N, L, K) of the next tokens, and
        for images one of segmentation those of each pixel, (N, H, W, K).
        All ranks call this together with the same samples, and each computes a share.
        """
        setup, world = self.setup, self.world
        with world.together():
            x = np.asarray(x)
            if setup.dataset.only_codes:
                check_categories(x, setup.dataset.categories, "the samples", setup.dataset.feature_names)
                x = x.astype(np.int64)
            elif setup.normalizer is None:
                x = check_token_rows(x, setup.dataset)
            else:
                x = check_features(x, "the samples") if len(x) else x
            if setup.normalizer is not None and x.shape[1:] != setup.dataset.input_shape:
                wanted = " x ".join(map(str, setup.dataset.input_shape))
                raise UserError(f"samples must be (N, {wanted}), but they are {x.shape}")
        found = self._evaluator().all_outputs(x, setup.dataset.num_outputs)
        return found if setup.target_normalizer is None else setup.target_normalizer.inverse(found)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the numbers of the classes (N,), or the predicted values (N, K), for samples (N, ...).

        A language model returns the most probable next tokens, (N, L), and one of segmentation classes (N, H, W).
        All ranks call this together with the same samples.
        """
        outputs = self.outputs(x)
        return outputs.argmax(axis=-1) if self.setup.target_normalizer is None else outputs

    def save(self, path: str | Path) -> None:
        """Write the weights, with the normalization of the data, to a safetensors file; all ranks call this together.

        Raises
        ------
        AgreedError
            If it cannot be written.
        """
        roles, tensors = self.setup.roles, None
        if roles is not None and roles.same.rank == 0:
            tensors = gather_tensors(self.setup.arena, roles.weights)
        elif self.world.rank == 0:
            tensors = gather_tensors(self.setup.arena)
        with self.world.together():
            try:
                if tensors is not None:
                    save_weights(Path(path), tensors, self.setup.metadata(self.config))
            finally:
                drain(tensors)

    def _evaluator(self) -> Evaluator:
        return make_evaluator(self.setup, self.world)

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
