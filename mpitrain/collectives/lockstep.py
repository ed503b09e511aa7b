"""Execution of all ranks of a schedule in one process, message by message, without buffering.

A send waits for its receive and a receive for its send, as in MPI with synchronous sends; a schedule that completes
here cannot deadlock under any MPI (Siegel & Avrunin 2005: sufficient for programs without wildcards). Ranks that can
continue wait in a queue, so the work is proportional to the number of messages.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ScheduleError
from .algorithm import Algorithm
from .step import Chunks, Step, as_chunks, count_chunks
from .user_schedule import why_no_step

MOST_NAMED = 32  # chunks that an error message lists one by one


@dataclass
class Program:
    """Progress of one rank through its steps.

    Attributes
    ----------
    step : Step or None
        The current step, None at the end.
    round : int
        Its number.
    clock : int
        Number of messages on the longest path before the step.
    sent_chunks, reduced_chunks : int
        Chunks sent and reduced so far.
    """

    rank: int
    steps: Iterator[Step]
    step: Step | None = None
    round: int = -1
    posted: Any = None
    sent: bool = True
    received: bool = True
    clock: int = 0
    ends: int = 0
    sent_chunks: int = 0
    reduced_chunks: int = 0

    @property
    def where(self) -> str:
        """Description of the round, with the line of the step in a user's file."""
        line = getattr(self.steps, "line", None)
        return f"round {self.round}, line {line}" if line else f"round {self.round}"


@dataclass(frozen=True)
class Measured:
    """Costs of a schedule in messages and chunks.

    Attributes
    ----------
    rounds : int
        Messages on the longest path from start to end.
    steps, sent, reduced : list of int
        Steps, chunks sent and chunks reduced of each rank.
    """

    rounds: int
    steps: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    reduced: list[int] = field(default_factory=list)


Read = Callable[[int, Sequence[int]], Any]
"""read(rank, chunks) returns a snapshot of what a rank sends."""

Write = Callable[[Program, Program, Any], None]
"""write(receiver, sender, payload) delivers a message; ``receiver.clock`` + 1 or later is the round it ends in."""


def run_lockstep(algorithm: Algorithm, size: int, read: Read, write: Write, same_chunks: bool = True) -> Measured:
    """Run all ranks to their ends.

    Parameters
    ----------
    algorithm : Algorithm
    size : int
        P.
    read, write : callables
        Read and write the contents of messages.
    same_chunks : bool
        Both ends of a message must name the same chunks (except in all_to_all).

    Raises
    ------
    ScheduleError
        For an invalid step, two ends of a message that do not match, or a deadlock.
    """
    num_chunks = algorithm.num_chunks(size)
    programs = [Program(rank, algorithm(rank, size)) for rank in range(size)]
    ready = programs[::-1]
    while ready:
        program = ready.pop()
        if not _advance(program, size, num_chunks, read):
            continue
        step = program.step
        assert step is not None
        if not program.sent:
            peer = programs[step.send_to]  # type: ignore[index]
            if not peer.received and peer.step is not None and peer.step.recv_from == program.rank:
                _deliver(program, peer, write, same_chunks)
                if peer.sent and peer is not program:
                    ready.append(peer)
        if not program.received:
            peer = programs[step.recv_from]  # type: ignore[index]
            if not peer.sent and peer.step is not None and peer.step.send_to == program.rank:
                _deliver(peer, program, write, same_chunks)
                if peer.received and peer is not program:
                    ready.append(peer)
        if program.sent and program.received:
            ready.append(program)
    waiting = [p for p in programs if p.step is not None]
    if waiting:
        raise ScheduleError(_describe_deadlock(programs, waiting[0]))
    return Measured(
        rounds=max(p.clock for p in programs),
        steps=[p.round for p in programs],
        sent=[p.sent_chunks for p in programs],
        reduced=[p.reduced_chunks for p in programs],
    )


def _advance(program: Program, size: int, num_chunks: int, read: Read) -> bool:
    """Post the next step; return False at the end."""
    program.clock = max(program.clock, program.ends)
    program.step = step = next(program.steps, None)
    program.round += 1
    if step is None:
        return False
    _check_step(program, step, size, num_chunks)
    program.sent, program.received = step.send_to is None, step.recv_from is None
    try:
        program.posted = None if program.sent else read(program.rank, as_chunks(step.send))
    except ScheduleError as error:
        raise ScheduleError(f"{error} (in its {program.where})") from None
    return True


def _deliver(sender: Program, receiver: Program, write: Write, same_chunks: bool) -> None:
    assert sender.step is not None
    assert receiver.step is not None
    sent, received = as_chunks(sender.step.send), as_chunks(receiver.step.recv)
    _check_ends(sender, receiver, sent, received, same_chunks)
    write(receiver, sender, sender.posted)
    sender.sent = receiver.received = True
    sender.posted = None
    sender.sent_chunks += len(sent)
    receiver.reduced_chunks += len(received) if receiver.step.reduce else 0
    end = max(sender.clock, receiver.clock) + 1
    sender.ends, receiver.ends = max(sender.ends, end), max(receiver.ends, end)


