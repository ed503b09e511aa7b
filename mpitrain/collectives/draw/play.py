"""Recording of a whole schedule, message by message, for all drawings."""

from dataclasses import dataclass, field

from ...errors import UserError
from ..algorithm import Algorithm, make_algorithm
from ..goal import GOALS, Goal
from ..lockstep import Program
from ..provenance import Provenance
from ..step import Schedule, as_chunks

MOST_CELLS = 1 << 15  # ranks times chunks


class TooLargeError(UserError):
    """Raised for a drawing that would take long and be unreadable."""


@dataclass(frozen=True)
class Message:
    """One message.

    Parameters
    ----------
    round : int
        Length of the longest chain of messages that ends with this one, from 1.
    sender, sender_step, receiver, receiver_step : int
        The two ends, and the number of the step that each of them is in.
    sent, received : tuple of int
        Chunks as the sender and as the receiver name them (different for all_to_all only).
    reduce : bool
        Added to what is there, or put in its place.
    payload, after : tuple of int
        Sets of contributions (see goal.py), one a chunk: what travels, and what the receiver then holds.
    """

    round: int
    sender: int
    sender_step: int
    receiver: int
    receiver_step: int
    sent: tuple[int, ...]
    received: tuple[int, ...]
    reduce: bool
    payload: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Play:
    """All messages of a schedule for one P, and what the ranks hold after each round.

    Attributes
    ----------
    name, collective : str
    size, num_chunks, buffers, root : int
        P; chunks of all buffers together; how many buffers they belong to; where the collective has a root.
    messages : list of Message
        By round, then by sender.
    start, finish : list of lists
        ``start[rank][chunk]`` and ``finish[rank][chunk]``: sets of contributions; None where anything may be left.
    error : str
        Error of the schedule, empty if there is none; the messages are those before it.
    """

    name: str
    collective: str
    size: int
    num_chunks: int
    buffers: int = 1
    root: int = 0
    messages: list[Message] = field(default_factory=list)
    start: list[list[int]] = field(default_factory=list)
    finish: list[list[int | None]] = field(default_factory=list)
    error: str = ""

    @property
    def num_rounds(self) -> int:
        """Messages on the longest path."""
        return self.messages[-1].round if self.messages else 0

    @property
    def goal(self) -> Goal:
        """Start and end of the collective, by contributions."""
        return GOALS[self.collective].at(self.root)

    def rounds(self) -> list[list[Message]]:
        """Return the messages of each round."""
        by_round: list[list[Message]] = [[] for _ in range(self.num_rounds)]
        for message in self.messages:
            by_round[message.round - 1].append(message)
        return by_round

    def states(self, most: int | None = None) -> list[list[list[int]]]:
        """Return the contributions, ``states[round][rank][chunk]``, up to round ``most``; round 0 is the start."""
        states = [[list(row) for row in self.start]]
        for messages in self.rounds()[:most]:
            state = [list(row) for row in states[-1]]
            for message in messages:
                for chunk, contributions in zip(message.received, message.after, strict=True):
                    state[message.receiver][chunk] = contributions
            states.append(state)
        return states


def is_drawable(algorithm: Algorithm, size: int) -> bool:
    """Return whether a drawing of ``size`` ranks and their chunks is of use, and done in a few seconds."""
    return size * algorithm.num_chunks(size) <= MOST_CELLS


def play(algorithm: Algorithm | Schedule, size: int) -> Play:
    """Play ``algorithm`` with ``size`` ranks; one that is wrong is played as far as it goes.

    Raises
    ------
    UserError
        If there are too many ranks and chunks to be drawn.

    Examples
    --------
    >>> from mpitrain.collectives import find
    >>> [(m.sender, m.receiver, m.received, m.reduce) for m in play(find("ring"), 2).messages[:2]]
    [(0, 1, (0,), True), (1, 0, (1,), True)]
    """
    algorithm = make_algorithm(algorithm)
    try:
        if not is_drawable(algorithm, size):
            raise TooLargeError(
                f"{algorithm.name} with {size:,} ranks and {algorithm.num_chunks(size):,} chunks is too large to be "
                f"drawn (ranks times chunks: up to {MOST_CELLS:,})"
            )
        recorder = _Recorder(algorithm, size)
    except TooLargeError:
        raise
    except UserError as error:
        return Play(algorithm.name, algorithm.collective, size, 0, error=str(error))
    start = [list(row) for row in recorder.held]
    try:
        recorder.run()
        wrong = ""
    except UserError as error:
        wrong = str(error)
    num_chunks = recorder.num_chunks
    return Play(
        name=algorithm.name,
        collective=algorithm.collective,
        size=size,
        num_chunks=num_chunks,
        buffers=algorithm.buffers,
        root=algorithm.root,
        messages=sorted(recorder.messages, key=lambda m: (m.round, m.sender, m.receiver)),
        start=start,
        finish=[recorder.goal.finish(rank, size, num_chunks) for rank in range(size)],
        error=wrong,
    )


class _Recorder(Provenance):
    """Provenance with a record of messages; a wrong message is the last one."""

    def __init__(self, algorithm: Algorithm, size: int) -> None:
        super().__init__(algorithm, size)
        self.messages: list[Message] = []

    def write(self, receiver: Program, sender: Program, payload: list[int]) -> None:
        assert sender.step is not None
        assert receiver.step is not None
        received, reduce = tuple(as_chunks(receiver.step.recv)), receiver.step.reduce
        held = self.held[receiver.rank]
        after = [held[c] | p if reduce else p for c, p in zip(received, payload, strict=True)]
        self.messages.append(
            Message(
                max(sender.clock, receiver.clock) + 1,
                sender.rank,
                sender.round,
                receiver.rank,
                receiver.round,
                tuple(as_chunks(sender.step.send)),
                received,
                reduce,
                tuple(payload),
                tuple(after),
            )
        )
        super().write(receiver, sender, payload)
