"""The tasks of the lab, which are known by a word in the kernel's name, and those of a teacher's file.

A file of a student so needs nothing that nvcc would not read.
"""

import re
from dataclasses import replace
from pathlib import Path

from ...errors import UserError
from ...user_file import load_file
from .source import Entry, Source
from .task import Goal, Task

LOADS, TURNS, SECTORS = (
    "loads for each multiply-add",
    "times the turns that are needed",
    "times the sectors that are needed",
)
COALESCED = Goal("global sectors", 1.0, "no uncoalesced access to global memory", SECTORS)
NO_CONFLICTS = Goal("shared transactions", 1.0, "no bank conflicts", TURNS)
PRODUCT = Task(
    name="product",
    words=("product", "gemm", "matmul", "matrixmul"),
    formula="out = a b; a (m, k), b (k, n), out (m, n)",
    inputs={"a": ("m", "k"), "b": ("k", "n")},
    outputs={"out": ("m", "n")},
    sizes=("m", "n", "k"),
    reference=lambda a, b: a @ b,
    cases=((33, 17, 5), (32, 32, 32), (1, 1, 1), (3, 50, 1), (65, 31, 70), (128, 36, 8)),
    counted=(128, 128, 64),
    grid="(ceil(n / 16), ceil(m / 16))",
    block="(16, 16)",
    work=lambda m, n, k: m * n * k,
    unit="multiply-add",
    goals={
        "tiled": (
            Goal("global loads", 1 / 8, "one load from global memory serves at least 8 multiply-adds", LOADS),
            COALESCED,
            NO_CONFLICTS,
        ),
        "register": (
            Goal("global loads", 1 / 16, "one load from global memory serves at least 16 multiply-adds", LOADS),
            Goal("shared loads", 1 / 2, "one load from shared memory serves at least 2 multiply-adds", LOADS),
            Goal("shared transactions", 2.0, "no access to shared memory takes more than twice its turns", TURNS),
        ),
    },
)
TASKS = {
    task.name: task
    for task in (
        Task(
            name="add",
            words=("add",),
            formula="out[i] = a[i] + b[i]; a, b, out (n,)",
            inputs={"a": ("n",), "b": ("n",)},
            outputs={"out": ("n",)},
            sizes=("n",),
            reference=lambda a, b: a + b,
            cases=((1000,), (32,), (256,), (1,), (1025,)),
            counted=(4096,),
            grid="ceil(n / 256)",
            block="256",
            work=lambda n: n,
            unit="addition",
            goals={"add": (COALESCED,)},
        ),
        Task(
            name="row_sum",
            words=("sum",),
            formula="out[r] = sum of x[r]; x (rows, cols), out (rows,)",
            inputs={"x": ("rows", "cols")},
            outputs={"out": ("rows",)},
            sizes=("rows", "cols"),
            reference=lambda x: x.sum(axis=1),
            cases=((3, 70), (2, 256), (5, 1000), (1, 1), (4, 257)),
            counted=(64, 1024),
            grid="rows",
            block="256",
            work=lambda rows, cols: rows * cols,
            unit="addition",
            goals={"sum": (COALESCED, NO_CONFLICTS)},
        ),
        Task(
            name="transpose",
            words=("transpose",),
            formula="out[c][r] = x[r][c]; x (rows, cols), out (cols, rows)",
            inputs={"x": ("rows", "cols")},
            outputs={"out": ("cols", "rows")},
            sizes=("rows", "cols"),
            reference=lambda x: x.T,
            cases=((33, 17), (32, 32), (5, 100), (1, 1), (64, 64), (70, 129)),
            counted=(128, 128),
            grid="(ceil(cols / 32), ceil(rows / 32))",
            block="(32, 32)",
            goals={"transpose": (COALESCED, NO_CONFLICTS)},
        ),
        PRODUCT,
    )
}


def named_task(name: str) -> Task:
    """Return a task by its name, or by FILE.py:NAME where it is a ``Task`` of a file.

    Raises
    ------
    UserError
        If there is none.
    """
    path, _, attribute = name.rpartition(":")
    if not path:
        if name not in TASKS:
            raise UserError(
                f"there is no task {name}; there are {', '.join(TASKS)}, and FILE.py:NAME for one of your own"
            )
        return TASKS[name]
    task = getattr(load_file(Path(path)), attribute, None)
    if not isinstance(task, Task):
        raise UserError(f"{path} has no Task called {attribute}: from mpitrain.kernels.lab.task import Task")
    return replace(task, file=name)


def find_task(source: Source, kernel: str = "", task: str = "") -> tuple[Task, Entry]:
    """Return the task of a file, and the kernel that does it; ``kernel`` and ``task`` name them, where not empty.

    Raises
    ------
    UserError
        If no kernel, or more than one, has a name of a task, or its parameters are others.
    """
    entries = [entry for entry in source.entries if entry.name == kernel or not kernel]
    if not entries:
        there = ", ".join(entry.name for entry in source.entries)
        raise UserError(f"{source.path} has no kernel {kernel}; it has {there}")
    if task:
        found = [(named_task(task), entry) for entry in entries]
    else:
        found = [(t, entry) for entry in entries for t in tasks_named_by(entry.name)]
    if not found:
        words = ", ".join(f"{task.words[0]!r} ({task.formula})" for task in TASKS.values())
        raise UserError(
            f"{source.path}: the lab knows a kernel's task by its name, and {entries[0].name} (line {entries[0].line}) "
            f"tells none; a name has one of these words: {words}"
        )
    names = list(dict.fromkeys(entry.name for _, entry in found))
    if len(names) > 1:
        raise UserError(f"{source.path} has more than one kernel for the lab: {', '.join(names)}; say --kernel NAME")
    if len(found) > 1:
        tasks = ", ".join(t.name for t, _ in found)
        raise UserError(f"{source.path}: {names[0]} tells more than one task: {tasks}; say --task NAME")
    _check_parameters(source, *found[0])
    return found[0]


def tasks_named_by(name: str) -> list[Task]:
    """Return the tasks that the name of a kernel tells: by a word of it, else by letters within one.

    >>> [task.name for name in ("transpose_padded", "vectorAdd", "rowsums") for task in tasks_named_by(name)]
    ['transpose', 'add', 'row_sum']
    """
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    letters = name.lower().replace("_", "")
    told = [task for task in TASKS.values() if not words.isdisjoint(task.words)]
    return told or [task for task in TASKS.values() if any(word in letters for word in task.words)]


def _check_parameters(source: Source, task: Task, entry: Entry) -> None:
    kinds = {**dict.fromkeys(task.inputs, "const float*"), **dict.fromkeys(task.outputs, "float*")}
    kinds |= dict.fromkeys(task.sizes, "int")
    if [_plain(kind) for kind, _ in entry.parameters] != [_plain(kind) for kind in kinds.values()]:
        signature = ", ".join(f"{kind} {name}" for name, kind in kinds.items())
        raise UserError(f"{source.path}, line {entry.line}: {entry} must be {entry.name}({signature})")


def goals_of(task: Task, entry: Entry) -> tuple[Goal, ...]:
    """Return the goals of the exercise whose kernel has this name; none for another kernel."""
    return next((goals for word, goals in task.goals.items() if word in entry.name.lower()), ())


def _plain(kind: str) -> str:
    """Return a type without what makes no difference for a launch."""
    return " ".join(kind.replace("const", " ").split()).replace(" *", "*")
