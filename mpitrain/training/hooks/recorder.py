"""Records of a run: the lines of its steps and epochs, and its weights, in its directory."""

import contextlib
from collections.abc import Iterator

from ...comm.channel import Channel
from ...errors import UserError
from ...layers import MixtureOfExperts
from ..directory.ownership import TakenOverError
from ..directory.run_directory import BEST, LAST, RunDirectory
from ..results import EpochResult
from ..weight_streams import drain
from ..weights import Whole, copy_weights, gather_tensors, save_weights
from .base import Hook, StepInfo


class Recorder(Hook):
    """Hook that writes metrics.jsonl and the weights.

    Parameters
    ----------
    directory : RunDirectory or None
        The directory on rank 0; None on the other ranks, or to write nothing.
    channel : Channel, optional
        Between rank 0 and the ranks that send it the weights of the other stages; None on ranks that send none.
    """

    def __init__(self, directory: RunDirectory | None, channel: Channel | None = None):
        self.directory, self._channel = directory, channel
        self._said: set[str] = set()
        self._mixtures: list[MixtureOfExperts] | None = None

    def step_end(self, info: StepInfo) -> None:
        """Write the line of a step; show and write the reason if it was skipped."""
        if self.directory is None:
            return
        if info.skipped:
            info.note(f"step {info.step} is skipped: {info.skipped}")
        with self._tolerated(info):
            if info.skipped:
                self.directory.log("skipped", step=info.step, epoch=info.epoch, reason=info.skipped)
            else:
                more: dict[str, object] = {"local": True} if info.local else {}  # the loss of this rank
                if self._mixtures is None:
                    self._mixtures = [layer for layer in info.model.layers() if isinstance(layer, MixtureOfExperts)]
                if self._mixtures:
                    more["largest_load"] = round(max(layer.largest_load for layer in self._mixtures), 3)
                self.directory.log("step", step=info.step, epoch=info.epoch, loss=info.loss, lr=info.lr, **more)

    def checkpoint_begin(self, info: StepInfo) -> None:
        """Write all lines, so that the file holds those of all steps before the checkpoint."""
        if self.directory is not None:
            with self._tolerated(info):
                self.directory.flush()

    def evaluate_end(self, info: StepInfo) -> None:
        """Write the line of an epoch and the weights (rank 0, from all stages).

        Raises
        ------
        AgreedError
            On all ranks, if they cannot be written and this was the last epoch; before, training continues.
        """
        assert info.result is not None
        last = info.run.is_last
        sends_or_writes = self._channel is not None or self.directory is not None
        with info.run.data_parallel.whole_weights(here=sends_or_writes):
            tensors = gather_tensors(info.arena, self._channel) if sends_or_writes else None
            self._write_epoch(info, tensors, last)

    def _write_epoch(self, info: StepInfo, tensors: dict[str, Whole] | None, last: bool) -> None:
        assert info.result is not None
        with info.run.world.together(asleep=last):
            try:
                if self.directory is not None and tensors is not None:
                    self._write(self.directory, info.result, tensors, info, last)
            finally:
                drain(tensors)

    def _write(
        self,
        directory: RunDirectory,
        result: EpochResult,
        tensors: dict[str, Whole],
        info: StepInfo,
        last: bool,
    ) -> None:
        try:
            directory.log("epoch", **_line(result))
            metadata = info.run.setup.metadata(info.run.config)
            metadata |= {"epoch": result.epoch, "step": result.step, "test": result.test}
            self._save(directory, tensors, metadata, best=info.run.results[info.run.results.best] is result)
        except TakenOverError:
            raise
        except UserError as error:
            if last:
                hint = f"--resume {directory.path} continues from the last checkpoint, if there is one"
                raise UserError(f"{error}; {hint}") from None
            self._tolerate(error, info)

    def _save(
        self, directory: RunDirectory, tensors: dict[str, Whole], metadata: dict[str, object], *, best: bool
    ) -> None:
        save_weights(directory.path / LAST, tensors, metadata)
        if best:
            copy_weights(directory.path / LAST, directory.path / BEST)

    @contextlib.contextmanager
    def _tolerated(self, info: StepInfo) -> Iterator[None]:
        try:
            yield
        except TakenOverError:
            raise
        except UserError as error:
            self._tolerate(error, info)

    def _tolerate(self, error: UserError, info: StepInfo) -> None:
        """Show a failure to write once; the last epoch tries again."""
        if str(error) not in self._said:
            self._said.add(str(error))
            info.note(f"{error}; training continues")


def _line(result: EpochResult) -> dict[str, object]:
    return {
        "epoch": result.epoch,
        "step": result.step,
        "lr": result.lr,
        "train": result.train,
        **({"validation": result.validation} if result.validation else {}),
        "test": result.test,
        "samples_per_second": round(result.samples_per_second, 1),
        "seconds": round(result.seconds, 4),
        "time_share": result.times.shares(),
    }
