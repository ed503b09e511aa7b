"""A machine: what a rank computes, remembers and sends."""

from dataclasses import dataclass, field, replace

from ..collectives.price import Calibration
from ..errors import UserError
from ..suggest import did_you_mean


@dataclass(frozen=True)
class Speed:
    """Operations a second of matrix products on one rank.

    Attributes
    ----------
    peak : float
        By the data sheet.
    achieved : float
        By large products.
    """

    peak: float
    achieved: float


@dataclass(frozen=True)
class Level:
    """One level of links, from the innermost out.

    Attributes
    ----------
    name : str
    ranks : int
        Ranks within one such level; 0 for any number (the outermost).
    latency : float
        Seconds of an empty message, alpha.
    bandwidth : float
        Bytes a second that each rank sends while all do, 1 / beta.
    alone : float
        Bytes a second that one rank sends while the others of its node do not.
    """

    name: str
    ranks: int
    latency: float
    bandwidth: float
    alone: float


@dataclass(frozen=True)
class Machine:
    """A machine.

    Attributes
    ----------
    name : str
    speeds : dict of str to Speed
        By precision: fp32, tf32, bf16.
    memory : float
        Bytes that a rank has for a training.
    bandwidth : float
        Bytes a second of a rank's memory.
    levels : tuple of Level
    device : str
        "gpu" or "cpu".
    half : float
        Smallest dimension of a product at which it has half the speed of a large one.
    call : float
        Seconds that a call of an op takes besides.
    overlap : float
        Part of the time of gradient messages that compute hides, at most.
    ranks : int
        Ranks of the whole machine; 0 if not known.
    shares_memory : bool
        Ranks of a node sum in common memory (the ``shared`` all-reduce).
    calibration : Calibration or None
        Measured messages, in place of the levels.
    source : str
    """

    name: str
    speeds: dict[str, Speed]
    memory: float
    bandwidth: float
    levels: tuple[Level, ...]
    device: str = "cpu"
    half: float = 64.0
    call: float = 1e-6
    overlap: float = 0.5
    ranks: int = 0
    shares_memory: bool = False
    calibration: Calibration | None = field(default=None, compare=False)
    source: str = ""

    @property
    def ranks_per_node(self) -> int:
        """Ranks within the first level."""
        return self.levels[0].ranks

    def speed(self, precision: str) -> Speed:
        """Return the speed of products of one precision."""
        if precision not in self.speeds:
            raise UserError(
                f"{self.name} has no speed of {precision}{did_you_mean(precision, self.speeds)}; it has "
                f"{', '.join(self.speeds)}"
            )
        return self.speeds[precision]

    def scaled(self, *, bandwidth: float = 1.0, memory: float = 1.0) -> "Machine":
        """Return the machine with other links on its outermost level, or another memory."""
        outer = self.levels[-1]
        other = replace(outer, bandwidth=outer.bandwidth * bandwidth, alone=outer.alone * bandwidth)
        return replace(self, levels=(*self.levels[:-1], other), memory=self.memory * memory)
