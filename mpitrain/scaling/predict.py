"""Predicted steps: the work of one rank alone, waits that its variation explains, and the prices of messages.

    compute    of one rank alone with as many samples as a rank has, measured; P / C times of it where P ranks share C
               cores
    waiting    for the last of P ranks: its compute is the median of the largest of P, the others' that of one
    messages   prices of the buckets' all-reduces, less what backward hides; where ranks share memory, two barriers, the
               sum of P - 1 slices and the update of a slice; and the sums of batch statistics

Sources of the prices: ``collectives/price``, with messages measured in the same job.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles

from ..collectives.price import Calibration, predict
from ..errors import ScheduleError, UserError
from .measured import Measured, Parts

FORWARD = 1 / 3  # of the compute of a step: backward has two products for each of forward's
SHARED, NATIVE = "shared", "native"
HEADER = 8  # bytes of a small sum
BARRIERS = 2


@dataclass(frozen=True)
class Prediction:
    """A predicted step.

    Attributes
    ----------
    parts : Parts
        Without messages (0) where they have no price.
    reason : str
        Why messages have no price; empty if they have one.
    """

    parts: Parts
    reason: str = ""


def predict_step(alone: Measured, measured: Measured, calibration: Calibration | None = None) -> Prediction:
    """Return the prediction for a training on several ranks, without its times.

    Parameters
    ----------
    alone : Measured
        One rank with the samples that a rank has in ``measured``.
    measured : Measured
        Only its facts are used: ranks, cores, buckets, algorithms.
    calibration : Calibration, optional
        By default that of the training.
    """
    facts, ranks = measured.facts, measured.case.ranks
    own = alone.parts
    sharing = max(1.0, ranks * measured.threads / facts["machine_cores"])
    update = alone.facts["update"] if facts["sharded"] else 0.0
    compute = sharing * max(0.0, own.compute - update)
    waiting = wait_for_last(alone.own, ranks)
    if calibration is None and facts["calibration"] is not None:
        calibration = Calibration.from_json(facts["calibration"])
    seconds, reason = price_messages(measured, calibration, (1 - FORWARD) * compute)
    messages = 0.0 if reason else seconds + update / ranks
    return Prediction(Parts(compute, own.input, waiting, messages), reason)


def wait_for_last(own: Sequence[float], ranks: int) -> float:
    """Return the median wait for the last of ``ranks``, whose compute varies like ``own``.

    The median of the largest of P independent times is their quantile 2 ** (-1 / P).

    >>> round(wait_for_last([1.0, 1.1, 1.2, 1.3, 1.4], 1), 9), round(wait_for_last([1.0, 1.1, 1.2, 1.3, 1.4], 8), 3)
    (0.0, 0.167)
    """
    if len(own) < 2:
        return 0.0
    cuts = quantiles(own, n=1000, method="inclusive")
    place = 2 ** (-1 / ranks)
    return cuts[min(998, round(1000 * place) - 1)] - cuts[499]


def price_messages(measured: Measured, calibration: Calibration | None, backward: float) -> tuple[float, str]:
    """Return the seconds of the exchange that backward does not hide, and why they have no price (empty if so)."""
    facts, ranks = measured.facts, measured.case.ranks
    if facts["unpriced"]:
        return 0.0, facts["unpriced"]
    if measured.oversubscribed or calibration is None or calibration.oversubscribed:
        return 0.0, "ranks outnumber cores, where prices of messages do not apply"
    buckets, names = facts["buckets"], facts["algorithms"]
    statistics = sum(predict(ranks, n, calibration, algorithms=[])[NATIVE] for n in facts["statistics"])
    if SHARED in names:
        return statistics + sum(price_shared(ranks, length, calibration) for length in buckets), ""
    try:
        prices = [
            predict(ranks, n, calibration, algorithms=[name])[name] for n, name in zip(buckets, names, strict=True)
        ]
    except (KeyError, ValueError, UserError, ScheduleError):
        return 0.0, f"{' and '.join(sorted(set(names)))} has no price"
    return statistics + exposed(prices, buckets, backward), ""


def price_shared(ranks: int, num_bytes: float, calibration: Calibration) -> float:
    """Return the seconds of sums in the memory of one node, of ``num_bytes`` of gradients."""
    if SHARED in calibration.measured and calibration.ranks == ranks:
        return float(calibration.measured[SHARED](num_bytes))
    work = (ranks - 1) * float(calibration.reduce(num_bytes / ranks))
    barriers = BARRIERS * float(calibration.inside.one_way(HEADER))
    norm = predict(ranks, HEADER, calibration, algorithms=[])[NATIVE]
    return work + barriers + norm


def exposed(prices: Sequence[float], lengths: Sequence[float], backward: float) -> float:
    """Return the seconds for which the sums of buckets, one after another, last longer than backward.

    A bucket can be sent when backward has come as far as its end, by the bytes of gradients.

    >>> exposed([1.0], [4.0], 10.0), exposed([1.0, 1.0], [4.0, 4.0], 10.0), exposed([7.0, 1.0], [4.0, 4.0], 10.0)
    (1.0, 1.0, 3.0)
    """
    done, end = 0.0, 0.0
    for price, length in zip(prices, lengths, strict=True):
        done += length
        end = max(end, backward * done / sum(lengths)) + price
    return max(0.0, end - backward)
