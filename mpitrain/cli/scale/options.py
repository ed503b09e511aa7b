"""Options of ``mpitrain scale``, and the trainings that they ask for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ...comm.launch import by_mpirun, launched_size
from ...config import Config
from ...config_check import check
from ...duration import parse_time
from ...errors import UserError
from ...scaling.study import Plan, make_plan, num_cores, read_ranks

STEPS, FEWEST_STEPS = 40, 4
SUFFIXES = (".csv", ".svg", ".html")


@dataclass(frozen=True, kw_only=True)
class ScaleOptions(Config):
    """Options of scale."""

    config: Annotated[Path | None, arg(name="config", metavar="FILE")] = None
    """TOML file with settings, as in train --config."""
    ranks: Annotated[str, arg(metavar="N,N,...")] = ""
    """Numbers of ranks, as in 1,2,4,8; empty takes the powers of two up to the cores of this machine."""
    weak: bool = False
    """Give each rank --batch-size samples of its own (weak scaling, Gustafson's law), in place of a share of them
    (strong scaling, Amdahl's law)."""
    compare_threads: bool = False
    """Also compare ranks with threads on the same number of cores: 4 ranks, 2 ranks with 2 threads each, and so on."""
    repeat: int = 3
    """Trainings of each kind, in turns; the one of median length counts."""
    time: Annotated[str, arg(metavar="TIME")] = "2m"
    """Longest time of one training (90s, 5m); one that takes longer is ended, with all of its ranks."""
    extrapolate: int = 0
    """Largest number of ranks to predict by the law; 0 takes eight times the largest of --ranks."""
    calibration: Path | None = None
    """File that collective calibrate has written, for prices of messages; by default messages are measured beside the
    steps."""
    output: Annotated[tuple[Path, ...], arg(aliases=["-o"])] = ()
    """Files to write: FILE.csv, FILE.svg, FILE.html."""


def check_options(options: ScaleOptions) -> None:
    """Raise a UserError for values out of range, and for options of train that would do nothing."""
    check(options)
    if launched_size() > 1 or by_mpirun():
        raise UserError("scale starts the ranks itself: leave out mpirun, srun or -n before it")
    for flag, value, least in (("--repeat", options.repeat, 1), ("--steps", options.run.steps, FEWEST_STEPS)):
        if value < least:
            raise UserError(f"{flag} is {value}, but must be at least {least}")
    if read_limit(options) <= 0:
        raise UserError(f"--time is {options.time}, but must be more than 0")
    r, p = options.run, options.parallel
    idle = {
        "--out": bool(r.out),
        "--profile": r.profile,
        "--early-stop": bool(r.early_stop),
        "--hook": bool(r.hook),
        "--monitor": bool(r.monitor),
        "--elastic": p.elastic,
    }
    for flag, given in idle.items():
        if given:
            raise UserError(f"{flag} does nothing in scale, which times steps and writes no run: leave it out")
    for file in options.output:
        if file.suffix not in SUFFIXES:
            raise UserError(f"-o {file} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def read_limit(options: ScaleOptions) -> float:
    """Return the longest time of one training in seconds."""
    try:
        return parse_time(options.time)
    except UserError as error:
        raise UserError(f"--time: {error}") from None


def plan_of(options: ScaleOptions) -> Plan:
    """Return the trainings that ``options`` ask for.

    Raises
    ------
    UserError
        If --ranks is not a list of numbers, or has more ranks than a step has samples.
    """
    ranks = read_ranks(options.ranks)
    d = options.data
    if not d.batch_tokens and not options.weak and max(ranks) > d.batch_size:
        raise UserError(
            f"--ranks has {max(ranks)}, more than the {d.batch_size} samples of a step: ranks without samples say "
            "nothing of scaling (see --batch-size and --weak)"
        )
    if 0 < options.extrapolate <= max(ranks):
        raise UserError(f"--extrapolate is {options.extrapolate}, but must be more than the {max(ranks)} of --ranks")
    return make_plan(
        ranks,
        d.batch_tokens or d.batch_size,
        threads=options.parallel.threads or 1,
        cores=num_cores(),
        weak=options.weak,
        alone=not options.parallel.mesh,
        compare_threads=options.compare_threads,
    )
