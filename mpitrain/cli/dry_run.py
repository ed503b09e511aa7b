"""``mpitrain train --dry-run``: print the layers, memory, steps and messages of a run without starting it."""

from typing import TYPE_CHECKING

from ..plain_text import binary_size, count

if TYPE_CHECKING:
    from ..training.display.console import PlainConsole
    from ..training.outline import Passes
    from ..training.run import TrainingRun


def print_dry_run(console: "PlainConsole", run: "TrainingRun", passes: "Passes") -> None:
    """Print the plan of ``run``; collective over all ranks, printed by rank 0's console."""
    from ..training.outline import memory_of

    sync, steps, settings = run.data_parallel, len(run.loader), run.config.run
    messages = sum(run.world.all_gather(sync.messages_per_step)) // run.world.size
    num_bytes = sum(run.world.all_gather(sync.bytes_per_step)) // run.world.size
    _print_layers(console, run, passes)
    _print_memory(console, memory_of(run, passes), run.world.size)
    console.print()
    length = f"in {count(settings.epochs, 'epoch')}" if not settings.steps else "in all"
    every = run.length.evaluate_every
    evaluations = f"; evaluated every {count(every, 'step')}" if every != steps else ""
    console.say(f"steps: {steps:,} an epoch, {run.length.total_steps:,} {length}{evaluations}")
    sent = f"{binary_size(num_bytes)} in {count(messages, 'message')} a step and rank" if messages else "none"
    console.say(f"messages: {sent}")
    console.say("dry run: nothing was trained or written")


def _print_layers(console: "PlainConsole", run: "TrainingRun", passes: "Passes") -> None:
    from ..training.display.text_table import Column, print_table

    rows = []
    for row in passes.layers:
        number = f"{row.num_parameters:,}" if row.num_parameters else ""
        rows.append((row.name, row.kind, " x ".join(map(str, row.output_shape)), number))
    rows.append(("all", "", "", f"{run.setup.arena.num_parameters:,}"))
    console.print()
    columns = [Column("layer", "word"), Column("kind", "word"), Column("output", "word"), Column("parameters")]
    print_table(console, columns, rows)


def _print_memory(console: "PlainConsole", memory: dict[str, tuple[int, str]], size: int) -> None:
    from ..training.display.text_table import Column, print_table

    rows = [(name, binary_size(num_bytes), remark) for name, (num_bytes, remark) in memory.items()]
    rows.append(
        ("all", binary_size(sum(num_bytes for num_bytes, _ in memory.values())), "and Python with its libraries")
    )
    console.print()
    head = "memory" if size == 1 else "memory of a rank"
    print_table(console, [Column(head, "word"), Column("", "number"), Column("", "text")], rows)
