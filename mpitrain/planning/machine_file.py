"""Machines in TOML files: those that come with mpitrain, and a user's own.

name = "two nodes of my lab"
device = "gpu"              # or "cpu"
memory = "80 GB"            # of a rank
bandwidth = 3.35e12         # of a rank's memory, bytes a second
overlap = 0.9               # part of gradient messages that compute can hide
half = 128                  # smallest dimension of a product with half the speed of a large one
call = 4e-6                 # seconds of a call of an op

[speed.bf16]                # operations a second of a rank; fp32, tf32 or bf16
peak = 989e12
achieved = 650e12

[[level]]                   # links, the innermost first
name = "NVLink"
ranks = 8                   # within it; the outermost has none, or those of the whole machine
latency = 3e-6              # seconds
bandwidth = 450e9           # bytes a second of each rank while all send
alone = 450e9               # of one rank while the others do not; by default the same
oversubscription = 1        # by which the bandwidth is less where all send
"""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from ..collectives.price.units import read_bytes
from ..errors import UserError
from ..suggest import did_you_mean, suggest
from .machine import Level, Machine, Speed

FOLDER = Path(__file__).with_name("machines")
MACHINES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
"""Names of the machines that come with mpitrain."""

NUMBERS = {"bandwidth": None, "half": 64.0, "call": 1e-6, "overlap": 0.5, "ranks": 0.0}
TEXTS = {"name": "", "device": "cpu", "source": ""}
KEYS = (*TEXTS, *NUMBERS, "memory", "shares_memory", "speed", "level")
SPEED_KEYS = tuple(field.name for field in dataclasses.fields(Speed))
LEVEL_KEYS = ("name", "ranks", "latency", "bandwidth", "alone", "oversubscription")
PRECISION_NAMES = ("fp32", "tf32", "bf16")


def find_machine(text: str) -> Machine:
    """Return a machine by its name, or from a file.

    Raises
    ------
    UserError
        If there is neither, or the file is wrong.
    """
    if text in MACHINES:
        return read_machine(FOLDER / f"{text}.toml")
    path = Path(text)
    if not path.exists() and "/" not in text and path.suffix != ".toml":
        near = did_you_mean(text, MACHINES)
        raise UserError(f"there is no machine {text!r}{near}; there are {', '.join(MACHINES)}, and FILE.toml")
    return read_machine(path)


def read_machine(path: Path) -> Machine:
    """Return the machine in a TOML file.

    Raises
    ------
    UserError
        In one sentence, for a file that cannot be read, and a key that is unknown, missing or no positive number.
    """
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the machine {path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    _check_keys(path, "", tree, KEYS)
    texts = {key: _text(path, tree, key, default) for key, default in TEXTS.items()}
    if texts["device"] not in ("cpu", "gpu"):
        raise UserError(f"{path}: device is {texts['device']!r}, but must be cpu or gpu")
    numbers = {key: _number(path, tree, key, default, least=0.0) for key, default in NUMBERS.items()}
    if numbers["overlap"] > 1:
        raise UserError(f"{path}: overlap is {numbers['overlap']:g}, but is a part, at most 1")
    shares = tree.get("shares_memory", False)
    if not isinstance(shares, bool):
        raise UserError(f"{path}: shares_memory must be true or false, not {shares!r}")
    return Machine(
        name=texts["name"] or path.stem,
        device=texts["device"],
        source=texts["source"],
        speeds=_speeds(path, tree.get("speed")),
        memory=_memory(path, tree),
        levels=_levels(path, tree.get("level")),
        shares_memory=shares,
        **{**numbers, "ranks": int(numbers["ranks"])},  # type: ignore[arg-type]
    )


def _speeds(path: Path, tables: Any) -> dict[str, Speed]:
    if not isinstance(tables, dict) or not tables:
        raise UserError(f"{path}: [speed.fp32] is missing, with peak and achieved operations a second of a rank")
    _check_keys(path, "speed.", tables, PRECISION_NAMES)
    found = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UserError(f"{path}: speed.{name} must be a table, [speed.{name}]")
        _check_keys(path, f"speed.{name}.", table, SPEED_KEYS)
        peak, achieved = (_number(path, table, key, None, f"speed.{name}.") for key in SPEED_KEYS)
        if achieved > peak:
            raise UserError(f"{path}: speed.{name}.achieved is {achieved:g}, more than the peak of {peak:g}")
        found[name] = Speed(peak, achieved)
    return found


def _levels(path: Path, tables: Any) -> tuple[Level, ...]:
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UserError(f"{path}: [[level]] is missing, a table for each kind of links, the innermost first")
    found: list[Level] = []
    for place, table in enumerate(tables):
        where = f"level {place + 1}: "
        _check_keys(path, where, table, LEVEL_KEYS)
        ranks = int(_number(path, table, "ranks", 0.0, where, least=0.0))
        is_last = place == len(tables) - 1
        if not ranks and not is_last:
            raise UserError(f"{path}: {where}ranks is missing; only the outermost level may have any number of them")
        if found and ranks and (ranks <= found[-1].ranks or ranks % found[-1].ranks):
            raise UserError(f"{path}: {where}ranks is {ranks}, but must be a multiple of the {found[-1].ranks} within")
        bandwidth = _number(path, table, "bandwidth", None, where)
        alone = _number(path, table, "alone", bandwidth, where)
        shared = bandwidth / _number(path, table, "oversubscription", 1.0, where)
        latency = _number(path, table, "latency", None, where, least=0.0)
        found.append(Level(_text(path, table, "name", f"level {place + 1}"), ranks, latency, shared, alone))
    return tuple(found)


def _memory(path: Path, tree: dict[str, Any]) -> float:
    value = tree.get("memory")
    if isinstance(value, str):
        return float(read_bytes(value.replace(" ", ""), f"{path}: memory", least=1))
    return _number(path, tree, "memory", None)


def _check_keys(path: Path, where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise UserError(f"{path}: {where}{key} is no setting of a machine; {suggest(key, known)}")


def _text(path: Path, table: dict[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise UserError(f"{path}: {key} must be text, not {value!r}")
    return value


def _number(
    path: Path, table: dict[str, Any], key: str, default: float | None, where: str = "", *, least: float | None = None
) -> float:
    """Return a number above 0; at least ``least`` where that is given."""
    value = table.get(key, default)
    if value is None:
        raise UserError(f"{path}: {where}{key} is missing")
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if not is_number or not (value > 0 if least is None else value >= least) or value == float("inf"):
        raise UserError(f"{path}: {where}{key} must be a positive number, not {value!r}")
    return float(value)
