"""``mpitrain predict``: write the outputs of a finished run for new samples, as CSV or npz."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from ..errors import AgreedError, UserError
from ..plain_text import count
from .evaluate import check_runs, warn
from .options import parse_options
from .order import Job
from .terminal import make_console

if TYPE_CHECKING:
    from ..comm.world import World
    from ..training.directory.trained_model import TrainedModel
    from ..training.prediction.ensemble import Member

DEFAULT, DEFAULT_MAPS = Path("predictions.csv"), Path("predictions.npz")


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of predict."""

    directories: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN")]
    """Run directory written by train; several are averaged (probabilities, or values)."""
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
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """Precision on a GPU, as in train --precision; auto takes that of the training (of several runs the most exact),
    and fp32 on a CPU."""
    mesh: Annotated[str, arg(metavar="AXIS=N,...")] = ""
    """Ranks on each axis, as in train --mesh: with pipe=4 a rank has a quarter of the layers in its memory."""
    top: Annotated[int | None, arg(metavar="N")] = None
    """Write the N best items for each user of ratings:FILE, without those that it has in the file; by default 10, or a
    rating for each row where the model predicts ratings."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    text = "Predict with the weights of a finished run: mpirun -n 4 python -m mpitrain predict RUN --data csv:FILE."
    options = parse_options(PredictOptions, argv, command="predict", description=text, speaks=speaks)
    if options.out is not None and options.out.suffix not in (".csv", ".npz"):
        raise UserError(f"--out is {options.out}, but must end in .csv or .npz")
    if options.top is not None and options.top < 1:
        raise UserError(f"--top is {options.top}, but must be 1 or more")
    return Job("predict", options, lambda world: predict(options, world))


def predict(options: PredictOptions, world: "World") -> int:
    """Compute the outputs with all ranks and write them (rank 0)."""
    from ..device import CPU
    from ..training.devices import take_device_for_runs
    from ..training.directory.trained_model import open_trained_model
    from ..training.prediction.ensemble import make_members

    CPU.use_threads(world.cores)
    with world.together():
        check_runs("predict", options.directories, options.mesh)
        runs = [open_trained_model(directory, options.weights) for directory in options.directories]
        names = list(map(str, options.directories))
        members = make_members(runs, names)
        out = choose_out(options, runs[0], world)
    trained = [one.precision for one in runs]
    device = take_device_for_runs(options.device, options.precision, trained, world)
    runs[0].prepare(world, options.data)
    members = [member.opened(world, device, options.mesh) for member in members]
    if options.data.startswith("ratings:"):
        text = predict_ratings(options, members, out, world)
    elif options.top is not None:
        raise AgreedError("--top is for ratings:FILE")
    elif runs[0].signature.task == "language-modeling":
        text = predict_text(options, members[0], out, world)
    else:
        text = predict_pieces(options, members, out, world)
    if world.rank == 0:
        make_console().say(f"{text} in {out}")
    return 0


def predict_pieces(options: PredictOptions, members: "list[Member]", out: Path, world: "World") -> str:
    """Write predictions piece by piece, and return their number and source in words (collective)."""
    from ..training.prediction.files import CsvFile, NpzFile, PredictionFile
    from ..training.prediction.predict import open_source, predict

    run = members[0].run
    sources = open_source(members, options.data, world)
    constants = run.map_constants if run.signature.task == "segmentation" else {}
    file: PredictionFile = NpzFile(out, constants) if out.suffix == ".npz" else CsvFile(out, run.digits)
    with contextlib.ExitStack() as stack:
        with world.together():
            if world.rank == 0:
                stack.enter_context(file)
        written = predict(members, sources, file, world)
    warn(world, *written.notes)
    of = "" if written.split == "all" else f" ({written.split} split)"
    return f"{count(written.num_samples, 'prediction')} for {written.name}{of}"


def predict_ratings(options: PredictOptions, members: "list[Member]", out: Path, world: "World") -> str:
    """Write the best items of each user, or the rating of each row, and return their number in words (collective)."""
    from ..data.sources import inherit_options, parse_source
    from ..training.prediction.files import write_columns
    from ..training.prediction.recommend import NUM_BEST, predicted_ratings, recommended

    run = members[0].run
    run.check_weights_alike(world)
    place = parse_source(inherit_options(options.data, run.signature.source))[1]
    if options.top is None and run.signature.task == "regression":
        columns, notes = predicted_ratings(members, place, world)
        text = count(len(next(iter(columns.values()))), "rating")
    else:
        columns, num_users, notes = recommended(members, place, options.top or NUM_BEST, world)
        text = f"{count(len(next(iter(columns.values()))), 'item')} for {count(num_users, 'user')}"
    warn(world, *notes)
    with world.together():
        if world.rank == 0:
            write_columns(out, columns, run.digits)
    return text


def predict_text(options: PredictOptions, member: "Member", out: Path, world: "World") -> str:
    """Write the scores of windows of text, and return their number and source in words (collective)."""
    from ..training.prediction.files import write_columns

    run = member.run
    with world.together():
        rows = run.open_samples(options.data)
    run.check_ranks(rows, options.data, world)
    warn(world, *rows.notes, run.diagnose(rows, world))
    (samples,) = rows.parts
    columns = run.text_columns(samples, *member.evaluator.row_losses(samples))
    with world.together():
        if world.rank == 0:
            write_columns(out, columns, run.digits)
    of = "" if rows.split == "all" else f" ({rows.described})"
    return f"{count(len(samples), 'prediction')} for {rows.name}{of}"


def choose_out(options: PredictOptions, run: "TrainedModel", world: "World") -> Path:
    """Return the file to write, which rank 0 has checked."""
    maps = run.signature.task == "segmentation"
    out = options.out or (DEFAULT_MAPS if maps else DEFAULT)
    if world.rank == 0:
        check_out(out, options.data, overwrite=options.force or options.out is not None)
    if maps and out.suffix != ".npz":
        raise UserError(f"--out is {out}, but classes of pixels are arrays: it must end in .npz")
    return out


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
