"""Weight of a rank's samples in a step, and the factors of errors that follow from it (see ``codec.py``)."""

from dataclasses import dataclass
from typing import Any

from ...arena import Arena
from ...ops.carry import step_factors


@dataclass
class StepScale:
    """This rank's weight in the step, and the factors of its errors: arrays () of a device that alone knows the weight.

    Attributes
    ----------
    step : int
        Steps before this one.
    weight : float
        Of this rank's samples.
    """

    step: int = 0
    weight: float = 0.0

    def read(self, arena: Arena) -> None:
        """Take the weight in the arena's header, before it is summed over the ranks."""
        self.weight = float(arena.header[0])

    def host_weight(self) -> float:
        """Return the weight; one of a device is waited for."""
        return self.weight

    @property
    def inject(self) -> Any:
        """Factor of an error that is added to a gradient."""
        return self.weight

    @property
    def keep(self) -> Any:
        """Factor of an error that is replaced: 1 on a rank without samples, which keeps its own."""
        return 0.0 if self.weight > 0 else 1.0

    @property
    def inverse(self) -> Any:
        """Factor of a rest, a sum over samples, that is kept as an error."""
        return 1 / self.weight if self.weight > 0 else 0.0


class DeviceScale(StepScale):
    """This rank's weight where the losses are summed on a device: the host does not wait for it.

    Parameters
    ----------
    arena : Arena
    """

    def __init__(self, arena: Arena):
        super().__init__()
        self._device = arena.device
        self._factors = arena.device.zeros((3,))

    def read(self, arena: Arena) -> None:
        """Queue the computation of the factors."""
        arena.put_header()
        step_factors(arena.gradients[:1], self._factors)

    def host_weight(self) -> float:
        """Return the weight, after the device's work so far."""
        return float(self._device.to_host(self._factors)[0])

    @property
    def inject(self) -> Any:
        """Factor of an error that is added to a gradient."""
        return self._factors[0]

    @property
    def keep(self) -> Any:
        """Factor of an error that is replaced."""
        return self._factors[1]

    @property
    def inverse(self) -> Any:
        """Factor of a rest that is kept as an error."""
        return self._factors[2]
