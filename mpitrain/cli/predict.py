"""``mpitrain predict``: write the outputs of a finished run for new samples, as CSV or npz."""

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..errors import UserError
from ..plain_text import count
from .evaluate import warn
from .options import parse_options
from .order import Job
from .terminal import make_console

if TYPE_CHECKING:
    import numpy as np

    from ..comm.world import World

DEFAULT, DEFAULT_MAPS = Path("predictions.csv"), Path("predictions.npz")


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of predict."""

    directory: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run directory written by train."""
    data: str
    """Samples to predict, as in train --data; targets are not needed (csv:FILE, npz:FILE)."""
    out: Path | None = None
    """File to write: .csv (one line per sample) or .npz (arrays); by default predictions.csv, which must not exist, or
    predictions.npz for classes of pixels."""
    force: bool = False
    """Overwrite the default file if it exists."""
    weights: Literal["last", "best"] = "last"
    """Weights of the last epoch, or of the epoch with the best test score."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device, as in train --device."""
    mesh: Annotated[str, arg(metavar="AXIS=N,...")] = ""
    """Ranks on each axis, as in train --mesh: with pipe=4 a rank has a quarter of the layers in its memory."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    text = "Predict with the weights of a finished run: mpirun -n 4 python -m mpitrain predict RUN --data csv:FILE."
    options = parse_options(PredictOptions, argv, command="predict", description=text, speaks=speaks)
    if options.out is not None and options.out.suffix not in (".csv", ".npz"):
        raise UserError(f"--out is {options.out}, but must end in .csv or .npz")
    return Job("predict", options, lambda world: predict(options, world))


def predict(options: PredictOptions, world: "World") -> int:
    """Compute the outputs with all ranks and write them (rank 0)."""
    import numpy as np

    from ..config import Compute, Config
    from ..device import CPU
    from ..training.devices import take_device
    from ..training.directory.trained_model import open_trained_model

    CPU.use_threads(world.cores)
    device = take_device(Config(compute=Compute(device=options.device)), world)
    with world.together():
        run = open_trained_model(options.directory, options.weights)
        maps = run.signature.task == "segmentation"
        out = options.out or (DEFAULT_MAPS if maps else DEFAULT)
        if world.rank == 0:
            check_out(out, options.data, overwrite=options.force or options.out is not None)
        if maps and out.suffix != ".npz":
            raise UserError(f"--out is {out}, but classes of pixels are arrays: it must end in .npz")
    run.prepare(world, options.data)
    with world.together():
        rows = run.open_samples(options.data)
    run.check_ranks(rows, options.data, world)
    warn(world, *rows.notes, run.diagnose(rows, world))
    (samples,) = rows.parts
    evaluator = run.evaluator(world, device, options.mesh)
    if run.signature.task == "language-modeling":
        columns = run.text_columns(samples, *evaluator.row_losses(samples))
    elif maps:
        columns = run.maps(*evaluator.best(samples.x))
    else:
        columns = run.columns(evaluator.all_outputs(samples.x, run.signature.num_outputs))
    if rows.files:
        columns = {"file": np.array(rows.files), **columns}
    with world.together():
        if world.rank == 0:
            write_predictions(out, columns, run.digits)
            of = "" if rows.split == "all" else f" ({rows.described})"
            make_console().say(f"{count(len(samples), 'prediction')} for {rows.name}{of} in {out}")
    return 0


def check_out(path: Path, data: str, *, overwrite: bool) -> None:
    """Raise a UserError if predictions cannot or should not be written to ``path``."""
    from ..data.sources import path_of

    samples = Path(path_of(data)).expanduser()
    if path.exists() and samples.exists() and path.samefile(samples):
        raise UserError(f"--out {path} is the file that holds the samples")
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"cannot write {path}: " + ("it is a directory" if path.is_dir() else "no such directory"))
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already: write over it with --force, or name another file with --out")


def write_predictions(path: Path, columns: dict[str, "np.ndarray"], digits: int) -> None:
    """Write columns of equal length as .npz or .csv, numbers with ``digits`` digits."""
    import numpy as np

    from ..data.files import write_atomically

    if path.suffix == ".npz":
        binary = io.BytesIO()
        np.savez(binary, **columns)  # type: ignore[arg-type]  # numpy's stub takes a column for allow_pickle
        write_atomically(path, binary.getvalue())
        return
    cells = [[_cell(value, digits) for value in column.tolist()] for column in columns.values()]
    lines = [",".join(map(_quoted, columns)), *map(",".join, zip(*cells, strict=True))]
    write_atomically(path, "\n".join([*lines, ""]).encode("utf-8", "surrogateescape"))


def _cell(value: str | float, digits: int) -> str:
    return _quoted(value) if isinstance(value, str) else f"{value:.{digits}g}"


def _quoted(text: str) -> str:
    """Return a cell quoted by RFC 4180, so that any reader returns the same text, outer blanks included."""
    if re.search(r'[,;"\r\n]|^\s|\s$|^$', text) is None:
        return text
    return '"' + text.replace('"', '""') + '"'
