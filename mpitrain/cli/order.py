"""Order of a rank, its command line, compared over all ranks before the command runs.

Ranks may be started with different command lines (``mpirun -n 1 ... : -n 1 ...``) or read different config files. If
they began all the same, they would call different collectives, or train on different terms.
"""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import AgreedError

if TYPE_CHECKING:
    from ..comm.agreement import Differences
    from ..comm.world import World

OF_ONE_RANK = ("--threads", "--device", "--progress", "--prefetch")  # settings that may differ between ranks
COMPARED_LATER = ("--data", "RUN", "--config")  # paths: their contents must be the same, not their places
VERSION = "version of "


@dataclass(frozen=True)
class Job:
    """A command for all ranks together.

    Parameters
    ----------
    command : str
    options : dataclass
        All settings, compared over the ranks.
    run : callable(World) -> int
        The work of one rank; its result is the exit code.
    file : str
        File that settings were read from; empty if none was.
    """

    command: str
    options: Any
    run: "Callable[[World], int]"
    file: str = ""


@dataclass(frozen=True)
class LocalJob:
    """A command for one process, without MPI (under a launcher: for rank 0)."""

    run: Callable[[], int]


@dataclass(frozen=True)
class Refusal:
    """Options without a job: a mistake, or --help.

    Parameters
    ----------
    text : str
        The error message.
    code : int
        The exit code.
    by_parser : bool
        True if the parser of options has printed this, on rank 0.
    """

    text: str
    code: int = 2
    by_parser: bool = False


Order = Job | LocalJob | Refusal


def check_alike(order: Order, world: "World") -> None:
    """Compare the orders of all ranks (collective, before anything else).

    Raises
    ------
    AgreedError
        On all ranks, if a rank has refused its options or the orders differ, in one sentence. Versions that differ are
        a warning.
    """
    from ..comm.agreement import differences, say_values

    found = differences(world, _table(order) | _versions())
    orders = {key: ranks_of for key, ranks_of in found.items() if not key.startswith(VERSION)}
    if orders:
        _refuse(order, orders, world)
    if world.rank == 0:
        for key, ranks_of in found.items():
            said = f"{key.removeprefix(VERSION)} is {say_values(ranks_of)}"
            print(f"mpitrain: {said}: ranks may compute differently, install the same on all nodes", file=sys.stderr)
    if isinstance(order, Refusal):
        raise AgreedError("" if order.by_parser else order.text, order.code)


def _table(order: Order) -> dict[str, str]:
    if isinstance(order, Refusal):
        return {"command": "--help"} if order.code == 0 else {"refusal": "" if order.by_parser else order.text}
    if isinstance(order, LocalJob):
        return {"command": "one for a single rank"}
    from ..config import option_values

    table = {"command": order.command}
    for name, value in option_values(order.options):
        if name == "--data":
            table["kind of --data"] = str(value).partition(":")[0]
        if name not in OF_ONE_RANK + COMPARED_LATER:
            table[name] = _text(value)
    return table


def _text(value: Any) -> str:
    if value is None or value in ("", ()):
        return "none"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _versions() -> dict[str, str]:
    import numpy as np

    python, numpy = platform.python_version_tuple(), np.__version__.split(".")
    found = {"mpitrain": __version__, "Python": ".".join(python[:2]), "NumPy": ".".join(numpy[:2])}
    return {VERSION + name: version for name, version in found.items()}


def _refuse(order: Order, found: "Differences", world: "World") -> None:
    """Raise an AgreedError that names the first difference and the ranks."""
    from ..comm.agreement import say_values
    from ..comm.watch.hang_report import say_ranks

    refusals = world.all_gather(order if isinstance(order, Refusal) and order.code else None)
    if any(refusals):
        rank, first = next((rank, one) for rank, one in enumerate(refusals) if one is not None)
        ranks = [rank for rank, one in enumerate(refusals) if one is not None and one.text == first.text]
        where = f" (on {say_ranks(ranks)})" if len(ranks) < world.size else ""
        raise AgreedError("" if first.by_parser and rank == 0 else first.text + where, first.code)
    name, ranks_of = next(iter(found.items()))
    name = f"the {name}" if not name.startswith("--") and not name.isupper() else name
    text = f"{name} is {say_values(ranks_of)}"
    if "command" in found:
        raise AgreedError(f"{text}: all ranks must be started with the same command")
    file = order.file if isinstance(order, Job) else ""
    more = f" ({', '.join(list(found)[1:])} {'differ' if len(found) > 2 else 'differs'} too)" if len(found) > 1 else ""
    source = f" (settings are read from {file}, too)" if file else ""
    raise AgreedError(f"{text}{more}: all ranks must have the same settings{source}")