def _check_step(program: Program, step: Step, size: int, num_chunks: int) -> None:
    why = why_no_step(step, program.rank, size)
    for name, chunks in (("send", step.send), ("recv", step.recv)):
        why = why or _why_no_chunks(name, chunks, num_chunks)
    if not why and not step.reduce and step.send is not None and step.recv is not None:
        both = set(as_chunks(step.send)) & set(as_chunks(step.recv))
        why = f"chunk {min(both)} is sent and overwritten at the same time (a data race)" if both else ""
    if why:
        raise ScheduleError(f"rank {program.rank} of {size}, {program.where}: {why}")


def _why_no_chunks(name: str, chunks: Chunks, num_chunks: int) -> str:
    """Return the error in the chunks of one side of a step, \"\" if there is none."""
    for part in chunks if isinstance(chunks, tuple) else (chunks,):
        run = part if isinstance(part, range) else as_chunks(part)
        wrong = [c for c in (run[:1], run[-1:]) if c and not 0 <= c[0] < num_chunks]
        if wrong:
            there = f"chunks go from 0 to {num_chunks - 1}" if num_chunks > 1 else "there is no chunk but 0"
            return f"{name} is {wrong[0][0]}, but {there}"
        if isinstance(run, range) and run.step != 1:
            return f"{name} is {run}, but a range goes up in steps of 1"
    if isinstance(chunks, tuple) and len(set(as_chunks(chunks))) < count_chunks(chunks):
        return f"{name} names a chunk twice: {chunks}"
    return ""


def _check_ends(
    sender: Program, receiver: Program, sent: Sequence[int], received: Sequence[int], same_chunks: bool
) -> None:
    if len(sent) != len(received):
        raise ScheduleError(
            f"rank {sender.rank} sends {len(sent)} in its {sender.where} ({show_chunks(sent)}), but rank "
            f"{receiver.rank} receives {len(received)} in its {receiver.where} ({show_chunks(received)})"
        )
    if same_chunks and sent != received and tuple(sent) != tuple(received):
        raise ScheduleError(
            f"rank {sender.rank} sends {show_chunks(sent)} in its {sender.where}, but rank {receiver.rank} "
            f"takes it for {show_chunks(received)} in its {receiver.where}; both ends must name the same"
        )


def show_chunks(chunks: Sequence[int]) -> str:
    """Return a description of ``chunks``."""
    if len(chunks) == 1:
        return f"chunk {chunks[0]}"
    if isinstance(chunks, range) and len(chunks):
        return f"chunks {chunks.start} to {chunks.stop - 1}"
    if len(chunks) > MOST_NAMED:
        return f"{len(chunks)} chunks"
    return f"chunks {', '.join(map(str, chunks))}" if len(chunks) else "no chunk"


def _waits_for(program: Program, programs: list[Program]) -> tuple[int, str]:
    step = program.step
    assert step is not None
    who = f"rank {program.rank} ({program.where})"
    if not program.received:
        assert step.recv_from is not None
        peer = programs[step.recv_from]
        elsewhere = peer.step.send_to if peer.step is not None and not peer.sent else None
        which = "" if elsewhere in (None, program.rank) else f", which sends to {elsewhere}"
        return peer.rank, f"{who} waits for a message from {peer.rank}{which}"
    assert step.send_to is not None
    peer = programs[step.send_to]
    elsewhere = peer.step.recv_from if peer.step is not None and not peer.received else None
    which = "" if elsewhere in (None, program.rank) else f", which receives from {elsewhere}"
    return peer.rank, f"{who} waits for {peer.rank} to receive{which}"


def _describe_deadlock(programs: list[Program], program: Program) -> str:
    seen: list[Program] = []
    lines: list[str] = []
    while program not in seen:
        seen.append(program)
        if program.step is None:
            lines.append(f"rank {program.rank} has finished")
            break
        peer, text = _waits_for(program, programs)
        lines.append(text)
        program = programs[peer]
    else:
        first = seen.index(program)
        seen, lines = seen[first:], lines[first:]
        lines += _why_a_cycle(seen)
    return "deadlock: " + "; ".join(lines)


def _why_a_cycle(cycle: list[Program]) -> list[str]:
    """Return a hint if all ranks of a cycle wait in the same way."""
    steps = [program.step for program in cycle]
    if all(step is not None and step.send_to is None for step in steps):
        return ["all of them receive first: one must send first, or send and receive in one Step"]
    if all(step is not None and step.recv_from is None for step in steps):
        return ["all of them send first, and nothing is buffered: one must receive first, or do both in one Step"]
    return []
