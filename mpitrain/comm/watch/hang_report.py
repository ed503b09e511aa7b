"""Status of the ranks of a node, and the report on ranks that wait for too long."""

import socket
import time
from collections.abc import Sequence, Sized
from dataclasses import dataclass

from .ledger import Ledger
from .slot import Entry, Record, first_difference, name_rank
from .stacks import describe_activity


@dataclass(frozen=True)
class RankStatus:
    """Status of one rank: the call or the message that it waits for, or its activity and last call."""

    rank: int
    host: str
    waits: Entry | None
    wants_input: bool
    does: str
    history: tuple[Entry, ...]
    stages: str = ""

    @property
    def name(self) -> str:
        """Name in messages: "rank 5", or "stage 2 (rank 5)" in a pipeline."""
        return name_rank(self.rank, self.stages)


def rank_statuses(ledger: Ledger) -> list[RankStatus]:
    """Return the statuses of the ranks of this node, with the activity of those that do not wait for others."""
    return [_status_of(ledger, record) for record in ledger.records]


def _status_of(ledger: Ledger, record: Record) -> RankStatus:
    waits, does = record.wait_for_others(), ""
    if waits is None:
        does = describe_activity(ledger, record) if record.present else "has left the program"
        if record.present and record.task:
            does = _within(record.task, does)
        if last := record.last():
            seconds = time.monotonic() - last.began
            does += f"; its last collective was number {last.ordinal}{last.group}, {seconds:.0f} s ago"
    host = socket.gethostname()
    wants_input = record.wait() is not None
    return RankStatus(record.rank, host, waits, wants_input, does, tuple(record.entries()), record.stages)


def _within(task: str, does: str) -> str:
    """Return what a rank does, within a task: "is in the forward of microbatch 3, at FILE:LINE in ..."."""
    if does.startswith("is at "):
        return f"is in {task}, {does.removeprefix('is ')}"
    return f"{does} in {task}"


def report(known: Sequence[RankStatus], size: int, why: str, *, asked: bool = False) -> str:
    """Return the report: waiting ranks with their calls, and late ranks with their activity.

    Parameters
    ----------
    known : sequence of RankStatus
    size : int
        Number of ranks of the job.
    why : str
        The event, in a few words.
    asked : bool
        All nodes were asked, so that ranks without a status have not answered.
    """
    known = sorted(known, key=lambda one: one.rank)
    silent = sorted(set(range(size)) - {one.rank for one in known}) if asked else []
    lines = [f"mpitrain: {why}: {_verdict(known, silent, size)}"]
    for call, ones in _by_call(known).items():
        lines.append(f"  {_say(ones)} {_wait(ones)} in {call}")
    by_rank = {one.rank: one for one in known}
    for one in known:
        if one.waits is not None and one.waits.peer >= 0:
            peer, silence = by_rank.get(one.waits.peer), ", which is not heard of" if asked else ""
            lines.append(f"  {one.name} waits {one.waits.text}{f', which {_brief(peer)}' if peer else silence}")
    several = len({one.host for one in known}) > 1
    for one in known:
        if one.waits is None:
            lines.append(f"  {one.name}{f' ({one.host})' if several else ''} {one.does}")
    if silent:
        lines.append(f"  {say_ranks(silent)} {_is(silent)} not heard of: stopped, gone, or cut off from the network")
    return "\n".join(lines)


def _verdict(known: Sequence[RankStatus], silent: list[int], size: int) -> str:
    if difference := first_difference([(one.rank, one.history) for one in known]):
        return difference
    late = [one for one in known if one.waits is None]
    if late or silent:
        only_input = not silent and all(one.wants_input for one in late)
        who = say_ranks(sorted([one.rank for one in late] + silent)) if silent else _say(late)
        return f"{who} {_is(late + silent)} late{', waiting for input' if only_input else ''}"
    if len(known) < size:
        return f"{_say(known)} {_wait(known)} for ranks of other nodes"
    if circle := _circle(known):
        return f"{say_ranks(circle)} wait for messages from each other"
    if len({one.waits.text for one in known if one.waits}) == 1:
        return "all ranks wait in the same call: a message is lost, or the network does not move"
    return "the ranks wait in different calls"


def _is(things: Sized) -> str:
    return "is" if len(things) == 1 else "are"


def _wait(things: Sized) -> str:
    return "waits" if len(things) == 1 else "wait"


def _by_call(known: Sequence[RankStatus]) -> dict[str, list[RankStatus]]:
    ranks: dict[str, list[RankStatus]] = {}
    for one in known:
        if one.waits is not None and one.waits.peer < 0:
            ranks.setdefault(_say_call(one.waits), []).append(one)
    return ranks


def _say_call(call: Entry) -> str:
    return f"{f'collective number {call.ordinal}: ' if call.number else ''}{call.text}"


def _brief(one: RankStatus) -> str:
    """Return the activity of a rank that another one waits for, without its callers."""
    if one.waits is None:
        return one.does.partition("; ")[0].partition(", from ")[0]
    return f"waits {one.waits.text}" if one.waits.peer >= 0 else f"waits in {_say_call(one.waits)}"


def _circle(known: Sequence[RankStatus]) -> list[int]:
    """Return ranks that wait for messages to or from each other in a circle, in ascending order, if there are some."""
    peers = {one.rank: one.waits.peer for one in known if one.waits is not None and one.waits.peer >= 0}
    peers = {rank: peer for rank, peer in peers.items() if peer != rank}
    for rank in peers:
        path: list[int] = []
        while rank in peers and rank not in path:
            path.append(rank)
            rank = peers[rank]
        if rank in path:
            return sorted(path[path.index(rank) :])
    return []


def _say(ones: Sequence[RankStatus]) -> str:
    return ones[0].name if len(ones) == 1 else say_ranks([one.rank for one in ones])


def say_ranks(ranks: list[int], most: int = 8) -> str:
    """Return "rank 3", "ranks 0, 1 and 4" or "ranks 0-63 and 70"; a long list is cut.

    Parameters
    ----------
    ranks : list of int
        Ranks in ascending order.
    most : int
        Numbers and ranges that are named.
    """
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    parts = _stretches(ranks)
    if len(parts) > most:
        return f"{len(ranks)} ranks ({', '.join(parts[: most - 2])} ...)"
    return f"ranks {', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else f"ranks {parts[0]}"


def _stretches(ranks: list[int]) -> list[str]:
    """Return three or more consecutive ranks as "0-2", others one by one."""
    rows: list[list[int]] = []
    for rank in ranks:
        if rows and rank == rows[-1][-1] + 1:
            rows[-1].append(rank)
        else:
            rows.append([rank])
    return [text for row in rows for text in ([f"{row[0]}-{row[-1]}"] if len(row) > 2 else map(str, row))]
