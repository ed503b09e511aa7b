"""State tables for the terminal, after the comments of Open MPI's coll_base_allreduce.c.

One table per round: the content of every chunk of every rank, and the messages of the round.
"""

from dataclasses import dataclass
from itertools import islice

from ..algorithm import Algorithm
from ..lockstep import show_chunks
from ..step import as_chunks
from .names import name_chunks, name_set
from .play import Message, Play

WIDTH = 80
MAX_CELL = 7
NOTES = 28  # columns reserved for messages
MAX_RANKS = 16
LAST_RANKS = 2
MAX_ROUNDS = 64
LEGEND = "the contributions in each chunk (0-2: of 0, 1 and 2; . none)  + added  = copied"


def draw_ascii(play: Play, width: int = WIDTH, max_rounds: int = MAX_ROUNDS) -> str:
    """Return the state tables of ``play``, at most ``width`` columns wide.

    Chunks with the same content in all rounds share a column. What does not fit is left out with a note.

    Examples
    --------
    >>> from mpitrain.collectives import find
    >>> from mpitrain.collectives.draw.play import play
    >>> print(draw_ascii(play(find("ring"), 2)))
    ring, 2 ranks, 2 chunks, 2 rounds
    the contributions in each chunk (0-2: of 0, 1 and 2; . none)  + added  = copied
    <BLANKLINE>
    start chunk    0   1
    rank 0         0   0
    rank 1         1   1
    <BLANKLINE>
    round 1        0   1
    rank 0         0 +01   0 to 1, +1 from 1
    rank 1       +01   1   1 to 0, +0 from 0
    <BLANKLINE>
    round 2        0   1
    rank 0       =01  01   1 to 1, =0 from 1
    rank 1        01 =01   0 to 0, =1 from 0
    """
    lines = [f"{play.name}, {play.size} ranks, {_count(play.num_chunks, 'chunk')}, {_count(play.num_rounds, 'round')}"]
    lines.append(LEGEND)
    if play.num_chunks:
        states, rounds = play.states(max_rounds), play.rounds()
        layout = _lay_out(play, states, width)
        lines += layout.notes
        for number, state in enumerate(states):
            lines += ["", *_table(play, layout, number, state, rounds[number - 1] if number else [])]
        if play.num_rounds > max_rounds:
            lines += ["", f"... and {_count(play.num_rounds - max_rounds, 'more round')}"]
    if play.error:
        lines += ["", f"wrong: {play.error}"]
    return "\n".join(lines)


