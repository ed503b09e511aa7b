"""Environment of a run: its command, its hosts and the versions of what it runs on."""

import os
import platform
import shlex
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..comm.world import World
from .directory.owner import batch_job

OWN_MAIN = ("mpitrain/__main__.py", "bin/mpitrain")


def describe_environment(world: World, devices: Sequence[str]) -> dict[str, Any]:
    """Return the command line, the versions, and the hosts with their ranks; nothing on ranks above 0 (collective)."""
    places = world.all_gather((socket.gethostname(), world.cores, _processor()))
    if world.rank != 0:
        return {}
    hosts: dict[str, dict[str, Any]] = {}
    for rank, (host, cores, processor) in enumerate(places):
        facts = hosts.setdefault(host, {"host": host, "ranks": [], "cores_per_rank": cores, "processor": processor})
        facts["ranks"].append(rank)
    return {
        "command": command_line(sys.argv, world.size),
        "folder": os.getcwd(),
        "ranks": world.size,
        "hosts": list(hosts.values()),
        "devices": list(devices),
        "job": batch_job(),
        "mpi": world.mpi_version,
        "versions": {"mpitrain": __version__, "Python": platform.python_version(), "NumPy": np.__version__},
        "system": platform.platform(terse=True),
    }


def command_line(argv: Sequence[str], ranks: int) -> str:
    """Return the command that starts this program on so many ranks.

    >>> command_line(["/usr/lib/mpitrain/__main__.py", "--data", "csv:my file.csv"], 4)
    "mpitrain -n 4 --data 'csv:my file.csv'"
    >>> command_line(["fit.py", "--fast"], 2)
    'mpirun -n 2 python fit.py --fast'
    """
    program, rest = (argv[0], list(argv[1:])) if argv else ("", [])
    if program.replace("\\", "/").endswith(OWN_MAIN):
        return shlex.join(["mpitrain", "-n", str(ranks), *rest])
    return shlex.join(["mpirun", "-n", str(ranks), "python", program, *rest])


def _processor() -> str:
    """Return the name of the processor; empty where the system does not tell."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:  # long where cores are many
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.processor()
