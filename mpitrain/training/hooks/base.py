"""Hook interface, and the information passed to hooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:  # a file that defines a hook needs no MPI
    from ...arena import Arena
    from ...comm.group import Group
    from ...data.loader import Batch
    from ...layers import Layer
    from ...losses import Totals
    from ...optim import Optimizer
    from ..results import EpochResult
    from ..run import TrainingRun
    from ..step_timer import Times


@dataclass(frozen=True, eq=False, kw_only=True)
class StepInfo:
    """State of the run at the call of a hook.

    Attributes
    ----------
    run : TrainingRun
        The parts of the run, for hooks that need more than the properties here.
    step : int
        The step in progress or just done, counted from 1 over all epochs.
    epoch : int
        Counted from 1.
    lr : float
        Learning rate of the step.
    batches : sequence of Batch
        Microbatches of this rank in the step; empty outside of a step. Their memory is used again later.
    totals : Totals or None
        Weight (the number of targets), summed loss and correct predictions of the step, over all ranks; None before
        they are summed. With --sync, those of this rank alone in a ``local`` step, and at a meeting those of all ranks
        in all steps since the last one.
    norm : float
        Euclidean norm of the summed gradient, before it is divided by the weight; NaN before it is summed. With --sync,
        that of this rank's gradient.
    local : bool
        True in a step that a rank makes on its own (--sync): weights differ between the ranks until the next meeting.
        A hook that calls collectives then makes ranks wait for each other that would not.
    skipped : str
        Why the weights are not updated in this step; empty if they are.
    result : EpochResult or None
        Scores and times, once it was evaluated.
    """

    run: TrainingRun
    step: int
    epoch: int
    lr: float
    batches: Sequence[Batch] = ()
    totals: Totals | None = None
    norm: float = float("nan")
    local: bool = False
    skipped: str = ""
    result: EpochResult | None = None

    @property
    def loss(self) -> float:
        """Mean loss of the step over all ranks."""
        return float("nan") if self.totals is None else self.totals.loss / max(1.0, self.totals.weight)

    @property
    def model(self) -> Layer:
        """The network."""
        return self.run.setup.model

    @property
    def arena(self) -> Arena:
        """The buffers with all weights and gradients."""
        return self.run.setup.arena

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer."""
        return self.run.optimizer

    @property
    def group(self) -> Group:
        """The ranks among which the samples are divided, which call its methods together."""
        return self.run.group

    @property
    def rank(self) -> int:
        """This rank."""
        return self.run.world.rank

    @property
    def times(self) -> Times:
        """Times of this rank since the last evaluation."""
        return self.run.timer.so_far()

    @property
    def train(self) -> dict[str, float]:
        """Scores over the training samples since the last evaluation, over all ranks."""
        return self.run.train_scores()

    def stop(self) -> None:
        """Request the end of the training; all ranks stop after the same step, evaluate and write the results.

        One rank is enough. The request is sent with the gradients of the current step or, once they are summed, with
        those of the next one, and at the end of an epoch at once. With --sync it waits for the next meeting.
        """
        self.run.requests.stop = True

    def save(self) -> None:
        """Request a checkpoint; sent like the request to stop."""
        self.run.requests.save = True

    def note(self, text: str) -> None:
        """Show a line to the user; on rank 0 only."""
        self.run.display.note(text)


class Hook:
    """Base class of hooks: override the methods to be called.

    A method that raises ends the run on all ranks, with the name of the hook in the message. A hook on all ranks may
    call collectives of ``info.group``; then it must do so on every rank at the same step.

    Attributes
    ----------
    ranks : "all" or "first"
        Whether the hook runs on every rank or on rank 0 only.
    before_evaluation : bool
        Whether the hook is called before the scores are computed in ``evaluate``, and before what is written then.
    decides : bool
        False for a hook whose ``gradients_ready`` reads no gradients and leaves out no step with a finite loss and
        norm: a GPU's update need not wait for it.

    Examples
    --------
    >>> class PrintLoss(Hook):
    ...     ranks = "first"
    ...     def step_end(self, info):
    ...         print(info.step, info.loss)
    """

    ranks: ClassVar[Literal["all", "first"]] = "all"
    before_evaluation: ClassVar[bool] = False
    decides: ClassVar[bool] = True

    def train_begin(self, info: StepInfo) -> None:
        """Run before the first step, and again when training continues after the loss of a rank (--elastic)."""

    def epoch_begin(self, info: StepInfo) -> None:
        """Run before the first step of an epoch, or the first one after a resume."""

    def step_begin(self, info: StepInfo) -> None:
        """Run before forward; ``info.step`` is the step that begins."""

    def gradients_ready(self, info: StepInfo) -> str | None:
        """Run when gradients and totals are summed, before the update.

        Where each rank updates its share of the weights only (``--shard``), the sums of gradients are spread over the
        ranks; ``info.norm`` is that of all of them everywhere.

        Returns
        -------
        str or None
            A reason to leave out the update; the same on all ranks, or none on all.
        """
        return None

    def step_end(self, info: StepInfo) -> None:
        """Run after the update."""

    def interrupted(self, info: StepInfo) -> None:
        """Run when the training ends early on request, before the evaluation."""

    def evaluate(self, info: StepInfo) -> None:
        """Run when an evaluation is due: after an epoch, or by --evaluate-every."""

    def evaluate_end(self, info: StepInfo) -> None:
        """Run after an evaluation; ``info.result`` holds the scores."""

    def checkpoint_begin(self, info: StepInfo) -> None:
        """Run before the state is copied for a checkpoint."""

    def epoch_end(self, info: StepInfo) -> None:
        """Run after the last step of an epoch; by default it was evaluated, and the results were written."""

    def train_end(self, info: StepInfo) -> None:
        """Run at the end of the training, also where it ends early on request."""

    def exception(self, info: StepInfo, error: BaseException) -> None:
        """Run when the training ends with ``error`` on this rank."""
