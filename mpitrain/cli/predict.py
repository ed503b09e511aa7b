"""``mpitrain predict``: a finished run's outputs for new samples, as CSV or npz."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..errors import UserError
from .options import parse_options

if TYPE_CHECKING:
    import numpy as np

    from ..comm.world import World
    from .main import Job


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of predict."""

    directory: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run directory that train has written."""
    data: str
    """Samples to predict, as in train --data; targets are not needed (csv:FILE, npz:FILE)."""
    out: Path = Path("predictions.csv")
    """File to write: .csv (a line a sample) or .npz (arrays)."""
    weights: Literal["last", "best"] = "last"
    """Weights of the last epoch, or of the epoch with the best test score."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where, as in train --device."""


def parse(argv: list[str], speaks: bool) -> "Job":
    """Return the job that ``argv`` asks for."""
    text = "Predict with the weights of a finished run: mpirun -n 4 python -m mpitrain predict RUN --data csv:FILE."
    options = parse_options(PredictOptions, argv, command="predict", description=text, speaks=speaks)
    if options.out.suffix not in (".csv", ".npz"):
        raise UserError(f"--out is {options.out}, but must end in .csv or .npz")
    return lambda world: predict(options, world)


def predict(options: PredictOptions, world: "World") -> int:
    """Compute the outputs with all ranks and write them (rank 0)."""
    import numpy as np

    from ..config import Compute, Config
    from ..data.sampler import share
    from ..device import CPU
    from ..training.devices import take_device
    from ..training.evaluation import Evaluator
    from ..training.finished import open_finished

    CPU.use_threads(world.cores)
    device = take_device(Config(compute=Compute(device=options.device)), world)
    with world.together():
        run = open_finished(options.directory, options.weights, device)
        features = run.open_features(options.data)
    evaluator = Evaluator(run.model, world, run.normalizer, device)
    rows = share(len(features.x), world.rank, world.size)
    mine = [device.to_host(outputs).copy() for _, outputs in evaluator.outputs(features.x, rows)]
    parts = world.all_gather(np.concatenate(mine) if mine else np.empty((0, run.num_outputs), np.float32))
    with world.together():
        if world.rank == 0:
            columns = run.columns(np.concatenate(parts))
            _write(options.out, columns)
            print(f"{len(features.x):,} predictions for {features.name} in {options.out}")
    return 0


def _write(path: Path, columns: dict[str, "np.ndarray"]) -> None:
    import numpy as np

    from ..training.weights import write_atomically

    if path.suffix == ".npz":
        binary = io.BytesIO()
        np.savez(binary, **columns)  # type: ignore[arg-type]  # numpy's stub takes a column for allow_pickle
        write_atomically(path, binary.getvalue())
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(_plain(c) for c in columns.values()), strict=True))
    write_atomically(path, text.getvalue())


def _plain(column: "np.ndarray") -> list[Any]:
    return [f"{v:.6g}" if isinstance(v, float) else v for v in column.tolist()]
