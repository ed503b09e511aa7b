"""All ranks of a schedule in one process, message by message, with no buffering between them.

A send waits for its receive and a receive for its send, as in MPI with synchronous sends; a schedule that gets
through here deadlocks under no MPI (Siegel & Avrunin 2005: enough for programs without wildcards). Ranks that can
go on wait in a queue, so the work is proportional to the number of messages.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from .algorithm import Algorithm
from .step import Step, as_chunks

MAX_STEPS = 1_000_000  # of one rank: a generator with more is taken for one that does not end


class ScheduleError(UserError):
    """A schedule that is wrong; the message says which rank, in which round, and why."""


@dataclass
class Program:
    """One rank on its way through its steps.

    Attributes
    ----------
    step : Step or None
        The step under way, None at the end.
    round : int
        Its number.
    clock : int
        How many messages, one after the other, had to pass before it could start.
    sent_chunks, reduced_chunks : int
        So far.
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


@dataclass(frozen=True)
class Measured:
    """What a schedule took, in messages and chunks.

    Attributes
    ----------
    rounds : int
        Messages on the longest path from start to end.
    steps, sent, reduced : list of int
        Steps, chunks sent and chunks added up, of each rank.
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
    """Run every rank to its end.

    Parameters
    ----------
    algorithm : Algorithm
    size : int
        P.
    read, write : callables
        What the messages carry.
    same_chunks : bool
        Both ends of a message must name the same chunks (not so in all_to_all, whose chunks are places).

    Raises
    ------
    ScheduleError
        For a step that no MPI could run, two ends that do not fit, or a deadlock.
    """
    num_chunks = algorithm.num_chunks(size)
    programs = [Program(rank, _guarded(algorithm, rank, size)) for rank in range(size)]
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


def _guarded(algorithm: Algorithm, rank: int, size: int) -> Iterator[Step]:
    """Yield the steps; whatever else a schedule does (raise, go on for ever) is its author's to hear about."""
    number = 0
    try:
        for number, step in enumerate(algorithm(rank, size)):
            yield step
            if number == MAX_STEPS:
                raise ScheduleError(f"rank {rank} of {size} is still yielding after {MAX_STEPS} steps; does it end?")
    except (UserError, GeneratorExit):
        raise
    except Exception as error:
        where = f"rank {rank} of {size}, after round {number}"
        raise ScheduleError(f"{where}: the schedule fails with {type(error).__name__}: {error}") from error


def _advance(program: Program, size: int, num_chunks: int, read: Read) -> bool:
    """Go on to the next step and post it; False at the end."""
    program.clock = max(program.clock, program.ends)
    program.step = step = next(program.steps, None)
    program.round += 1
    if step is None:
        return False
    _check_step(program.rank, program.round, step, size, num_chunks)
    program.sent, program.received = step.send_to is None, step.recv_from is None
    program.posted = None if program.sent else read(program.rank, as_chunks(step.send))
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


def _check_step(rank: int, number: int, step: Step, size: int, num_chunks: int) -> None:
    if not isinstance(step, Step):
        _reject(rank, size, number, f"a schedule yields Step objects, not {type(step).__name__}")
    sides = (("send_to", step.send_to, "send", step.send), ("recv_from", step.recv_from, "recv", step.recv))
    for peer_name, peer, chunks_name, chunks in sides:
        if (peer is None) != (chunks is None):
            _reject(rank, size, number, f"{peer_name} and {chunks_name} must both be given or both be None")
        if peer is None:
            continue
        if peer == rank:
            alone = "; with one rank there is nothing to send" if size == 1 else ""
            _reject(rank, size, number, f"{peer_name} is the rank itself; a rank cannot message itself{alone}")
        if not isinstance(peer, int) or not 0 <= peer < size:
            there = f"ranks go from 0 to {size - 1}" if size > 1 else "there is no rank but 0"
            _reject(rank, size, number, f"{peer_name} is {peer}, but {there}")
        _check_chunks(rank, size, number, chunks_name, chunks, num_chunks)
    if step.reduce and step.recv_from is None:
        _reject(rank, size, number, "reduce without anything to receive")
    if not step.reduce and step.send is not None and step.recv is not None:
        both = set(as_chunks(step.send)) & set(as_chunks(step.recv))
        if both:
            _reject(rank, size, number, f"chunk {min(both)} is sent and overwritten at the same time (a data race)")


def _check_chunks(rank: int, size: int, number: int, name: str, chunks: Any, num_chunks: int) -> None:
    if not isinstance(chunks, int | range | tuple):
        _reject(rank, size, number, f"{name} is {chunks!r}, but must be a chunk, a range of chunks or a tuple of them")
    wanted = as_chunks(chunks)
    ends = (wanted[0], wanted[-1]) if isinstance(wanted, range) and len(wanted) else wanted
    wrong = [c for c in ends if not isinstance(c, int) or not 0 <= c < num_chunks]
    if wrong:
        _reject(rank, size, number, f"{name} is {wrong[0]}, but chunks go from 0 to {num_chunks - 1}")
    if isinstance(wanted, range) and wanted.step != 1:
        _reject(rank, size, number, f"{name} is {wanted}, but a range goes up in steps of 1")
    if isinstance(wanted, tuple) and len(set(wanted)) < len(wanted):
        _reject(rank, size, number, f"{name} names a chunk twice: {wanted}")


def _reject(rank: int, size: int, number: int, why: str) -> None:
    raise ScheduleError(f"rank {rank} of {size}, round {number}: {why}")


def _check_ends(
    sender: Program, receiver: Program, sent: Sequence[int], received: Sequence[int], same_chunks: bool
) -> None:
    if len(sent) != len(received):
        raise ScheduleError(
            f"rank {sender.rank} sends {len(sent)} in its round {sender.round} ({show_chunks(sent)}), but rank "
            f"{receiver.rank} receives {len(received)} in its round {receiver.round} ({show_chunks(received)})"
        )
    if same_chunks and sent != received and tuple(sent) != tuple(received):
        raise ScheduleError(
            f"rank {sender.rank} sends {show_chunks(sent)} in its round {sender.round}, but rank {receiver.rank} "
            f"takes it for {show_chunks(received)} in its round {receiver.round}; both ends must name the same"
        )


def show_chunks(chunks: Sequence[int]) -> str:
    """Return ``chunks`` in words."""
    if len(chunks) == 1:
        return f"chunk {chunks[0]}"
    if isinstance(chunks, range) and len(chunks):
        return f"chunks {chunks.start} to {chunks.stop - 1}"
    return f"chunks {', '.join(map(str, chunks))}" if len(chunks) else "no chunk"


def _waits_for(program: Program, programs: list[Program]) -> tuple[int, str]:
    step = program.step
    assert step is not None
    who = f"rank {program.rank} (round {program.round})"
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
    """Return what ranks that wait for each other have in common, if anything."""
    steps = [program.step for program in cycle]
    if all(step is not None and step.send_to is None for step in steps):
        return ["all of them receive first: one must send first, or send and receive in one Step"]
    if all(step is not None and step.recv_from is None for step in steps):
        return ["all of them send first, and nothing is buffered: one must receive first, or do both in one Step"]
    return []