def draw_steps(algorithm: Algorithm, size: int, most: int = 8) -> str:
    """Return the first steps of the first, the middle and the last rank, for schedules too large for tables.

    Examples
    --------
    >>> from mpitrain.collectives import find
    >>> print(draw_steps(find("ring"), 1000, most=1))
    ring, 1,000 ranks, 1,000 chunks: too many for tables; the first steps of three ranks
    <BLANKLINE>
    rank 0
      chunk 0 to 1, +chunk 999 from 999
      ...
    rank 500
      chunk 500 to 501, +chunk 499 from 499
      ...
    rank 999
      chunk 999 to 0, +chunk 998 from 998
      ...
    """
    chunks = f"{algorithm.num_chunks(size):,} chunks"
    lines = [f"{algorithm.name}, {size:,} ranks, {chunks}: too many for tables; the first steps of three ranks", ""]
    for rank in sorted({0, size // 2, size - 1}):
        lines.append(f"rank {rank}")
        steps = list(islice(algorithm(rank, size), most + 1))
        for step in steps[:most]:
            sends = [] if step.send_to is None else [f"{show_chunks(as_chunks(step.send))} to {step.send_to}"]
            sign = "+" if step.reduce else "="
            takes = (
                [] if step.recv_from is None else [f"{sign}{show_chunks(as_chunks(step.recv))} from {step.recv_from}"]
            )
            lines.append(f"  {', '.join(sends + takes) or 'nothing'}")
        if len(steps) > most:
            lines.append("  ...")
    return "\n".join(lines)


@dataclass
class _Layout:
    """Shown ranks and chunks, and their widths.

    ``columns`` are runs of chunks that always hold the same.
    """

    columns: list[range]
    hidden_columns: int
    cell: int
    label: int
    width: int
    ranks: list[int]
    notes: list[str]


def _lay_out(play: Play, states: list[list[list[int]]], width: int) -> _Layout:
    columns = _merge_columns(play)
    held = {chunks for state in states for row in state for chunks in row}
    names = [_name(play, contributions) for contributions in held]
    widest = max([len(n) for n in names] + [len(name_chunks(c)) for c in columns])
    cell = min(widest, MAX_CELL) + 2
    label = 12
    shown = max(1, min(len(columns), (width - label - NOTES) // cell))
    hidden = len(columns) - shown
    ranks = list(range(play.size))
    if play.size > MAX_RANKS:
        ranks = [*ranks[: MAX_RANKS - LAST_RANKS], *ranks[-LAST_RANKS:]]
    notes = []
    if hidden:
        notes.append(f"the first {shown} of {len(columns)} columns")
    if any(len(n) > cell - 2 for n in names):
        notes.append("#5 stands for 5 contributions")
    if len(ranks) < play.size:
        notes.append(f"{len(ranks)} of {play.size} ranks")
    return _Layout(columns[:shown], hidden, cell, label, width, ranks, [f"({'; '.join(notes)})"] if notes else [])


def _merge_columns(play: Play) -> list[range]:
    """Return runs of neighboring chunks that hold the same on every rank after every round, and travel together."""
    histories: list[list[object]] = [[tuple(row[c] for row in play.start)] for c in range(play.num_chunks)]
    for message in play.messages:
        for there, after in zip(message.received, message.after, strict=True):
            histories[there].append((message.round, message.receiver, message.reduce, after))
    runs: list[range] = []
    for chunk, history in enumerate(histories):
        if runs and history == histories[chunk - 1]:
            runs[-1] = range(runs[-1].start, chunk + 1)
        else:
            runs.append(range(chunk, chunk + 1))
    return runs


def _table(play: Play, layout: _Layout, number: int, state: list[list[int]], messages: list[Message]) -> list[str]:
    head = "start chunk" if number == 0 else f"round {number}"
    cells = "".join(name_chunks(run).rjust(layout.cell) for run in layout.columns)
    lines = [f"{head.ljust(layout.label)}{cells}" + (" ..." if layout.hidden_columns else "")]
    last = -1
    for rank in layout.ranks:
        if rank != last + 1:
            lines.append("...")
        last = rank
        lines.append(_row(play, layout, rank, state[rank], messages))
    return lines


def _row(play: Play, layout: _Layout, rank: int, row: list[int], messages: list[Message]) -> str:
    marks = {
        chunk: "+" if message.reduce else "="
        for message in messages
        if message.receiver == rank
        for chunk in message.received
    }
    cells = (marks.get(run.start, "") + _fit(play, row[run.start], layout.cell - 2) for run in layout.columns)
    text = f"rank {rank}".ljust(layout.label) + "".join(cell.rjust(layout.cell) for cell in cells)
    notes = _notes(play, rank, messages)
    if notes:
        text += (" ..." if layout.hidden_columns else "") + f"   {', '.join(notes)}"
    return text if len(text) <= layout.width else f"{text[: layout.width - 3]}..."


def _notes(play: Play, rank: int, messages: list[Message]) -> list[str]:
    notes = [f"{_part(play, m.sent)} to {m.receiver}" for m in messages if m.sender == rank]
    notes += [
        f"{'+' if m.reduce else '='}{_part(play, m.received)} from {m.sender}" for m in messages if m.receiver == rank
    ]
    return notes


def _part(play: Play, chunks: tuple[int, ...]) -> str:
    if len(chunks) == play.num_chunks > 1:
        return "all"
    text = name_chunks(chunks)
    return text if len(text) <= MAX_CELL + 2 else f"{len(chunks)} chunks"


def _fit(play: Play, contributions: int, width: int) -> str:
    name = _name(play, contributions)
    return name if len(name) <= width else f"#{contributions.bit_count()}"


def _name(play: Play, contributions: int) -> str:
    return name_set(contributions, play.size, not play.goal.same_chunks)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
