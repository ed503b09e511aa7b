"""Header of the gradients: the sums over ranks that every step needs besides its gradients.

    | weight | loss | correct | stop | preempt | save | idle | results (5) | signature (4) |

They travel with the first bucket and cost no message of their own. This is the only place that knows where they are.
"""

from typing import Any, Final, NamedTuple


class StepSums(NamedTuple):
    """Sums over all ranks after a step.

    Attributes
    ----------
    weight, loss, correct : float
        See ``losses.Totals``.
    stop, preempt, save, idle : float
        Number of ranks that request it, or that are not writing a checkpoint.
    """

    weight: float = 0.0
    loss: float = 0.0
    correct: float = 0.0
    stop: float = 0.0
    preempt: float = 0.0
    save: float = 0.0
    idle: float = 0.0


class StepHeader:
    """Places in the header.

    Attributes
    ----------
    SIZE : int
        Elements: a cache line of float32.
    NUM_TOTALS : int
    TOTALS, CONTROL, RESULTS, SIGNATURE : slice
        Totals of the loss; requests; comparisons of a user's sums, and of the collectives that the ranks have called.
    """

    SIZE: Final = 16
    NUM_TOTALS: Final = 3
    TOTALS: Final = slice(0, NUM_TOTALS)
    CONTROL: Final = slice(NUM_TOTALS, len(StepSums._fields))
    RESULTS: Final = slice(NUM_TOTALS + 4, NUM_TOTALS + 9)
    SIGNATURE: Final = slice(SIZE - 4, SIZE)

    @staticmethod
    def read(header: Any) -> StepSums:
        """Return the sums in ``header``, an array (SIZE,)."""
        return StepSums(*header[: StepHeader.CONTROL.stop].tolist())
