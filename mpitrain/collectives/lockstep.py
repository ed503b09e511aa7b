"""All ranks of a schedule in one process, message by message, with no buffering between them.

A send waits for its receive and a receive for its send, as in MPI with synchronous sends; a schedule that gets
through here deadlocks under no MPI (Siegel & Avrunin 2005: enough for programs without wildcards).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .step import Schedule, Step, as_chunks


class ScheduleError(Exception):
    """A schedule that is wrong; the message says which rank, in which round, and why."""


@dataclass
class Program:
    """One rank on its way through its steps."""

    rank: int
    steps: list[Step]
    round: int = 0
    posted: Any = None
    sent: bool = True
    received: bool = True

    @property
    def step(self) -> Step | None:
        """The step under way, None at the end."""
        return self.steps[self.round] if self.round < len(self.steps) else None


Read = Callable[[int, range], Any]
"""read(rank, chunks) returns a snapshot of what a rank sends."""

Write = Callable[[Program, Any], None]
"""write(program, payload) delivers what the program's current step receives."""


def run_lockstep(schedule: Schedule, size: int, read: Read, write: Write) -> list[int]:
    """Run every rank to its end; return the number of rounds of each.

    Raises
    ------
    ScheduleError
        For a step that no MPI could run, two ends that do not fit, or a deadlock.
    """
    programs = [Program(rank, list(schedule(rank, size))) for rank in range(size)]
    for program in programs:
        for number, planned in enumerate(program.steps):
            _check_step(program.rank, number, planned, size)
    for program in programs:
        _post(program, read)
    moved = True
    while moved:
        moved = False
        for receiver in programs:
            step = receiver.step
            if step is None:
                continue
            if not receiver.received:
                assert step.recv_from is not None
                sender = programs[step.recv_from]
                if not sender.sent and sender.step is not None and sender.step.send_to == receiver.rank:
                    _check_ends(sender, receiver)
                    write(receiver, sender.posted)
                    sender.sent = receiver.received = moved = True
            for program in {receiver.rank: receiver, **_sender_of(programs, step)}.values():
                while program.step is not None and program.sent and program.received:
                    program.round += 1
                    _post(program, read)
                    moved = True
    waiting = [p for p in programs if p.step is not None]
    if waiting:
        raise ScheduleError(_describe_deadlock(programs, waiting[0]))
    return [len(p.steps) for p in programs]


def _sender_of(programs: list[Program], step: Step) -> dict[int, Program]:
    return {} if step.recv_from is None else {step.recv_from: programs[step.recv_from]}


def _post(program: Program, read: Read) -> None:
    step = program.step
    if step is not None:
        program.sent, program.received = step.send_to is None, step.recv_from is None
        program.posted = None if program.sent else read(program.rank, as_chunks(step.send))


def _check_step(rank: int, number: int, step: Step, size: int) -> None:
    where = f"rank {rank} of {size}, round {number}"
    if not isinstance(step, Step):
        raise ScheduleError(f"{where}: a schedule yields Step objects, not {type(step).__name__}.")
    sides = (("send_to", step.send_to, "send", step.send), ("recv_from", step.recv_from, "recv", step.recv))
    for peer_name, peer, chunks_name, chunks in sides:
        if (peer is None) != (chunks is None):
            raise ScheduleError(f"{where}: {peer_name} and {chunks_name} must both be given or both be None.")
        if peer is None:
            continue
        if peer == rank:
            raise ScheduleError(f"{where}: {peer_name} is the rank itself; a rank cannot message itself.")
        if not 0 <= peer < size:
            raise ScheduleError(f"{where}: {peer_name} is {peer}, but ranks go from 0 to {size - 1}.")
        span = as_chunks(chunks)
        if span.step != 1 or not 0 <= span.start <= span.stop <= size:
            raise ScheduleError(
                f"{where}: {chunks_name} is {chunks}, but chunks go from 0 to {size - 1} in steps of 1."
            )
    if step.reduce and step.recv_from is None:
        raise ScheduleError(f"{where}: reduce without anything to receive.")
    both = set(as_chunks(step.send)) & set(as_chunks(step.recv))
    if both:
        raise ScheduleError(f"{where}: chunk {min(both)} is sent and received at the same time (a data race).")


def _check_ends(sender: Program, receiver: Program) -> None:
    assert sender.step is not None
    assert receiver.step is not None
    sent, received = as_chunks(sender.step.send), as_chunks(receiver.step.recv)
    if sent != received:
        raise ScheduleError(
            f"rank {sender.rank} sends {_chunks(sent)} in its round {sender.round}, but rank {receiver.rank} "
            f"takes it for {_chunks(received)} in its round {receiver.round}."
        )


def _chunks(span: range) -> str:
    return f"chunk {span.start}" if len(span) == 1 else f"chunks {span.start} to {span.stop - 1}"


def _waits_for(program: Program) -> tuple[int, str]:
    step = program.step
    assert step is not None
    if not program.received:
        assert step.recv_from is not None
        return step.recv_from, f"rank {program.rank} (round {program.round}) waits for a message from {step.recv_from}"
    assert step.send_to is not None
    return step.send_to, f"rank {program.rank} (round {program.round}) waits for {step.send_to} to receive"


def _describe_deadlock(programs: list[Program], program: Program) -> str:
    seen: list[int] = []
    lines: list[str] = []
    while program.rank not in seen:
        seen.append(program.rank)
        if program.step is None:
            lines.append(f"rank {program.rank} has finished")
            break
        peer, text = _waits_for(program)
        lines.append(text)
        program = programs[peer]
    else:
        lines = lines[seen.index(program.rank) :]
    return "deadlock: " + "; ".join(lines) + "."
