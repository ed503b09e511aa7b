"""Comparison of settings and data between ranks.

The values to compare are a table of texts. One all-reduce of 16 bytes shows on any number of ranks whether all tables
are equal; only if they are not do the ranks exchange the lines that differ from rank 0's.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from .ranks import Ranks
from .watch.hang_report import say_ranks

Table = Mapping[str, str]
Differences = dict[str, dict[str | None, list[int]]]
"""Lines that differ: for each its texts (None where a rank has no such line) and the ranks that have them."""

_SHOWN = 4  # texts of one line


def differences(world: Ranks, table: Table) -> Differences:
    """Return the differences between the ranks' tables, the same on all ranks; all ranks call it together.

    Returns
    -------
    dict
        Empty if all tables are equal. Ranks are in ascending order, texts in the order of their first rank.
    """
    number = _number(table)
    most, least = world.maximum(np.array([number, -number]))
    if most == -least:
        return {}
    first: Table = world.all_gather(table if world.rank == 0 else None)[0]
    mine = {key: table.get(key) for key in {**first, **table} if table.get(key) != first.get(key)}
    others = world.all_gather(mine)
    found: Differences = {}
    places = {key: place for place, key in enumerate(first)}
    for key in sorted({key for other in others for key in other}, key=lambda key: (places.get(key, len(places)), key)):
        for rank, other in enumerate(others):
            text = other[key] if key in other else first.get(key)
            found.setdefault(key, {}).setdefault(text, []).append(rank)
    return found


def say_values(ranks_of: Mapping[str | None, list[int]], missing: str = "nothing") -> str:
    """Return text such as "64 on ranks 0-2 and 32 on rank 3"."""
    parts = [f"{missing if text is None else text} on {say_ranks(ranks)}" for text, ranks in ranks_of.items()]
    if len(parts) > _SHOWN:
        parts = [*parts[: _SHOWN - 1], f"{len(parts) - _SHOWN + 1} others on other ranks"]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def odd_ranks(ranks_of: Mapping[str | None, list[int]]) -> list[int]:
    """Return the ranks whose text is not the most common one (that of rank 0 if there is a tie)."""
    usual = max(ranks_of.values(), key=lambda ranks: (len(ranks), 0 in ranks))
    return sorted(rank for ranks in ranks_of.values() if ranks is not usual for rank in ranks)


def _number(table: Table) -> int:
    """Return 62 bits of a hash, so that the negative fits into an int64 as well."""
    text = "\0".join(f"{key}\1{value}" for key, value in sorted(table.items()))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2
