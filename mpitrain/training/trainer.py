"""The loop: epochs of steps, each a forward, a backward and an update that all ranks make alike."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..comm.world import World
from ..config import Config
from ..data.augment import Augment
from ..data.loader import Loader
from ..errors import AgreedError
from ..losses import Totals
from ..optim import clip_factor
from ..parallel.data import DataParallel
from ..saved import Saved
from .clock import StepClock, Times
from .evaluation import Evaluator
from .progress import EpochResult, Lines
from .recipe import make_optimizer, make_schedule
from .run_directory import BEST, LAST, RunDirectory
from .scoring import make_scoring
from .session import Session
from .weights import save_weights

WEIGHT, LOSS, CORRECT, STOP = range(4)  # places in the arena's header: they are summed with the first bucket


class Trainer:
    """Trains the model of ``session`` on all ranks.

    Parameters
    ----------
    config : Config
    session : Session
    world : World
    directory : RunDirectory or None
        Rank 0's; None on the others.
    progress : Lines
    stop_asked : callable() -> bool
        Asked in every step; when any rank says yes, all stop after that step.

    Attributes
    ----------
    results : list of EpochResult
    times : Times
        This rank's, over all epochs.
    best_epoch : int
        The epoch with the best test score, whose weights are in best.safetensors; 0 before the first.
    stopped : bool
        True after a stop before the last epoch's end.
    """

    def __init__(
        self,
        config: Config,
        session: Session,
        world: World,
        directory: RunDirectory | None,
        progress: Lines,
        stop_asked: Callable[[], bool] = lambda: False,
    ):
        self.config, self.session, self.world = config, session, world
        self._directory, self._progress, self._stop_asked = directory, progress, stop_asked
        o, p, data = config.optimizer, config.parallel, session.dataset
        world.use_progress_thread(p.overlap == "thread")
        self.data_parallel = DataParallel(
            session.model,
            session.arena,
            world,
            all_reduce=p.all_reduce,
            shard=p.shard,
            bucket_bytes=int(p.bucket_mb * 2**20) or world.choose_bucket_bytes(),
            synchronise_batch_norm=config.model.batch_norm == "synchronised",
        )
        self.loader = Loader(
            data.train,
            batch_size=config.data.batch_size,
            rank=world.rank,
            size=world.size,
            seed=config.run.seed,
            normalizer=session.normalizer,
            target_normalizer=session.target_normalizer,
            augment=Augment(config.run.seed, crop=config.data.crop, flip=config.data.flip),
            microbatches=o.accumulate,
            prefetch=config.data.prefetch,
        )
        self.optimizer = make_optimizer(o, session.arena)
        self._lr = make_schedule(o, len(self.loader), config.run.epochs)
        self._saved = Saved(seed=config.run.seed)
        self._evaluator = Evaluator(session.model, world, session.normalizer, session.target_normalizer)
        self._scoring = make_scoring(session.loss, session.target_normalizer, data.num_outputs)
        self.step = 0
        self.results: list[EpochResult] = []
        self.times = Times()
        self.best_epoch = 0
        self.stopped = False

    def run(self) -> None:
        """Train all epochs, or up to the step in which somebody asked to stop.

        Raises
        ------
        AgreedError
            On all ranks, if the loss is no longer a number or the ranks' weights differ.
        """
        try:
            for epoch in range(1, self.config.run.epochs + 1):
                self._epoch(epoch)
                if self.stopped:
                    break
        finally:
            self._progress.stop()

    @property
    def metric(self) -> str:
        """The score that is watched: accuracy or mse."""
        return self._scoring.metric

    def result(self, epoch: int) -> EpochResult:
        """Return the figures of an epoch."""
        return self.results[epoch - 1]

    def _epoch(self, epoch: int) -> None:
        clock, totals, samples = StepClock(), np.zeros(3), 0
        self._progress.start(epoch, len(self.loader))
        begin = time.perf_counter()
        input_before = self.loader.wait_seconds
        for microbatches in self.loader.epoch(epoch):
            sums = self._train_step(microbatches)
            totals += sums
            input_now = self.loader.wait_seconds
            clock.step_done(input_now - input_before, self.data_parallel.sync_seconds)
            input_before, self.data_parallel.sync_seconds = input_now, 0.0
            samples = min(samples + self.config.data.batch_size, len(self.session.dataset.train.x))
            self._log_step(epoch, Totals(*sums))
            speed = samples / (time.perf_counter() - begin)
            self._progress.step(self._train_scores(totals), speed, clock.so_far())
            if self.stopped:
                break
        seconds = time.perf_counter() - begin
        times = clock.epoch_done(self.world)
        self.times.add(times)
        self.data_parallel.verify(f"after epoch {epoch}")
        self.data_parallel.average_states()
        test = self._evaluator.scores(self.session.dataset.test, self._scoring)
        train = self._train_scores(totals)
        result = EpochResult(epoch, self.step, self._lr(self.step - 1), train, test, samples / seconds, seconds, times)
        self._keep(result)

    def _train_step(self, microbatches: list[Any]) -> np.ndarray:
        """Do one step; return weight, loss and correct, summed over all ranks."""
        model, arena, loss, saved = self.session.model, self.session.arena, self.session.loss, self._saved
        self.data_parallel.begin(len(microbatches))
        arena.header[STOP] = self._stop_asked()
        saved.step = self.step
        for batch in microbatches:
            saved.first = batch.first
            outputs = model.forward(batch.x, saved)
            arena.header[:STOP] += loss.forward(outputs, batch.y, saved)
            model.backward(loss.backward(saved), saved)
        self.data_parallel.finish()
        sums = arena.header[:STOP].astype(np.float64)
        if not math.isfinite(sums[LOSS]):
            raise AgreedError(
                f"the loss became {sums[LOSS]} in step {self.step + 1}: try a smaller --lr, --warmup or --clip-norm",
                code=1,
            )
        self.stopped = bool(arena.header[STOP])
        scale = 1 / max(1.0, sums[WEIGHT])
        if self.config.optimizer.clip_norm:
            scale *= clip_factor(self.data_parallel.norm() * scale, self.config.optimizer.clip_norm)
        self.data_parallel.update(self.optimizer, self._lr(self.step), scale)
        self.step += 1
        every = self.config.parallel.check_every
        if every and self.step % every == 0:
            self.data_parallel.verify(f"after step {self.step}")
        return sums

    def _train_scores(self, totals: np.ndarray) -> dict[str, float]:
        weight = max(1.0, totals[WEIGHT])
        scores = {"loss": float(totals[LOSS] / weight)}
        if self._scoring.metric == "accuracy":
            scores["accuracy"] = float(totals[CORRECT] / weight)
        return scores

    def _log_step(self, epoch: int, sums: Totals) -> None:
        if self._directory is not None:
            loss = sums.loss / max(1.0, sums.weight)
            self._directory.log("step", step=self.step, epoch=epoch, loss=loss, lr=self._lr(self.step - 1))

    def _keep(self, result: EpochResult) -> None:
        """Show and write what an epoch has brought."""
        self.results.append(result)
        score = result.test[self._scoring.metric]
        sign = 1 if self._scoring.larger_is_better else -1
        if self.best_epoch == 0 or sign * score > sign * self.result(self.best_epoch).test[self._scoring.metric]:
            self.best_epoch = result.epoch
        self._progress.epoch_done(result)
        with self.world.together():
            if self._directory is not None:
                self._write(self._directory, result)

    def _write(self, directory: RunDirectory, result: EpochResult) -> None:
        directory.log(
            "epoch",
            epoch=result.epoch,
            step=result.step,
            lr=result.lr,
            train=result.train,
            test=result.test,
            samples_per_second=round(result.samples_per_second, 1),
            seconds=round(result.seconds, 4),
            time_share=result.times.shares(),
        )
        facts = self.session.facts(self.config) | {"epoch": result.epoch, "step": result.step, "test": result.test}
        paths: list[Path] = [directory.path / LAST]
        if self.best_epoch == result.epoch:
            paths.append(directory.path / BEST)
        for path in paths:
            save_weights(path, self.session.arena, facts)
