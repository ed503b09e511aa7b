"""Tables of scripts/bench pipeline."""

from collections.abc import Sequence
from typing import Any

from mpitrain.cli.terminal import make_console
from mpitrain.training.display.text_table import Column, print_table

Row = dict[str, Any]
NUMBERS_OF_A_STEP = (
    ("tasks ms", "tasks_ms"),
    ("predicted", "predicted_ms"),
    ("with messages", "with_messages_ms"),
    ("from the tasks' own times", "predicted_from_tasks_ms"),
)
SHARES = ("waiting", "sending", "receiving", "polling", "copying")


def show(name: str, found: dict[str, Any]) -> None:
    """Print the tables of a part, and the load of the machine before and after."""
    if name == "overhead":
        show_overhead(found["rows"])
    elif name == "sleep":
        show_sleep(found["rows"])
    else:
        show_steps(found["steps"])
        show_predictions([row for row in found["steps"] if "tasks_ms" in row])
        show_messages(found["messages"])
        print(found["cut"])
    print("load of the machine before and after:", ", ".join(f"{load:.2f}" for load in found["load"]), flush=True)


def show_overhead(rows: Sequence[Row]) -> None:
    columns = [Column("schedule", "word"), *map(Column, ("ranks", "tasks of a rank", "us a task", "without waiting"))]
    lines = [
        (row["schedule"], str(row["ranks"]), str(row["tasks"]), f"{row['us']:.1f}", f"{row['us_without_waiting']:.1f}")
        for row in rows
    ]
    print_table(make_console(), columns, lines, title="Tasks without work (1 rank: the tasks of 4)")


def show_sleep(rows: Sequence[Row]) -> None:
    heads = ("step ms", "predicted", "ratio", "bubble %", "predicted", "of it dependency", "imbalance", "message")
    columns = [Column("schedule", "word"), *map(Column, heads)]
    lines = []
    for row in rows:
        step = (f"{1e3 * row['step']:.1f}", f"{1e3 * row['predicted_step']:.1f}", f"{row['step_ratio']:.3f}")
        keys = ("bubble", "predicted_bubble", "dependency", "imbalance", "message")
        lines.append((row["schedule"], *step, *(f"{100 * row[key]:.1f}" for key in keys)))
    title = f"Work that sleeps, {rows[0]['ranks']} ranks, {rows[0]['microbatches']} microbatches"
    print_table(make_console(), columns, lines, title=title)


def show_steps(rows: Sequence[Row]) -> None:
    """Print the time of each contender, and ours of each schedule against PyTorch's of it."""
    columns = [Column("network", "word"), Column("schedule", "word"), *map(Column, ("ours ms", "PyTorch ms", "ratio"))]
    lines, peers = [], {(row["network"], row["what"]): row for row in rows if row["side"] != "ours"}
    for row in (row for row in rows if row["side"] == "ours"):
        cells, other = ("", "", ""), peers.get((row["network"], row["what"]))
        if other is not None:
            cells = (f"{other['ms']:.1f}", f"{row['ms'] / other['ms']:.2f}", other["side"])
        lines.append((row["network"], row["what"], f"{row['ms']:.1f}", *cells))
    columns.append(Column("PyTorch's best memory format", "text"))
    print_table(make_console(), columns, lines, title="Steps on 2 ranks, one thread each (below 1 we are faster)")


def show_predictions(rows: Sequence[Row]) -> None:
    heads = [*(head for head, _ in NUMBERS_OF_A_STEP), "bubble %", "predicted", "a message us"]
    columns = [Column("network", "word"), Column("schedule", "word"), *map(Column, heads)]
    lines = []
    for row in rows:
        times = (f"{row[key]:.1f}" for _, key in NUMBERS_OF_A_STEP)
        bubbles = (f"{100 * row[key]:.1f}" for key in ("bubble", "predicted_bubble"))
        lines.append((row["network"], row["what"], *times, *bubbles, f"{1e3 * row['message_ms']:.0f}"))
    print_table(make_console(), columns, lines, title="Tasks of a step beside the prediction from the cut")


def show_messages(rows: Sequence[Row]) -> None:
    columns = [Column("network", "word"), Column("schedule", "word"), *map(Column, ("ms", *SHARES))]
    lines = [
        (row["network"], row["schedule"], f"{row['ms']:.1f}", *(f"{100 * row[key]:.2f}" for key in SHARES))
        for row in rows
    ]
    print_table(
        make_console(), columns, lines, title=f"Percent of the passes of a step, mean of ranks, {rows[0]['mpi']}"
    )
