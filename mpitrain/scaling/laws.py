"""Laws of scaling, and the serial fraction that fits measured steps.

    Amdahl (1967)     the same work on n ranks: the speed-up is 1 / (s + (1 - s) / n), at most 1 / s
    Gustafson (1988)  n-fold work on n ranks: the scaled speed-up is s + (1 - s) n

s is the serial fraction: of the time on one rank, the part that more ranks do not shorten (Amdahl); of the time on n
ranks, the part in which only one rank's worth of work is done (Gustafson). Both laws are lines in 1 / n: Amdahl's in
the seconds of a step, T(n) = a + b / n with s = a / (a + b), and Gustafson's in steps per second, 1 / T(n) = a + b / n
with s = b / (a + b). So least squares on relative errors give s and, by the covariance of a and b, its standard error.

Sources: Amdahl 1967, "Validity of the single processor approach to achieving large scale computing capabilities";
Gustafson 1988, "Reevaluating Amdahl's law".
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

CONFIDENCE = 0.95

Law = Literal["Amdahl", "Gustafson"]


def amdahl(serial: float, ranks: float) -> float:
    """Return the speed-up on ``ranks`` of the same work.

    >>> amdahl(0.1, 1), amdahl(0.0, 8), round(amdahl(0.1, 1e9), 6)
    (1.0, 8.0, 10.0)
    """
    return 1 / (serial + (1 - serial) / ranks)


def gustafson(serial: float, ranks: float) -> float:
    """Return the scaled speed-up on ``ranks``, each with the work of one.

    >>> gustafson(0.1, 1), gustafson(0.0, 8), gustafson(0.5, 9)
    (1.0, 8.0, 5.0)
    """
    return serial + (1 - serial) * ranks


LAWS: dict[Law, Callable[[float, float], float]] = {"Amdahl": amdahl, "Gustafson": gustafson}


@dataclass(frozen=True)
class Fit:
    """A law with the serial fraction that fits the measured steps best.

    Attributes
    ----------
    law : str
    serial : float
        May be below 0, where the speed-up is larger than the number of ranks.
    error : float or None
        Standard error of ``serial``; None if there are no more measurements than unknowns.
    first : float
        Seconds of a step on one rank, as fitted.
    freedom : int
        Measurements beyond the two unknowns.
    """

    law: Law
    serial: float
    error: float | None
    first: float
    freedom: int

    @property
    def holds(self) -> bool:
        """False if more ranks are not faster, which no serial fraction explains."""
        return self.serial < 1

    def interval(self) -> tuple[float, float]:
        """Return bounds of the serial fraction that hold it with 95%: 0 and 1 if no error is known."""
        if self.error is None:
            return 0.0, 1.0
        half = student(self.freedom) * self.error
        return min(1.0, max(0.0, self.serial - half)), min(1.0, max(0.0, self.serial + half))

    def speedup(self, ranks: float) -> float:
        """Return the speed-up by the law; with a serial fraction below 0 that of 0."""
        return LAWS[self.law](min(1.0, max(0.0, self.serial)), ranks)

    def band(self, ranks: float) -> tuple[float, float]:
        """Return the bounds of the speed-up for those of the serial fraction, the lower one first."""
        low, high = self.interval()
        return LAWS[self.law](high, ranks), LAWS[self.law](low, ranks)

    def seconds(self, ranks: float) -> float:
        """Return the seconds of a step by the law."""
        work = ranks if self.law == "Gustafson" else 1.0
        return self.first * work / self.speedup(ranks)


def fit(law: Law, ranks: Sequence[float], seconds: Sequence[float]) -> Fit:
    """Return the law that fits the seconds of a step best, measured on some numbers of ranks, any number of times.

    Parameters
    ----------
    law : str
    ranks, seconds : sequence of float
        A pair for each measurement.

    Raises
    ------
    ValueError
        If there are fewer than two different numbers of ranks.

    Examples
    --------
    >>> found = fit("Amdahl", [1, 2, 4], [1.0, 0.6, 0.4])
    >>> round(found.serial, 9), round(found.first, 9), round(found.speedup(8), 3)
    (0.2, 1.0, 3.333)
    """
    if len(set(ranks)) < 2:
        raise ValueError("a law needs steps on two different numbers of ranks")
    values = np.array(seconds, np.float64)
    if law == "Gustafson":
        values = 1 / values
    inverse = 1 / np.array(ranks, np.float64)
    matrix = np.stack([np.ones_like(inverse), inverse], 1) / values[:, None]  # so that residuals are relative errors
    (a, b), *_ = np.linalg.lstsq(matrix, np.ones_like(values), rcond=None)
    share, freedom = float(a / (a + b)), len(values) - 2
    error = None
    if freedom > 0:
        residuals = 1 - matrix @ np.array([a, b])
        covariance = float(residuals @ residuals) / freedom * np.linalg.inv(matrix.T @ matrix)
        slope = np.array([b, -a]) / (a + b) ** 2  # of the share, in a and b
        error = math.sqrt(max(0.0, float(slope @ covariance @ slope)))
    one = float(a + b)
    if law == "Gustafson":
        return Fit(law, 1 - share, error, 1 / one, freedom)
    return Fit(law, share, error, one, freedom)


def student(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Return the number of standard errors that hold a value with ``confidence`` (quantile of Student's distribution).

    Exact for 1 and 2 degrees of freedom; above, the expansion of Abramowitz & Stegun (1964), 26.7.5.

    >>> [round(student(freedom), 2) for freedom in (1, 2, 3, 5, 10, 1000)]
    [12.71, 4.3, 3.18, 2.57, 2.23, 1.96]
    """
    p = (1 + confidence) / 2
    if freedom == 1:
        return math.tan(math.pi * (p - 0.5))
    if freedom == 2:
        return (2 * p - 1) / math.sqrt(2 * p * (1 - p))
    x, v = NormalDist().inv_cdf(p), freedom
    return (
        x
        + (x**3 + x) / (4 * v)
        + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * v**2)
        + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * v**3)
        + (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / (92160 * v**4)
    )
