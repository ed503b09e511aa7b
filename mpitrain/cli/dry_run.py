"""``mpitrain train --dry-run``: print the layers, memory, steps and messages of a run without starting it."""

from typing import TYPE_CHECKING

from ..collectives.price.units import say_seconds
from ..plain_text import binary_size, count

if TYPE_CHECKING:
    from ..training.display.console import PlainConsole
    from ..training.mesh.pipeline import PipelineSetup
    from ..training.outline import Passes
    from ..training.run import TrainingRun


def print_dry_run(console: "PlainConsole", run: "TrainingRun") -> None:
    """Print the steps and messages of ``run``; collective over all ranks, printed by rank 0's console."""
    from ..training.report import mean_over_ranks

    sync, steps, settings = run.data_parallel, len(run.loader), run.config.run
    messages = mean_over_ranks(run.world, sync.messages_per_step)
    num_bytes = int(mean_over_ranks(run.world, sync.bytes_per_step))
    console.print()
    length = f"in {count(settings.epochs, 'epoch')}" if not settings.steps else "in all"
    every = run.length.evaluate_every
    evaluations = f"; evaluated every {count(every, 'step')}" if every != steps else ""
    console.say(f"steps: {steps:,} an epoch, {run.length.total_steps:,} {length}{evaluations}")
    sent = f"{binary_size(num_bytes)} in {count(messages, 'message')} a step and rank" if messages else "none"
    console.say(f"messages: {sent}{'' if run.setup.roles is None else ' for gradients'}")
    console.say("dry run: nothing was trained or written")


def print_layers(console: "PlainConsole", run: "TrainingRun", passes: "Passes") -> None:
    """Print a table of the layers."""
    from ..training.display.text_table import Column, print_table

    rows = []
    for row in passes.layers:
        number = f"{row.num_parameters:,}" if row.num_parameters else ""
        rows.append((row.name, row.kind, " x ".join(map(str, row.output_shape)), number))
    rows.append(("all", "", "", f"{run.setup.num_parameters:,}"))
    if run.setup.num_trained != run.setup.num_parameters:
        rows.append(("trained", "", "", f"{run.setup.num_trained:,}"))
    console.print()
    columns = [Column("layer", "word"), Column("kind", "word"), Column("output", "word"), Column("parameters")]
    print_table(console, columns, rows)


def print_stages(console: "PlainConsole", pipeline: "PipelineSetup") -> None:
    """Print tables of the units of a model, with the stages that they are in, and of the stages."""
    from ..training.display.text_table import Column, print_table

    cut, times = pipeline.cut, [Column(name) for name in ("forward", "dx", "dw")]
    stages = range(len(cut.starts))
    stage_of = [stage for stage in stages for _ in range(cut.starts[stage], cut.stops[stage])]
    rows: list[tuple[str, ...]] = []
    for number, (unit, cost, stage) in enumerate(zip(pipeline.units, pipeline.costs, stage_of, strict=True)):
        seconds = [say_seconds(part) if part else "" for part in (cost.forward, cost.dx, cost.dw)]
        shape, parameters = (
            " x ".join(map(str, cost.output_shape)),
            f"{cost.num_parameters:,}" if cost.num_parameters else "",
        )
        rows.append((str(number), unit.name, unit.layer.kind, shape, parameters, *seconds, str(stage)))
    console.print()
    columns = [
        Column("unit"),
        Column("layer", "word"),
        Column("kind", "word"),
        Column("output", "word"),
        Column("parameters"),
    ]
    print_table(console, [*columns, *times, Column("stage")], rows)
    rows = []
    for stage in stages:
        seconds = [say_seconds(part[stage]) for part in (cut.forward, cut.dx, cut.dw)]
        memory = binary_size(cut.num_bytes[stage])
        rows.append(
            (str(stage), str(cut.ranks[stage]), cut.span(stage), f"{cut.parameters[stage]:,}", *seconds, memory)
        )
    console.print()
    columns = [Column("stage"), Column("place"), Column("layers", "word"), Column("parameters")]
    print_table(console, [*columns, *times, Column("memory")], rows)
    console.say(
        "times are those of a microbatch; place is the rank's on axis pipe; memory holds weights, gradients, the "
        "optimizer's state and activations"
    )


def print_memory(console: "PlainConsole", run: "TrainingRun", passes: "Passes") -> None:
    """Print a table of the memory of a rank."""
    from ..training.display.text_table import Column, print_table
    from ..training.outline import memory_of

    memory, size = memory_of(run, passes), run.world.size
    rows = [(name, binary_size(num_bytes), remark) for name, (num_bytes, remark) in memory.items()]
    rows.append(
        ("all", binary_size(sum(num_bytes for num_bytes, _ in memory.values())), "and Python with its libraries")
    )
    console.print()
    head = "memory" if size == 1 else "memory of a rank"
    print_table(console, [Column(head, "word"), Column("", "number"), Column("", "text")], rows)
