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
from .queued import make_queued_update
from .run import TrainingRun
from .step_timer import StepTimer


class TrainingLoop:
    """Training loop of a run on all ranks.

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
        self._queued = make_queued_update(run, hooks)
        run.announce = hooks.call

    def train(self) -> None:
        """Train all steps, or up to a request to stop or a preemption, or until early stopping ends the run.

        Raises
        ------
        AgreedError
            On all ranks, if the loss is not finite or the ranks' weights differ.
        """
        run = self.run
        run.timer = StepTimer()
        try:
            self.hooks.call("train_begin", self._info())
            while run.position.epoch <= run.length.last_epoch and not run.finished:
                self._epoch()
                if run.is_last or run.preempted:
                    break
            self.hooks.call("train_end", self._info())
        except BaseException as error:
            self.hooks.exception(self._info(), error)
            raise

    def _epoch(self) -> None:
        """Train an epoch, or what is left of it, with the evaluations that are due in it."""
        run = self.run
        self.hooks.call("epoch_begin", self._info())
        self._evaluate_if_due()  # where the run was resumed between a step and its evaluation
        if not run.is_last:
            self._steps()
        if run.ends_early:
            self.hooks.call("interrupted", self._info())
        if not run.preempted:
            with run.timeline.part("end of an epoch"):
                self._end_epoch()

    def _steps(self) -> None:
        """Run the steps of the epoch up to its end, or the end of the run."""
        run = self.run
        here = run.position
        samples_before, num_steps = run.loader.batches.before, len(run.loader)
        taken = -1  # samples of the epoch before the step; they are known when the loader has begun it
        due = run.length.next_evaluation(run.step)
        before, input_before = time.perf_counter(), run.loader.wait_seconds
        for batches in self._batches(here.epoch, here.steps):
            taken = samples_before(here.steps) if taken < 0 else taken
            until = samples_before(here.steps + 1)
            here.add(self._train_step(batches), until - taken)
            taken = until
            input_now = run.loader.wait_seconds
            stage_seconds = 0.0 if run.runner is None else run.take_stage_seconds(run.runner)
            run.timer.step_done(input_now - input_before, run.data_parallel.sync_seconds, stage_seconds)
            input_before, run.data_parallel.sync_seconds = input_now, 0.0
            self.hooks.call("step_end", self._step)
            before, begin = time.perf_counter(), before
            here.seconds += before - begin
            if run.ends_early:
                break
            if run.step == due and here.steps < num_steps:  # otherwise it is due at the end of the epoch
                if run.length.is_last(due):
                    break
                self._evaluate_if_due()
                if run.finished:
                    break
                due = run.length.next_evaluation(due)
                before, input_before = time.perf_counter(), run.loader.wait_seconds

    def _end_epoch(self) -> None:
        """Evaluate if due, and continue with the next epoch unless the run ends within this one."""
        run = self.run
        self._evaluate_if_due()
        self.hooks.call("epoch_end", self._info())
        if run.position.steps >= len(run.loader) or run.stopped:
            run.position = run.position.next_epoch()
        if not run.is_last:
            self._agree()

    def _evaluate_if_due(self) -> None:
        """Evaluate after a step if due or if the run is stopped, once."""
        run = self.run
        due = run.stopped or run.length.evaluates_after(run.step)
        if not due or run.step <= run.results.last_step:
            return
        with run.timeline.part("evaluation"):
            run.period_times = run.timer.epoch_done(run.group)
            run.times.add(run.period_times)
            run.data_parallel.average_states()
            self.hooks.call("evaluate", self._info())
            run.position.begin_period()
            run.timer = StepTimer()

    def _agree(self) -> None:
        """Carry out requests of hooks at the end of an epoch, where no step passes them to the other ranks."""
        run = self.run
        stop, preempt = run.world.sum(np.array([run.requests.stop, run.requests.preempt], np.float64))
        if stop or preempt:
            run.requests.take()
            run.stopped, run.preempted = bool(stop), bool(preempt)
            self.hooks.call("interrupted", self._info())
            if not run.preempted:
                self._evaluate_if_due()

    def _batches(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """Yield the batches of an epoch from step ``first`` on; waiting for input has a time-out, too."""
        batches, ledger = self._prefetch(self.run.loader.epoch(epoch, first)), self.run.world.ledger
        label = ledger.label(INPUT)
        while True:
            at = ledger.begin(label)
            try:
                microbatches = next(batches, None)
            finally:
                ledger.end(at)
            if microbatches is None:
                return
            yield microbatches

    def _train_step(self, batches: list[Batch]) -> Totals | None:
        """Do one step; return totals over all ranks, or None if the update was left out or the ranks do not meet."""
        run, sync = self.run, self.run.data_parallel
        header, lr = run.setup.arena.header, run.schedule(run.step)
        info = StepInfo(run=run, step=run.step + 1, epoch=run.position.epoch, lr=lr, batches=batches)
        self.hooks.call("step_begin", info)
        sync.begin(self.executor.num_passes(batches), step=info.step, meet=not sync.every_step and run.must_meet)
        if sync.meets:  # requests wait for a step in which they reach the other ranks
            header[StepHeader.CONTROL] = run.requests.take()
        self.executor.run(batches, run.step)
        if self._queued is not None:
            self._queued.begin(lr)
        sync.finish(None if self._queued is None else self._queued.queue)
        run.agreed = sums = StepHeader.read(header)
        run.stopped, run.preempted = sums.stop > 0, sums.preempt > 0
        totals, norm = Totals(sums.weight, sums.loss, sums.correct), sync.norm()
        info = replace(info, totals=totals, norm=norm, local=not sync.meets)
        skipped = self.hooks.gradients_ready(info)
        if skipped:
            run.results.skipped += 1
            sync.skip()
            if self._queued is not None:
                self._queued.undo()
        elif self._queued is None:
            scale = 1 / (max(1.0, totals.weight) if sync.every_step else sync.divisor(totals.weight))
            if run.config.optimizer.clip_norm:
                scale *= clip_factor(norm * scale, run.config.optimizer.clip_norm)
            sync.update(run.optimizer, lr, scale)
        run.step += 1
        if run.step == run.resumed_at + 1:
            run.world.first_step_done()
        self._step = replace(info, skipped=skipped) if skipped else info
        return totals if sync.meets and not skipped else None

    def _info(self) -> StepInfo:
        """Return the information for hooks between two steps."""
        run = self.run
        return StepInfo(run=run, step=run.step, epoch=run.position.epoch, lr=run.schedule(max(0, run.step - 1)))
