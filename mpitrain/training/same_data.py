"""Comparison over the ranks of the data (or weights) that they have read."""

import platform

from ..comm.agreement import Differences, Table, differences, odd_ranks, say_values
from ..comm.watch.hang_report import say_ranks
from ..comm.world import World
from ..errors import AgreedError

_LONG = 80  # characters of a text that is not quoted


def check_same_data(world: World, table: Table, source: str) -> None:
    """Compare fingerprints over the ranks (collective).

    Parameters
    ----------
    table : mapping of str to str
        A line for each part (``data.matching.fingerprint``).
    source : str
        Where this rank has read them.

    Raises
    ------
    AgreedError
        On all ranks, if they differ: with the part, the ranks and their values.
    """
    found = differences(world, table)
    if not found:
        return
    places = world.all_gather((source, platform.node()))
    odd = odd_ranks(next(iter(found.values())))
    read = list(dict.fromkeys(place for place, _ in places))
    hosts = sorted({places[rank][1] for rank in odd})
    where = f" ({', '.join(hosts)})" if len({host for _, host in places}) > 1 else ""
    raise AgreedError(
        f"{_say(found, odd)}{where}: all ranks must read the same data; they read {' and '.join(read[:2])}"
        f"{f' and {len(read) - 2} more' if len(read) > 2 else ''}"
    )


def _say(found: Differences, odd: list[int]) -> str:
    part, texts = next(iter(found.items()))
    plural = part.endswith("s")
    shown = {_shown(text): ranks for text, ranks in texts.items()}
    if len(shown) == len(texts) and all(text is not None and len(text) < _LONG for text in shown):
        return f"the {part} {'are' if plural else 'is'} {say_values(shown)}"
    return f"the {part} on {say_ranks(odd)} {'differ' if plural else 'differs'} from those of the other ranks"


def _shown(text: str | None) -> str | None:
    """Return a line of a fingerprint without its hash."""
    if text is not None and text.startswith("("):
        return text.rpartition(" ")[0]
    return text or "unnamed"
