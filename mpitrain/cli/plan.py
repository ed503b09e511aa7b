"""``mpitrain plan``: recommend a mesh for a model on a machine, and say why."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from ..errors import UserError
from ..json_text import to_json
from .options import parse_options
from .order import LocalJob
from .terminal import make_console

if TYPE_CHECKING:
    from ..layers import Layer
    from ..planning import Machine, Model, Wish
    from ..planning.compute import Measured
    from ..planning.units import Unit

DESCRIPTION = (
    "Recommend a mesh for a model on a machine, with time, memory and reasons, without running it: mpitrain plan "
    "--model gpt:size=gpt2 --ranks 4096 --machine dgx-h100."
)

VOCABULARY = 50257  # of GPT-2
TOKENS = 1024
SAMPLES = 64
IMAGE = "224x224x3"
CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of plan."""

    model: Annotated[str, arg(metavar="MODEL")] = "gpt:size=gpt2"
    """Model as in training: gpt:depth=96,width=12288,heads=96, resnet50, FILE.py:FUNC. It takes no memory."""
    ranks: Annotated[int, arg(aliases=["-n"])] = 0
    """Number of ranks; by default those of a node of the machine, or the cores of this one."""
    machine: Annotated[str, arg(metavar="NAME|FILE.toml")] = ""
    """A machine: archer2, dgx-h100, frontier, fugaku, raspberry, workstation, or a file (see docs/plan.md); by default
    this one, whose speeds are measured."""
    batch_size: int = 0
    """Samples of a step; by default one for each rank, and at least 64."""
    tokens: int = 0
    """Tokens of a sample, for models of tokens; by default 1024."""
    input: Annotated[str, arg(metavar="HxWxC")] = ""
    """Shape of a sample, for other models; by default 224x224x3."""
    outputs: int = 0
    """Classes, or words of the vocabulary; by default 1000, or 50257."""
    dtype: Literal["fp32", "tf32", "bf16", "mixed"] = "fp32"
    """Numbers: as --precision (bf16: activations and a copy of the weights of 16 bits, beside weights and gradients of
    32), or mixed for gradients of 16 bits, too (of other programs)."""
    optimizer: Annotated[str, arg(metavar="OPTIMIZER")] = "adamw"
    """Optimizer, whose state takes memory."""
    mesh: Annotated[str, arg(metavar="AXIS=N,...")] = ""
    """Sizes of some axes, as in tensor=8; the others are chosen."""
    axes: Annotated[tuple[str, ...], arg(metavar="AXIS")] = ("data", "pipe", "tensor", "context", "expert", "space")
    """Axes that may have several ranks."""
    pipeline: Annotated[tuple[str, ...], arg(metavar="SCHEDULE")] = ()
    """Schedules of a pipeline to choose from; by default 1f1b, interleaved:chunks=2, interleaved:chunks=4 and zb_h1."""
    shard: tuple[int, ...] = (0, 1, 2, 3)
    """Stages of ZeRO to choose from."""
    recompute: Annotated[tuple[str, ...], arg(metavar="off|blocks|stage")] = ("off", "blocks", "stage")
    """Recomputation to choose from."""
    accumulate: int = 0
    """Microbatches of a step; 0 chooses them."""
    sequence_parallel: bool = True
    """Divide tokens over axis tensor, too."""
    memory: str = ""
    """Memory of a rank, in place of the machine's: 40GB."""
    json: bool = False
    """Print the plan as JSON."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(PlanOptions, argv, command="plan", description=DESCRIPTION, speaks=speaks)
    for flag, value in (
        ("--ranks", options.ranks),
        ("--batch-size", options.batch_size),
        ("--tokens", options.tokens),
        ("--outputs", options.outputs),
        ("--accumulate", options.accumulate),
    ):
        if value < 0:
            raise UserError(f"{flag} is {value}, but must be at least 1")
    return LocalJob(lambda: plan(options))


def plan(options: PlanOptions) -> int:
    """Print the plan."""
    from ..planning import PRECISIONS, Estimator, search
    from ..planning.changes import find_changes
    from ..planning.estimate import Work
    from ..planning.say import say_page, to_tree

    begin = time.perf_counter()
    machine, model, measured, ranks = _facts(options)
    _check_ranks(machine, ranks)
    batch = options.batch_size or max(SAMPLES, ranks)
    work = Work(batch, PRECISIONS[options.dtype], _slots(options.optimizer))
    machine.speed(work.precision.products)
    quick, exact = (Estimator(model, machine, work, measured, exact=way) for way in (False, True))
    found = search(quick, exact, ranks, wish_of(options, ranks))
    changes = find_changes(quick, exact, found)
    if options.json:
        print(to_json(to_tree(exact, found, changes), indent=1))
    else:
        console = make_console()
        for line in say_page(exact, found, changes, time.perf_counter() - begin):
            console.say(line)
    return 0 if found.best else 1


def _facts(options: PlanOptions) -> tuple["Machine", "Model", "dict[Unit, Measured] | None", int]:
    """Return the machine, the model, measured times of its units (of this machine), and the number of ranks."""
    from ..collectives.price.units import read_bytes
    from ..models.outline import describe
    from ..planning import find_machine

    layer, shape, is_text = build_model(options)
    model = describe(layer, shape, options.model, tokens=is_text)
    measured = None
    if options.machine:
        machine = find_machine(options.machine)
        ranks = options.ranks or machine.ranks_per_node or 1
    else:
        from ..training.mesh.plan_here import count_cores, measure_model, this_machine

        ranks = options.ranks or count_cores()
        machine = this_machine(ranks)
        measured = measure_model(layer, model, shape)
    if options.memory:
        machine = replace(machine, memory=float(read_bytes(options.memory.replace(" ", ""), "--memory", least=1)))
    return machine, model, measured, ranks


def build_model(options: PlanOptions) -> "tuple[Layer, tuple[int, ...], bool]":
    """Return the model without memory, the shape of a sample, and whether samples are rows of tokens."""
    from .. import models

    function, _, _ = models.MODELS.find(options.model)
    shape: tuple[int, ...]
    is_text = bool(models.Codes(1).options(function))
    if is_text:
        if options.input:
            raise UserError(f"--input is for samples of numbers: {options.model} takes --tokens")
        shape, outputs = (options.tokens or TOKENS,), options.outputs or VOCABULARY
        return models.build(options.model, shape, outputs, codes=models.Codes(outputs)), shape, True
    if options.tokens:
        raise UserError(f"--tokens is for models of text: {options.model} takes --input")
    text = options.input or IMAGE
    try:
        shape = tuple(int(part) for part in text.split("x"))
    except ValueError:
        shape = (0,)
    if min(shape) < 1:
        raise UserError(f"--input is a shape, as 224x224x3 or 784, not {text!r}")
    return models.build(options.model, shape, options.outputs or CLASSES), shape, False


def _check_ranks(machine: "Machine", ranks: int) -> None:
    if machine.ranks and ranks > machine.ranks:
        raise UserError(f"{machine.name} has {machine.ranks:,} ranks, and --ranks is {ranks:,}")


def _slots(text: str) -> int:
    from ..arena import Arena
    from ..optim import OPTIMIZERS

    return len(OPTIMIZERS.make(text, Arena([])).slots)


def wish_of(options: PlanOptions, ranks: int) -> "Wish":
    """Return what may be planned."""
    from ..comm.axes import AXES, check_axis
    from ..pipelines import PIPELINES
    from ..planning import Wish
    from ..planning.search import SCHEDULES

    for axis in options.axes:
        check_axis(axis)
    mesh: dict[str, int] = {}
    for part in filter(None, options.mesh.replace(" ", "").split(",")):
        axis, _, size = part.partition("=")
        check_axis(axis)
        if not size.isascii() or not size.isdigit() or not int(size) or ranks % int(size):
            raise UserError(f"--mesh {part}: the size of axis {axis} must divide the {ranks:,} ranks")
        mesh[axis] = int(size)
    for stage in options.shard:
        if stage not in (0, 1, 2, 3):
            raise UserError(f"--shard {stage}: the stages of ZeRO are 0, 1, 2 and 3")
    for way in options.recompute:
        if way not in ("off", "blocks", "stage"):
            raise UserError(f"--recompute is off, blocks or stage, not {way!r}")
    schedules = []
    for text in options.pipeline:
        function, name, given = PIPELINES.find(text)
        chunks = {option.name: option.default for option in PIPELINES.options(function)} | given
        schedules.append((name, int(chunks.get("chunks", 1))))
    return Wish(
        axes=tuple(axis for axis in AXES if axis in {*options.axes, *mesh}),
        schedules=tuple(schedules) or SCHEDULES,
        shards=options.shard,
        agains=options.recompute,  # type: ignore[arg-type]
        microbatches=options.accumulate,
        mesh=mesh,
        sequence=options.sequence_parallel,
    )
