"""Choice of the all-reduce for a number of ranks and a length by measurements or prices."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...errors import ScheduleError, UserError
from ..find import find, names
from .calibration import Calibration, Wire, load_calibration
from .curve import Curve
from .price import Pricer, default_topology
from .topology import Switch
from .units import say_bytes, say_seconds

NATIVE = "native"
SEGMENTS = (2, 4, 8, 16, 32)
LEAST_GAIN = 0.05  # MPI's own wins unless an algorithm is predicted to be faster by more than this
SHORT = 4.0
BUCKETS = tuple(1 << k for k in range(20, 27))  # 1 to 64 MiB
HARDLY_MORE = 1.1
FOLLOWED = 200_000  # steps above which ranks stand for others
NATIVE_MODELS = ("tree", "recursive_doubling", "halving_doubling")


@dataclass(frozen=True)
class Choice:
    """An algorithm and the reason for it.

    Parameters
    ----------
    name : str
        A name for ``find`` with its options, or "native".
    seconds : float or None
        Predicted (or measured by ``tune``); None where the model does not apply.
    reason : str
        One line.
    """

    name: str
    seconds: float | None
    reason: str


def choose(
    size: int,
    num_bytes: float,
    calibration: Calibration | None = None,
    *,
    topology: Switch | None = None,
    algorithms: Sequence[str] | None = None,
) -> Choice:
    """Choose for ``size`` ranks and ``num_bytes``.

    What ``tune`` has measured at this number of ranks decides; without it the prices do, and the library's own
    all-reduce wins ties.

    Parameters
    ----------
    size : int
        P, the number of ranks.
    num_bytes : float
    calibration : Calibration, optional
        By default the table that mpitrain ships.
    topology : Switch or another topology, optional
    algorithms : sequence of str, optional
        Candidates; by default all, with several numbers of segments.
    """
    calibration = calibration or load_calibration()
    if size == 1:
        return Choice(NATIVE, 0.0, "native: one rank has nothing to reduce")
    if calibration.best and calibration.ranks == size:
        return _tuned(num_bytes, calibration)
    if calibration.oversubscribed:
        return Choice(NATIVE, None, "native: ranks outnumber cores, where prices do not apply, and tune has not run")
    seconds = predict(size, num_bytes, calibration, topology=topology, algorithms=algorithms)
    ours = {name: t for name, t in seconds.items() if name != NATIVE}
    best = min(ours, key=ours.__getitem__, default=NATIVE)
    if best != NATIVE and ours[best] < (1.0 - LEAST_GAIN) * seconds[NATIVE]:
        return Choice(best, ours[best], _reason(best, seconds, size, num_bytes, calibration, topology))
    rival = f", {best} {say_seconds(ours[best])}" if best != NATIVE else ""
    text = f"native at {say_bytes(num_bytes)}: {say_seconds(seconds[NATIVE])} {_origin(size, calibration)}{rival}"
    return Choice(NATIVE, seconds[NATIVE], text)


def choose_bucket_bytes(size: int, calibration: Calibration, topology: Switch | None = None) -> int:
    """Return the best length of a gradient bucket: the shortest with nearly the best bandwidth.

    Longer buckets start later and overlap less with the backward pass.
    """
    per_byte = {n: (choose(size, n, calibration, topology=topology).seconds or 0.0) / n for n in BUCKETS}
    least = min(per_byte.values())
    return next(n for n, seconds in per_byte.items() if seconds <= HARDLY_MORE * least)


def candidates() -> list[str]:
    """Return the candidates, with several numbers of segments where there are segments."""
    found = []
    for name in names():
        options = dict(find(name).options)
        found += [f"{name}:segments={m}" for m in SEGMENTS] if "segments" in options else [name]
    return found


def predict(
    size: int,
    num_bytes: float,
    calibration: Calibration,
    *,
    topology: Switch | None = None,
    algorithms: Sequence[str] | None = None,
) -> dict[str, float]:
    """Return the predicted seconds of each algorithm and of "native"; those without a price are left out."""
    topology = topology or default_topology(calibration)
    seconds = {NATIVE: predict_native(size, num_bytes, calibration, topology)}
    for name in candidates() if algorithms is None else algorithms:
        pricer = _pricer(name, size, topology.ranks_per_node)
        if pricer is not None:
            seconds[name] = pricer.price(num_bytes, calibration, topology).seconds
    return seconds


def predict_native(size: int, num_bytes: float, calibration: Calibration, topology: Switch | None = None) -> float:
    """Return the seconds of MPI's own all-reduce: measured at this number of ranks, or an estimate.

    The estimate takes binomial trees, recursive doubling and halving-doubling (Thakur et al. 2005) without the
    overheads, which are mostly Python's.
    """
    if calibration.native is not None and calibration.ranks == size:
        return float(calibration.native(num_bytes))
    topology = topology or default_topology(calibration)
    bare = replace(calibration, inside=_bare(calibration.inside), across=_bare(calibration.across), launch=0.0)
    pricers = [_pricer(name, size, topology.ranks_per_node) for name in NATIVE_MODELS if name in names()]
    return min(p.price(num_bytes, bare, topology).seconds for p in pricers if p is not None)


def _bare(wire: Wire) -> Wire:
    stream = wire.stream.shifted(-wire.gap) if wire.stream else None
    return replace(wire, send_overhead=0.0, recv_overhead=0.0, gap=0.0, stream=stream)


@functools.lru_cache(maxsize=256)
def _pricer(name: str, size: int, ranks_per_node: int) -> Pricer | None:
    try:
        return Pricer(find(name), size, periods=(ranks_per_node,), followed=FOLLOWED)
    except (UserError, ScheduleError):
        return None


def _tuned(num_bytes: float, calibration: Calibration) -> Choice:
    rows = sorted(calibration.best)
    start, name, _, _ = next((row for row in reversed(rows) if row[0] <= num_bytes), rows[0])
    seconds = float(calibration.measured.get(name, Curve([(0, 0.0)]))(num_bytes))
    native = float(calibration.native(num_bytes)) if calibration.native else 0.0
    rival = f", native {say_seconds(native)}" if name != NATIVE else ""
    return Choice(name, seconds, f"{name} from {say_bytes(start)}: {say_seconds(seconds)} measured{rival}")


def _origin(size: int, calibration: Calibration) -> str:
    return "measured" if calibration.native is not None and calibration.ranks == size else "estimated"


def _reason(
    best: str, seconds: dict[str, float], size: int, num_bytes: float, calibration: Calibration, topology: Switch | None
) -> str:
    """Return the reason: the length from which ``best`` wins, and its advantage at this length."""
    rest = {name: t for name, t in seconds.items() if name.partition(":")[0] != best.partition(":")[0]}
    second = min(rest, key=rest.__getitem__)
    short = predict(size, SHORT, calibration, topology=topology, algorithms=[n for n in seconds if n != NATIVE])
    rival = min(short, key=short.__getitem__)
    start = SHORT
    if rival != best:
        start, end = SHORT, float(num_bytes)
        while end > 1.05 * start:
            middle = (start * end) ** 0.5
            pair = predict(
                size, middle, calibration, topology=topology, algorithms=[best, rival][: 1 + (rival != NATIVE)]
            )
            start, end = (start, middle) if pair[best] < pair[rival] else (middle, end)
        start = end
    return (
        f"{best} from {say_bytes(start)}: {say_seconds(seconds[best])} predicted, {second} {say_seconds(rest[second])}"
    )
