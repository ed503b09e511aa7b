"""The data of the page: schedules played at many P, as compact JSON.

    algorithm   name, collective, goal, summary, source, option (name, values; or null), plays by "P" or "P/value"
    play        c: chunks of all buffers; b: buffers; s, f: start and finish; m: messages; e: what is wrong
    s, f        one row for all ranks or a list of rows; a row is sets of contributions, "0-7*3;2" for three chunks
                with those of ranks 0 to 7 and one with that of 2; "" for none, "?" for whatever
    m           [sender, its step, receiver, its step, reduce (0 or 1), chunks, chunks of the receiver if other];
                chunks is a number, or [start, stop, start, stop, ...]

Contents of chunks in between are left out: the page computes them (and a test compares them with Python's).
"""

from typing import Any

from ..algorithm import Algorithm, make_algorithm
from ..step import Schedule, chunk_runs
from .names import members, name_chunks
from .play import Message, Play, play

OPTION_VALUES = (1, 2, 3, 4, 6, 8)
MAX_MESSAGES = 2500  # per play; larger plays are left out of the page


def algorithm_data(algorithm: Algorithm | Schedule, sizes: range) -> dict[str, Any]:
    """Return the data of one algorithm for every P of ``sizes``, and for some values of its first number option."""
    algorithm = make_algorithm(algorithm)
    option = next((name for name, value in algorithm.options if type(value) is int and name != "root"), None)
    chosen = dict(algorithm.options).get(option or "")
    values: list[int | None] = [*sorted({*OPTION_VALUES, int(chosen or 1)})] if option else [None]
    plays = {}
    kept = set()
    for value in values:
        variant = algorithm
        if option is not None and value is not None and value != chosen:
            variant = with_option(algorithm, option, value)
        for size in sizes:
            found = play(variant, size)
            if len(found.messages) <= MAX_MESSAGES:
                plays[str(size) if option is None else f"{size}/{value}"] = play_data(found)
                kept.add(value)
    return {
        "name": algorithm.name,
        "collective": algorithm.collective,
        "goal": algorithm.goal.sentence,
        "summary": algorithm.summary,
        "source": algorithm.source,
        "option": {"name": option, "values": sorted(kept), "value": chosen} if option else None,
        "plays": plays,
    }


def with_option(algorithm: Algorithm, option: str, value: int) -> Algorithm:
    """Return the same algorithm with one option changed."""
    assert algorithm.function is not None
    return make_algorithm(algorithm.function, algorithm.name, **{**dict(algorithm.options), option: value})


def play_data(found: Play) -> dict[str, Any]:
    """Return one play; see the top of this file."""
    data: dict[str, Any] = {
        "c": found.num_chunks,
        "b": found.buffers,
        "s": _rows(found.start),
        "f": _rows(found.finish),
        "m": [_message(message) for message in found.messages],
    }
    if found.error:
        data["e"] = found.error
    return data


def _message(message: Message) -> list[Any]:
    row: list[Any] = [message.sender, message.sender_step, message.receiver, message.receiver_step, int(message.reduce)]
    row.append(_chunks(message.sent))
    if message.received != message.sent:
        row.append(_chunks(message.received))
    return row


def _chunks(chunks: tuple[int, ...]) -> int | list[int]:
    if len(chunks) == 1:
        return chunks[0]
    return [edge for run in chunk_runs(chunks) for edge in (run.start, run.stop)]


def _rows(rows: Any) -> str | list[str]:
    texts = [_row(row) for row in rows]
    return texts[0] if texts and len(set(texts)) == 1 else texts


def _row(row: list[int | None]) -> str:
    runs: list[list[Any]] = []
    for contributions in row:
        if runs and runs[-1][0] == contributions:
            runs[-1][1] += 1
        else:
            runs.append([contributions, 1])
    return ";".join(f"{_set(c)}*{count}" if count > 1 else _set(c) for c, count in runs)


def _set(contributions: int | None) -> str:
    if contributions is None:
        return "?"
    return name_chunks(members(contributions)) if contributions else ""
