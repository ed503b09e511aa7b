"""Calibrations: the parameters of the price model for one machine, MPI library and number of ranks.

The model is LogGP (Alexandrov, Ionescu, Schauser & Scheiman 1995) with measured curves for its L + n G:

    a step of a rank        begins when its previous step has ended (and `gap` after that one began, or as long as a
                            stream of such messages takes for each, where the sender waits for no receiver)
    it posts its messages   after send_overhead if it sends, plus recv_overhead if it receives
    a message moves         when both ends are posted (up to `eager` bytes: when the sender is), for one_way(n)
                            seconds, or exchange(n) where an end is sending and receiving at once
    the step ends           when its messages have; a reduction then adds reduce(n), or reduce_alone(n) where the rank
                            has not sent in that step (its peer then hardly reduces at the same time, and the memory
                            is its own), and so does each copy of chunks that do not lie in one piece
    a reduction             runs while the next step's messages move, where the two touch different chunks: the part
                            `overlap` of it is hidden by them, the rest comes first
"""

import json
import math
import os
import re
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...json_text import to_json
from .curve import Curve

VERSION = 1
OPTIONAL_WIRE_CURVES = ("cold_one_way", "cold_exchange", "stream")
OPTIONAL_CURVES = ("cold_reduce", "reduce_alone", "cold_reduce_alone")
DEFAULT = Path(__file__).with_name("default.json")
FOLDER_VARIABLE = "MPITRAIN_CALIBRATION"


@dataclass(frozen=True)
class Wire:
    """Parameters of messages on one kind of link: inside a node, or across nodes.

    Parameters
    ----------
    one_way, exchange : Curve
        Seconds for n bytes once both ends are posted; and where the ends send and receive at the same time.
    cold_one_way, cold_exchange : Curve or None
        The same for messages out of a buffer that is longer than the caches (which can be faster, as what another
        core has just written is slow to read).
    send_overhead, recv_overhead : float
        o of LogGP: seconds of the processor to post a send or a receive (from Python, here).
    gap : float
        g of LogGP: least seconds between the posts of two successive steps of a rank.
    eager : float
        Bytes up to which a sender does not wait for its receiver.
    stream : Curve or None
        G of LogGP: seconds of each message of n bytes of a stream that one rank sends without waiting; None: ``gap``.
    capacity : float or None
        Bytes a second that one node moves for all its ranks together (inside: its memory; across: its network
        port); None where each rank has its own.
    """

    one_way: Curve
    exchange: Curve
    send_overhead: float = 0.0
    recv_overhead: float = 0.0
    gap: float = 0.0
    eager: float = 0.0
    capacity: float | None = None
    cold_one_way: Curve | None = None
    cold_exchange: Curve | None = None
    stream: Curve | None = None

    def gap_after(self, num_bytes: np.ndarray) -> np.ndarray:
        """Return the least seconds between a post that sends ``num_bytes`` and the next one."""
        if self.stream is None:
            return np.full(np.shape(num_bytes), self.gap)
        return np.where(num_bytes <= self.eager, np.maximum(self.stream(num_bytes), self.gap), self.gap)

    def at(self, share: float) -> "Wire":
        """Return the wire for a buffer of which the share ``cold`` is outside the caches."""
        one_way = self.one_way.blend(self.cold_one_way or self.one_way, share)
        same = self.one_way is self.exchange
        exchange = one_way if same else self.exchange.blend(self.cold_exchange or self.exchange, share)
        return replace(self, one_way=one_way, exchange=exchange)

    @classmethod
    def line(cls, alpha: float, beta: float, overhead: float = 0.0) -> "Wire":
        """Return the textbook wire: alpha + n beta in both directions."""
        curve = Curve.line(alpha, beta)
        return cls(curve, curve, overhead, overhead)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Wire":
        """Return the wire from the value of ``to_json``."""
        numbers = {key: data[key] for key in ("send_overhead", "recv_overhead", "gap", "eager", "capacity")}
        cold_one_way, cold_exchange, stream = (
            Curve(data[key]) if data.get(key) else None for key in OPTIONAL_WIRE_CURVES
        )
        wire = cls(Curve(data["one_way"]), Curve(data["exchange"]), **numbers)
        return replace(wire, cold_one_way=cold_one_way, cold_exchange=cold_exchange, stream=stream)

    def to_json(self) -> dict[str, Any]:
        """Return all of it, with the fitted line for readers."""
        line = self.one_way.fit()
        return {
            "send_overhead": self.send_overhead,
            "recv_overhead": self.recv_overhead,
            "gap": self.gap,
            "eager": self.eager,
            "capacity": self.capacity,
            "fit": vars(line),
            "one_way": self.one_way.points,
            "exchange": self.exchange.points,
            **{name: curve.points if (curve := getattr(self, name)) else None for name in OPTIONAL_WIRE_CURVES},
        }


