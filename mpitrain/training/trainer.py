"""The loop: epochs of steps, each a forward, a backward and an update that all ranks make alike."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..comm.watch.slot import INPUT
from ..comm.world import World
from ..config import Config
from ..context import Context
from ..data.loader import Batch, Loader
from ..errors import AgreedError
from ..losses import Totals
from ..optim import clip_factor
from ..parallel.data import DataParallel
from ..parallel.virtual_shards import Add, VirtualShards, tree_all_reduce
from .checkpoint import State, Writer
from .checkpoint.agenda import Agenda
from .clock import StepClock, Times
from .evaluation import Evaluator
from .feed import Feed
from .graphs import make_graphs
from .limits import num_microbatches, num_shards
from .non_finite import NonFinite
from .position import Position
from .profile import Profiler
from .progress import EpochResult, Lines
from .recipe import make_optimizer, make_schedule
from .record import Record
from .resume import facts_of
from .run_directory import CHECKPOINTS, RunDirectory
from .scoring import make_scoring
from .session import Session, augment_of
from .survival import Rescue
from .wishes import Wishes, nothing

# places in the arena's header: they are summed with the first bucket, and so all ranks know after each step
WEIGHT, LOSS, CORRECT, STOP, LEAVE, SAVE, IDLE = range(7)


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
    wishes : callable() -> Wishes
        Asked in every step; what any rank wishes, all ranks do after that step.
    run_path : Path, optional
        Directory of the run, on all ranks: where checkpoints go. Without it none are written.

    Attributes
    ----------
    step : int
        Steps done, over all epochs.
    position : Position
        Where in the data the next step begins.
    devices : list of str
        What the ranks compute on: cpu, or the name of a GPU.
    record : Record
    times : Times
        This rank's, over all epochs of this process.
    writer : Writer or None
        Of checkpoints.
    stopped : bool
        True after a stop before the last epoch's end.
    left : bool
        True where a checkpoint was to be written instead of an end of the run.
    resumed_at : int
        The step that the run was resumed at; 0 if it was not.
    losses : list of dict
        Of ranks, while training went on with the others (--elastic).
    profiler : Profiler or None
        What each layer and message took, if that was asked for.
    rescue : Rescue or None
        What to go back to when a rank is lost.
    """

    def __init__(
        self,
        config: Config,
        session: Session,
        world: World,
        directory: RunDirectory | None,
        progress: Lines,
        wishes: Callable[[], Wishes] = nothing,
        run_path: Path | None = None,
    ):
        self.config, self.session, self.world = config, session, world
        self._progress, self._wishes = progress, wishes
        o, p, data = config.optimizer, config.parallel, session.dataset
        v = num_shards(config, len(data.train), world.size)
        microbatches = v // world.size if v else num_microbatches(config, len(data.train), world.size)
        world.use_progress_thread(p.overlap == "thread")
        self.data_parallel = DataParallel(
            session.model,
            session.arena,
            world,
            all_reduce=tree_all_reduce(world, p.all_reduce, session.arena.gradients.nbytes) if v else p.all_reduce,
            shard="none" if v else p.shard,
            bucket_bytes=int(p.bucket_mb * 2**20) or world.choose_bucket_bytes(),
            synchronise_batch_norm=config.model.batch_norm == "synchronized",
        )
        self.loader = Loader(
            data.train,
            batch_size=config.data.batch_size,
            rank=world.rank,
            size=world.size,
            seed=config.run.seed,
            normalizer=session.normalizer,
            target_normalizer=session.target_normalizer,
            augment=augment_of(config),
            microbatches=microbatches,
            virtual_ranks=v > 0,
            prefetch=config.data.prefetch,
            device=session.arena.device,
        )
        self._feed = Feed(session.arena.device)
        self.devices = sorted(set(world.all_gather(session.arena.device.name)))
        self.optimizer = make_optimizer(o, session.arena)
        self._lr = make_schedule(o, len(self.loader), config.run.epochs)
        self._saved = Context(seed=config.run.seed, device=session.arena.device)
        self._shards = VirtualShards(session.model, session.arena, world, v, self._saved) if v else None
        self._graphs = make_graphs(config, self.data_parallel, session.model, self._saved, microbatches, progress.note)
        self._evaluator = Evaluator(session.model, world, session.normalizer, session.arena.device)
        self._scoring = make_scoring(session.loss, session.target_normalizer, data.num_outputs)
        self.step = self.resumed_at = 0
        self.position = Position()
        self.record = Record(self._scoring, directory, progress)
        self.times = Times()
        self.stopped = self.left = False
        self.losses: list[dict[str, Any]] = []
        self.rescue = Rescue(self) if world.elastic else None
        self._non_finite = NonFinite(self, self._saved)
        self._agenda = Agenda(config.checkpoint.every, config.checkpoint.max_time)
        self.writer = None if run_path is None else self._make_writer(run_path)
        self.profiler = Profiler(self) if config.run.profile else None

    def _make_writer(self, run_path: Path) -> Writer:
        return Writer(
            self.world,
            run_path / CHECKPOINTS,
            self.state,
            slices=self.data_parallel.exchange.own,
            own_states=self.config.model.batch_norm == "local" and bool(self.session.arena.states.size),
            keep=self.config.checkpoint.keep,
            note=self._progress.note,
        )

    def go_on_from(self, other: "Trainer") -> None:
        """Take over where ``other``, a trainer of the same session on other ranks, has come to."""
        for name, slot in other.optimizer.slots.items():
            np.copyto(self.optimizer.slots[name], slot)
        self.optimizer.step_count = other.optimizer.step_count
        self.step, self.position, self.resumed_at = other.step, other.position, other.resumed_at
        self.record.results, self.record.best_epoch = other.record.results, other.record.best_epoch
        self.record.skipped = other.record.skipped
        self.times, self.stopped, self.left = other.times, other.stopped, other.left
        if self.rescue is not None:
            self.rescue = Rescue(self)

    @property
    def state(self) -> State:
        """What a step changes."""
        return State(self.session.arena, self.optimizer)

    def run(self) -> None:
        """Train all epochs, or up to the step in which somebody asked to stop or to leave.

        Raises
        ------
        AgreedError
            On all ranks, if the loss is no longer a number or the ranks' weights differ.
        """
        try:
            for _ in range(self.position.epoch, self.config.run.epochs + 1):
                self._epoch()
                if self.stopped or self.left:
                    break
            if self.writer is not None and self.writer.stalls and not (self.stopped or self.left):
                self._save()  # the end, for who wants more epochs later
        finally:
            self._progress.stop()
            if self.writer is not None and sys.exc_info()[0] in (None, AgreedError):
                self.writer.close()

    def _epoch(self) -> None:
        clock, here, first = StepClock(), self.position, self.position.steps
        self._progress.start(here.epoch, len(self.loader), first)
        begin = time.perf_counter()
        input_before = self.loader.wait_seconds
        for microbatches in self._batches(here.epoch, first):
            sums = self._train_step(microbatches)
            here.add(sums)
            if sums is not None:
                self.record.step_done(self.step, here.epoch, Totals(*sums), self._lr(self.step - 1))
            input_now = self.loader.wait_seconds
            clock.step_done(input_now - input_before, self.data_parallel.sync_seconds)
            input_before, self.data_parallel.sync_seconds = input_now, 0.0
            speed = (self._samples(here.steps) - self._samples(first)) / (time.perf_counter() - begin)
            self._progress.step(self._train_scores(here.totals), speed, clock.so_far())
            self._checkpoint_if_due()
            if self.stopped or self.left:
                break
        here.seconds += time.perf_counter() - begin
        times = clock.epoch_done(self.world)
        self.times.add(times)
        if self.stopped or self.left:
            self._save()
        if not self.left:
            self._end_epoch(times)

    def _end_epoch(self, times: Times) -> None:
        """Evaluate, and keep what the epoch has brought."""
        here = self.position
        self.data_parallel.verify(f"after epoch {here.epoch}")
        self.data_parallel.average_states()
        test = self._evaluator.scores([self.session.dataset.test], self._scoring)
        train, speed = self._train_scores(here.totals), self._samples(here.steps) / max(here.seconds, 1e-9)
        lr = self._lr(self.step - 1)
        self.record.epoch_done(EpochResult(here.epoch, self.step, lr, train, test, speed, here.seconds, times))
        last = self.stopped or here.epoch == self.config.run.epochs
        with self.world.together(asleep=last):
            self.record.write(self.session.arena, self.session.facts(self.config), last=last)
        if self.rescue is not None:
            self.rescue.epoch_ends()
        self.position = Position(here.epoch + 1)

    def _samples(self, steps: int) -> int:
        return min(steps * self.config.data.batch_size, len(self.session.dataset.train.x))

    def _checkpoint_if_due(self) -> None:
        """Complete the checkpoint that all ranks have written, begin one that is due: alike on all ranks."""
        if self.writer is None:
            return
        if self.writer.running and self._asked[IDLE] == self.world.size:
            self.writer.end()
        due = self._asked[SAVE] or self._agenda.is_due_after(self.step)
        if due:
            if self.writer.running:  # the disk is slower than we are asked to be
                self.writer.end()
            self._begin_checkpoint(self.writer)

    def _save(self) -> None:
        """Write a checkpoint and wait for it."""
        if self.writer is not None:
            self.writer.close()
            self._begin_checkpoint(self.writer)
            self.writer.close()

    def _begin_checkpoint(self, writer: Writer) -> None:
        self.record.flush()
        writer.begin(self.step, facts_of(self) if self.world.rank == 0 else {})
        self._agenda.saved()

    def _batches(self, epoch: int, first: int) -> Iterator[list[Batch]]:
        """Yield the batches of an epoch from step ``first`` on; waiting is watched like waiting for a rank."""
        batches = self._feed(self.loader.epoch(epoch, first))
        while True:
            with self.world.ledger.waiting(INPUT):
                microbatches = next(batches, None)
            if microbatches is None:
                return
            yield microbatches

    def _train_step(self, microbatches: list[Batch]) -> np.ndarray | None:
        """Do one step; return weight, loss and correct, summed over all ranks, or None if it was left out."""
        arena = self.session.arena
        if self.rescue is not None:
            self.rescue.take()
        self.data_parallel.begin(len(microbatches) if self._shards is None else 1)
        arena.header[STOP : IDLE + 1] = self._say()
        self._non_finite.begin()
        if self._shards is not None:
            self._shards.run(microbatches, self._forward_backward)
        else:
            for place, batch in enumerate(microbatches):
                self._run(place, batch)
        self.data_parallel.finish()
        self._asked = arena.header[: IDLE + 1].astype(np.float64)
        self.stopped, self.left = bool(self._asked[STOP]), bool(self._asked[LEAVE])
        sums = self._asked[:STOP]
        norm = self.data_parallel.norm()
        finite = self._non_finite.passes(sums[LOSS], norm, microbatches)
        if finite:
            scale = 1 / max(1.0, sums[WEIGHT])
            if self.config.optimizer.clip_norm:
                scale *= clip_factor(norm * scale, self.config.optimizer.clip_norm)
            self.data_parallel.update(self.optimizer, self._lr(self.step), scale)
        self.step += 1
        self.world.first_step_done()
        every = self.config.parallel.check_every
        if every and self.step % every == 0:
            self.data_parallel.verify(f"after step {self.step}")
        return sums if finite else None

    def _run(self, place: int, batch: Batch) -> None:
        """Do forward and backward of microbatch ``place``."""
        self._saved.step, self._saved.first = self.step, batch.first
        work = partial(self._forward_backward, batch, self._saved, self._add_sums)
        if self._graphs is None:
            work()
        else:
            self._graphs.run(place, batch, work)

    def _forward_backward(self, batch: Batch, saved: Context, add: Add) -> None:
        model, loss = self.session.model, self.session.loss
        saved.step, saved.first = self.step, batch.first
        outputs = model.forward(batch.x, saved)
        add(loss.forward(outputs, batch.y, saved))
        model.backward(loss.backward(saved), saved)

    def _add_sums(self, sums: Sequence[float]) -> None:
        self.session.arena.add_totals(sums)

    def _say(self) -> tuple[bool, ...]:
        """Return what this rank tells the others with its gradients: stop, leave, save, idle."""
        wishes, first = self._wishes(), self.world.rank == 0
        busy = self.writer is not None and self.writer.running
        leave = wishes.leave or (first and self._agenda.is_up())
        save = wishes.save or (first and self._agenda.is_due() and not busy)  # by the clock, never faster than the disk
        return wishes.stop, leave, save, self.writer is None or self.writer.idle

    def _train_scores(self, totals: np.ndarray) -> dict[str, float]:
        weight = max(1.0, totals[WEIGHT])
        scores = {"loss": float(totals[LOSS] / weight)}
        if self._scoring.metric == "accuracy":
            scores["accuracy"] = float(totals[CORRECT] / weight)
        return scores
