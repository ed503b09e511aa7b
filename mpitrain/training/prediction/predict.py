"""Predictions for a source of any size: ranks read and compute pieces of it, and rank 0 writes them in order."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...comm.ordered_work import OrderedWork
from ...comm.world import World
from ...data.dataset import SEGMENTATION
from ...data.matching.fingerprint import digest_file
from ...data.matching.pieces import ArrayPieces, Pieces, TablePieces, open_pieces
from ...data.matching.signature import Extremes
from ...data.sampler import share
from ...data.tables.options import CsvOptions
from ...data.tables.parts import Division
from ...errors import UserError
from ..same_data import check_same_data
from ..scoring.evaluation import best_of, samples_at_once
from .ensemble import Member, outputs_of
from .files import Columns, PredictionFile


class Written(NamedTuple):
    """Predictions that were written: their number, name and kind of the source, and notes for the user."""

    num_samples: int
    name: str
    split: str
    notes: tuple[str, ...]


def open_source(members: Sequence[Member], source: str, world: World) -> list[Pieces]:
    """Return the pieces of ``source`` as each member takes them (collective).

    Raises
    ------
    AgreedError
        On all ranks, if the source does not suit a member, or ranks have different data.
    """
    with world.together():
        found = [open_pieces(source, member.run.signature, samples_at_once) for member in members]
    first = found[0]
    if isinstance(first, ArrayPieces):
        members[0].run.check_ranks(first.rows, source, world)
    elif isinstance(first, TablePieces):
        with world.together():
            table = {"file": digest_file(first.path)}
        check_same_data(world, table, source)
    for member, pieces in zip(members, found, strict=True):
        member.run.check_weights_alike(world)
        if isinstance(pieces, TablePieces):
            pieces.parts = divided(pieces.division(), world)
    return found


def divided(division: Division, world: World) -> list[CsvOptions]:
    """Do the tasks of a division on all ranks, and return what it returns (collective)."""
    results: list[Any] | None = None
    while True:
        parts: list[CsvOptions] | None = None
        mine: list[Any] = []
        with world.together():
            try:
                task = next(division) if results is None else division.send(results)
                mine = [task.function(item) for item in task.items[share(len(task.items), world.rank, world.size)]]
            except StopIteration as end:
                parts = end.value
        if parts is not None:
            return parts
        results = [result for of_rank in world.all_gather(mine) for result in of_rank]


def predict(members: Sequence[Member], sources: Sequence[Pieces], out: PredictionFile, world: World) -> Written:
    """Compute the outputs of all samples, and write them (collective).

    Parameters
    ----------
    out : PredictionFile
        Opened by rank 0.

    Raises
    ------
    AgreedError
        On all ranks, if samples are not of the kind that a member was trained on, or the file cannot be written.
    """
    predictor = _Predictor(members, sources, out, world)
    if members[0].evaluator.has_whole_model:
        predictor.run_apart()
    else:
        predictor.run_together()
    with world.together():
        if world.rank == 0:
            out.finish()
    return predictor.written()


class _Predictor:
    def __init__(self, members: Sequence[Member], sources: Sequence[Pieces], out: PredictionFile, world: World):
        self._members, self._sources, self._out, self._world = members, sources, out, world
        self._run, self._notes = members[0].run, dict.fromkeys(sources[0].notes)
        self._maps = self._run.signature.task == SEGMENTATION
        self._rows = 0
        self._extremes: Extremes | None = None
        self._kind = ""  # dtype of the samples

    def run_apart(self) -> None:
        """Each rank predicts pieces of its own."""
        error: UserError | None = None
        work = OrderedWork(self._world.group("data"), len(self._sources[0]), self._out.take)
        for number in work:
            try:
                columns = self._named(number, self._joined(self._columns(number, work.poll)))
                work.put(number, self._out.encode(columns, first=number == 0))
            except UserError as found:
                error = found
                work.fail(number)
        with self._world.together():
            if error is not None or work.error is not None:
                raise error or work.error  # type: ignore[misc]  # one of them is there

    def run_together(self) -> None:
        """All ranks, which have parts of the model, predict each piece together."""
        (member,), (source,), world = self._members, self._sources, self._world
        for number in range(len(source)):
            with world.together():
                x, notes = source.read(number)
                self._note(number, x, notes)
            if self._maps:
                columns = self._run.maps(*member.evaluator.best(x))
            else:
                columns = self._run.columns(member.evaluator.all_outputs(x, self._run.signature.num_outputs))
            with world.together():
                if world.rank == 0:
                    self._out.take(self._out.encode(self._named(number, columns), first=number == 0))

    def written(self) -> Written:
        """Return the facts about what was written (collective)."""
        world, first = self._world, self._sources[0]
        whole = self._members[0].evaluator.has_whole_model  # otherwise each rank has counted all of them
        count = int(world.sum(np.array([self._rows if whole or world.rank == 0 else 0], np.float64))[0])
        notes = [*self._notes]
        if self._run.normalizer is not None:
            notes.append(self._complaint(count))
        return Written(count, first.name, first.split, tuple(filter(None, notes)))

    def _complaint(self, count: int) -> str:
        """Return the difference in dtype or scale between samples and training data (collective)."""
        then = self._run.signature.extremes
        channels = 0 if then is None else len(then.least)
        least, most = np.full(channels, np.inf), np.full(channels, -np.inf)
        if self._extremes is not None and len(self._extremes.least) == channels:
            least, most = self._extremes.least, self._extremes.most
        found = Extremes(self._world.minimum(least), self._world.maximum(most))
        kinds = [kind for kind in self._world.all_gather(self._kind) if kind]
        return self._run.signature.complaint(kinds[0], found, count) if kinds and count else ""

    def _note(self, number: int, x: np.ndarray, notes: tuple[str, ...]) -> None:
        """Keep the facts about a piece that are said at the end."""
        self._rows += len(x)
        self._kind = x.dtype.name
        if number == 0:
            self._notes |= dict.fromkeys(notes)
        if len(x) and self._run.normalizer is not None:
            found, before = Extremes.of(x), self._extremes
            if before is not None:
                found = Extremes(np.minimum(before.least, found.least), np.maximum(before.most, found.most))
            self._extremes = found

    def _columns(self, number: int, poll: Callable[[], None]) -> Iterator[Columns]:
        """Yield the columns of each batch of a piece; without rows, if it has none."""
        samples = []
        for source in self._sources:
            x, notes = source.read(number)
            samples.append(x)
            if source is self._sources[0]:
                self._note(number, x, notes)
        if len({len(x) for x in samples}) > 1:
            raise UserError("the runs do not read the same samples from it")
        any_yet = False
        for _, outputs in outputs_of(self._members, samples, slice(0, len(samples[0]))):
            any_yet = True
            yield self._run.maps(*best_of(outputs)) if self._maps else self._run.columns(outputs)
            poll()
        if not any_yet:
            yield self._run.columns(np.empty((0, self._run.signature.num_outputs), np.float32))

    def _named(self, number: int, columns: Columns) -> Columns:
        """Return columns with the file of each sample in front, where samples are files."""
        files = self._sources[0].files(number)
        return {"file": files, **columns} if len(files) else columns

    @staticmethod
    def _joined(batches: Iterator[Columns]) -> Columns:
        found = [dict(columns) for columns in batches]
        return {name: np.concatenate([columns[name] for columns in found]) for name in found[0]}