@dataclass(frozen=True)
class Calibration:
    """The measured parameters of one machine, MPI library and number of ranks.

    Parameters
    ----------
    inside, across : Wire
        Messages between ranks of one node, and of different nodes.
    reduce, cold_reduce, reduce_alone, cold_reduce_alone : Curve
        Seconds to add n bytes to n bytes while the peer does the same; in a buffer that is longer than the caches;
        and while the peer does not (None: as long).
    cache : float
        A rank's part of the last cache in bytes: a buffer of twice that is out of the caches, one of a quarter within.
    overlap : float
        Part of a reduction that messages can hide, 0 to 1.
    launch : float
        Seconds that a collective costs before its first step, once.
    ranks, ranks_per_node : int
        Of the world it was measured in (0: of none, a table).
    oversubscribed : bool
        Ranks outnumbered cores when it was measured: then a message waits for the scheduler, and the model does
        not apply.
    source : str
        Origin, in a few words.
    native : Curve or None
        The MPI library's own all-reduce at ``ranks`` ranks.
    measured : dict of str to Curve
        The all-reduces that ``tune`` has measured at ``ranks`` ranks.
    best : list of (bytes, algorithm, seconds, native seconds)
        What ``tune`` found: the algorithm from that many bytes on.
    """

    inside: Wire
    across: Wire
    reduce: Curve
    overlap: float = 0.0
    launch: float = 0.0
    ranks: int = 0
    ranks_per_node: int = 0
    oversubscribed: bool = False
    source: str = "a table"
    native: Curve | None = None
    measured: dict[str, Curve] = field(default_factory=dict)
    best: list[tuple[float, str, float, float]] = field(default_factory=list)
    cold_reduce: Curve | None = None
    cache: float = 1 << 24
    reduce_alone: Curve | None = None
    cold_reduce_alone: Curve | None = None

    def at(self, num_bytes: float) -> "Calibration":
        """Return the calibration for a buffer of ``num_bytes``."""
        share = min(1.0, max(0.0, (math.log2(max(num_bytes, 1.0) / self.cache) + 2.0) / 3.0))
        alone = self.reduce_alone or self.reduce
        return replace(
            self,
            inside=self.inside.at(share),
            across=self.across.at(share),
            reduce=self.reduce.blend(self.cold_reduce or self.reduce, share),
            reduce_alone=alone.blend(self.cold_reduce_alone or alone, share),
        )

    def work(self, num_bytes: np.ndarray, sends: np.ndarray) -> np.ndarray:
        """Return the seconds to reduce ``num_bytes`` in steps in which the rank ``sends`` (bool) or not."""
        if self.reduce_alone is None:
            return self.reduce(num_bytes)
        return np.where(sends, self.reduce(num_bytes), self.reduce_alone(num_bytes))

    @classmethod
    def line(cls, alpha: float, beta: float, gamma: float, overhead: float = 0.0) -> "Calibration":
        """Return the textbook machine: alpha, beta and gamma, the same everywhere."""
        wire = Wire.line(alpha, beta, overhead)
        return cls(wire, wire, Curve.line(0.0, gamma))

    def tuned(self, best: list[tuple[float, str, float, float]], measured: dict[str, Curve]) -> "Calibration":
        """Return a copy with the results of ``tune``."""
        return replace(self, best=best, measured=measured, native=measured.get("native", self.native))

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        return {
            "version": VERSION,
            "source": self.source,
            "ranks": self.ranks,
            "ranks_per_node": self.ranks_per_node,
            "oversubscribed": self.oversubscribed,
            "overlap": self.overlap,
            "launch": self.launch,
            "inside": self.inside.to_json(),
            "across": self.across.to_json(),
            "reduce": self.reduce.points,
            "native": self.native.points if self.native else None,
            "measured": {name: curve.points for name, curve in self.measured.items()},
            "best": [list(row) for row in self.best],
            **{name: curve.points if (curve := getattr(self, name)) else None for name in OPTIONAL_CURVES},
            "cache": self.cache,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Calibration":
        """Return the calibration from the value of ``to_json``."""
        if data.get("version") != VERSION:
            raise UserError(f"it has version {data.get('version')}, and this mpitrain reads version {VERSION}")
        return cls(
            Wire.from_json(data["inside"]),
            Wire.from_json(data["across"]),
            Curve(data["reduce"]),
            data["overlap"],
            data["launch"],
            data["ranks"],
            data["ranks_per_node"],
            data["oversubscribed"],
            data["source"],
            Curve(data["native"]) if data["native"] else None,
            {name: Curve(points) for name, points in data["measured"].items()},
            [(row[0], row[1], row[2], row[3]) for row in data["best"]],
            cache=data["cache"],
            **{name: Curve(data[name]) for name in OPTIONAL_CURVES if data.get(name)},
        )


def calibration_path(host: str, library: str, ranks: int, folder: str | Path | None = None) -> Path:
    """Return the path of the calibration of a machine, MPI library and number of ranks.

    The folder is ``folder``, or the one that MPITRAIN_CALIBRATION names, or mpitrain in the user's cache.

    Examples
    --------
    >>> calibration_path("node7", "Open MPI v5.0.11", 8, "/cal").as_posix()
    '/cal/calibration-node7-open-mpi-v5.0.11-8.json'
    """
    chosen = folder or os.environ.get(FOLDER_VARIABLE)
    if not chosen:
        chosen = Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "mpitrain"
    words = re.sub(r"[^a-z0-9.]+", "-", f"{host} {library}".lower()).strip("-")
    return Path(os.path.expanduser(chosen)) / f"calibration-{words}-{ranks}.json"


def _home() -> Path:
    """Return the user's home, or where there is none (a container's user without a name) the folder for what passes."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir())


def load_calibration(path: str | Path = DEFAULT) -> Calibration:
    """Read a calibration; without a path, the table that mpitrain ships."""
    try:
        return Calibration.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"cannot read the calibration {path}: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"cannot use the calibration {path}: {error}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError):
        raise UserError(
            f"the calibration {path} is damaged; write it again with mpitrain collective calibrate"
        ) from None


def save_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write a calibration atomically: a reader finds the old one or the new one."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(to_json(calibration.to_json(), indent=1) + "\n", encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        raise UserError(f"cannot write the calibration {target}: {error.strerror}") from None
