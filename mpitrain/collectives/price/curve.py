"""Seconds as a function of bytes: measured points joined by straight lines, and the line that sums them up.

One alpha and one beta fit no real machine from 4 B to 64 MiB: caches end, eager sending ends, so the model keeps
the points (parameterised LogP: Kielmann, Bal & Verstoep 2000). The straight line of the textbooks,
t = alpha + n beta (Hockney 1994), is the special case of two points, and is what a fit reports with its error.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """t = alpha + n beta, with the median and the largest relative error at the points it was fitted to.

    Parameters
    ----------
    alpha : float
        Seconds for an empty message.
    beta : float
        Seconds a byte.
    median_error, max_error : float
        |fitted - measured| / measured.
    """

    alpha: float
    beta: float
    median_error: float = 0.0
    max_error: float = 0.0


class Curve:
    """Seconds over bytes, through points that never fall.

    Parameters
    ----------
    points : iterable of (bytes, seconds)
        At least one. Where a longer message was faster than a shorter one, that is noise: both move to the middle.

    Examples
    --------
    >>> curve = Curve([(0, 1e-6), (1000, 2e-6)])
    >>> [round(1e6 * float(curve(n)), 3) for n in (0, 500, 3000)]
    [1.0, 1.5, 4.0]
    """

    def __init__(self, points: Iterable[tuple[float, float]]):
        ordered = sorted((float(n), float(t)) for n, t in points)
        self.sizes = np.array([n for n, _ in ordered])
        seconds = np.array([t for _, t in ordered])
        upper, lower = np.maximum.accumulate(seconds), np.minimum.accumulate(seconds[::-1])[::-1]
        self.seconds = (upper + lower) / 2
        if len(self.sizes) > 1:
            step = np.diff(self.sizes[-2:])[0]
            self.last_slope = float(np.diff(self.seconds[-2:])[0] / step) if step else 0.0
        else:
            self.last_slope = 0.0

    @classmethod
    def line(cls, alpha: float, beta: float) -> "Curve":
        """Return the curve t = alpha + n beta."""
        return cls([(0, alpha), (1 << 20, alpha + (1 << 20) * beta)])

    @property
    def points(self) -> list[list[float]]:
        """The points, as lists: what JSON keeps."""
        return [[n, t] for n, t in zip(self.sizes.tolist(), self.seconds.tolist())]

    @property
    def latency(self) -> float:
        """Seconds for an empty message."""
        return float(self.seconds[0])

    def __call__(self, num_bytes: np.ndarray | float) -> np.ndarray:
        """Return the seconds for ``num_bytes`` (any shape); beyond the last point the last slope goes on."""
        beyond = np.maximum(np.asarray(num_bytes, float) - self.sizes[-1], 0.0)
        seconds: np.ndarray = np.interp(num_bytes, self.sizes, self.seconds) + beyond * self.last_slope
        return seconds

    def shifted(self, seconds: float) -> "Curve":
        """Return the curve with ``seconds`` added, never below zero."""
        return Curve(zip(self.sizes, np.maximum(self.seconds + seconds, 0.0)))

    def blend(self, other: "Curve", share: float) -> "Curve":
        """Return the curve that is ``share`` of the way from this to ``other``."""
        if share <= 0.0:
            return self
        sizes = np.union1d(self.sizes, other.sizes)
        return Curve(zip(sizes, (1.0 - share) * self(sizes) + share * other(sizes)))

    def fit(self) -> Line:
        """Fit t = alpha + n beta by least squares on the relative errors, so that short messages count too."""
        if len(self.sizes) == 1:
            return Line(self.latency, 0.0)
        weight = 1.0 / np.maximum(self.seconds, 1e-9)
        columns = np.stack([np.ones_like(self.sizes), self.sizes], axis=1) * weight[:, None]
        alpha, beta = np.linalg.lstsq(columns, self.seconds * weight, rcond=None)[0]
        errors = np.abs((alpha + beta * self.sizes) * weight - 1.0)
        return Line(float(alpha), float(beta), float(np.median(errors)), float(errors.max()))
