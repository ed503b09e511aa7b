"""The training loop: epochs of steps, each a forward, a backward and an update that are the same on all ranks."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..comm.watch.slot import INPUT
from ..data.loader import Batch
from ..losses import Totals
from ..optim import clip_factor
from ..step_header import StepHeader
from .device_prefetch import DevicePrefetcher
from .executors import StepExecutor
from .hooks import Hooks, StepInfo
from .position import Position
from .run import TrainingRun
from .step_timer import StepTimer


class TrainingLoop:
    """Trains the model of a run on all ranks.

    Parameters
    ----------
    run : TrainingRun
    executor : StepExecutor
        Computes the gradients of a step.
    hooks : Hooks
        Everything else: evaluation, records, checkpoints and so on.
    """

    def __init__(self, run: TrainingRun, executor: StepExecutor, hooks: Hooks):
        self.run, self.executor, self.hooks = run, executor, hooks
        self._prefetch = DevicePrefetcher(run.setup.arena.device)
        run.announce = hooks.call

    def train(self) -> None:
        """Train all epochs, or up to the step after which a stop or a preemption was requested.

        Raises
        ------
        AgreedError
            On all ranks, if the loss is not finite or the ranks' weights differ.
        """
        run = self.run
        try:
            self.hooks.call("train_begin", self._info())
            for _ in range(run.position.epoch, run.config.run.epochs + 1):
                self._epoch()
                if run.ends_early:
                    break
            self.hooks.call("train_end", self._info())
        except BaseException as error:
            self.hooks.exception(self._info(), error)
            raise

    def _epoch(self) -> None:
        run = self.run
        here, first = run.position, run.position.steps
        run.timer = timer = StepTimer()
        self.hooks.call("epoch_begin", self._info())
        begin, input_before = time.perf_counter(), run.loader.wait_seconds
        for batches in self._batches(here.epoch, first):
            totals = self._train_step(batches)
            here.add(totals)
            input_now = run.loader.wait_seconds
            timer.step_done(input_now - input_before, run.data_parallel.sync_seconds)
            input_before, run.data_parallel.sync_seconds = input_now, 0.0
            self.hooks.call("step_end", self._step)
            if run.ends_early:
                break
        here.seconds += time.perf_counter() - begin
        run.epoch_times = timer.epoch_done(run.world)
        run.times.add(run.epoch_times)
        if run.ends_early:
            self.hooks.call("interrupted", self._info())
        if not run.preempted:
            with run.timeline.part("end of an epoch"):
                self._end_epoch()

    def _end_epoch(self) -> None:
        run = self.run
        run.data_parallel.average_states()
        self.hooks.call("epoch_end", self._info())
        last, run.position = run.is_last_epoch, Position(run.position.epoch + 1)
        if not last:
            self._agree()

    def _agree(self) -> None:
        """Do what a hook has requested at the end of the epoch: there is no step now that would tell the others."""
        run = self.run
        stop, preempt = run.world.sum(np.array([run.requests.stop, run.requests.preempt], np.float64))
        if stop or preempt:
            run.requests.take()
            run.stopped, run.preempted = bool(stop), bool(preempt)
            self.hooks.call("interrupted", self._info())

    def _batches(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """Yield the batches of an epoch from step ``first`` on; waiting is watched like waiting for a rank."""
        run = self.run
        batches = self._prefetch(run.loader.epoch(epoch, first))
        while True:
            with run.world.ledger.waiting(INPUT):
                microbatches = next(batches, None)
            if microbatches is None:
                return
            yield microbatches

    def _train_step(self, batches: list[Batch]) -> Totals | None:
        """Do one step; return its totals over all ranks, or None if the update was left out."""
        run, sync = self.run, self.run.data_parallel
        header, lr = run.setup.arena.header, run.schedule(run.step)
        info = StepInfo(run=run, step=run.step + 1, epoch=run.position.epoch, lr=lr, batches=batches)
        self.hooks.call("step_begin", info)
        sync.begin(self.executor.num_passes(batches))
        header[StepHeader.CONTROL] = run.requests.take()
        self.executor.run(batches, run.step)
        sync.finish()
        run.agreed = sums = StepHeader.read(header)
        run.stopped, run.preempted = sums.stop > 0, sums.preempt > 0
        totals, norm = Totals(sums.weight, sums.loss, sums.correct), sync.norm()
        info = replace(info, totals=totals, norm=norm)
        skipped = self.hooks.gradients_ready(info)
        if skipped:
            run.results.skipped += 1
        else:
            scale = 1 / max(1.0, totals.weight)
            if run.config.optimizer.clip_norm:
                scale *= clip_factor(norm * scale, run.config.optimizer.clip_norm)
            sync.update(run.optimizer, lr, scale)
        run.step += 1
        run.world.first_step_done()
        self._step = replace(info, skipped=skipped) if skipped else info
        return None if skipped else totals

    def _info(self) -> StepInfo:
        """Return the facts between two steps."""
        run = self.run
        return StepInfo(run=run, step=run.step, epoch=run.position.epoch, lr=run.schedule(max(0, run.step - 1)))
