"""A student's file, unchanged, on a GPU: its results compared with float64."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..build import folder
from ..kernel import Kernel
from ..launch import launch
from .child import NOTHING, compare
from .run import runs_of
from .source import Entry, Source
from .task import Task


def kernel_of(source: Source, entry: Entry) -> Kernel:
    """Return the kernel to build; of a file that does not say extern "C", a copy that does.

    Without it the name in the built file would have the types of its parameters in it.
    """
    text = source.text
    path = source.path.resolve()
    if not re.search(rf'extern\s+"C"[^;{{]*\b{entry.name}\s*\(', text):
        pattern = rf"(__global__[^;{{]*\b{entry.name}\s*\()"
        path = folder() / "lab" / f"extern-{source.path.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(pattern, r'extern "C" \1', text, count=1), encoding="utf-8")
    return Kernel(str(path), entry.name)


def compare_all(
    device: Any, source: Source, task: Task, entry: Entry, seeds: int
) -> Iterator[tuple[dict[str, int], str]]:
    """Yield the sizes of each launch, and what is wrong with its results ("" if nothing is).

    Parameters
    ----------
    device : CudaDevice or a stand-in
    source, task, entry
        The file, its task and its kernel.
    seeds : int
        Random inputs for each of the sizes.
    """
    kernel = kernel_of(source, entry)
    for run in runs_of(source, task, entry, seeds):
        rng = np.random.default_rng(run["seed"])
        sizes = run["sizes"]
        inputs = {name: rng.standard_normal(task.shape(name, sizes)).astype(np.float32) for name in task.inputs}
        outputs = {name: np.full(task.shape(name, sizes), NOTHING, np.uint32).view(np.float32) for name in task.outputs}
        arrays = {name: device.from_host(array) for name, array in {**inputs, **outputs}.items()}
        numbers = [np.array(sizes[name], np.int32) for name in task.sizes]
        plan = source.plan(sizes, (task.grid, task.block), entry)
        launch(device, kernel, plan, [*arrays.values(), *numbers])
        wrong = compare(task, inputs, {name: device.to_host(arrays[name]) for name in task.outputs})
        index = "".join(f"[{i}]" for i in wrong["first"]) if wrong else ""
        yield sizes, f"{wrong['array']}{index} is {wrong['found']}, not {float(wrong['wanted']):.6g}" if wrong else ""
