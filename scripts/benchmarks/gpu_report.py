"""Results of scripts/bench gpu as Markdown."""

import math
from collections.abc import Iterable
from pathlib import Path

BEGIN, END = "<!-- ladder: written by scripts/bench gpu -->", "<!-- end of the ladder's table -->"
Row = dict[str, object]


def page(found: dict[str, object]) -> str:
    """Return docs/benchmarks/gpu.md."""
    gpu = found["gpu"]
    parts = [
        f"# {gpu['name']}, against cuBLAS and PyTorch",
        "    scripts/bench gpu",
        f"{gpu['num_processors']} multiprocessors at {gpu['clock_hz'] / 1e9:.2f} GHz at most; a copy in its memory "
        f"moves {gpu['copy_bytes_per_second'] / 1e12:.2f} TB/s. cuBLAS {gpu['cublas']}. One run, contenders in turns, "
        f"medians of {gpu['repeat']} event timings, random numbers (seed {gpu['seed']}), the L2 cache written over "
        "before each. `x cuBLAS` is cuBLAS's time over ours in the same precision: above 1 we are faster.",
    ]
    if found.get("squares"):
        parts += ["## Squares", table(found["squares"])]
    if found.get("training"):
        rows = found["training"]
        means = [(p, mean(r["share"] for r in rows if r["precision"] == p)) for p in precisions(rows)]
        said = ", ".join(f"{p} {value:.3f}" for p, value in means)
        parts += ["## Shapes of training", table(rows), f"Geometric means: {said}."]
    if found.get("layers"):
        parts += ["## Layers, as training calls them", layers(found["layers"])]
    if found.get("memory"):
        parts += ["## Memory-bound layers", memory(found["memory"])]
    if found.get("ladder"):
        parts += ["## The ladder", ladder(found["ladder"])]
    if found.get("steps"):
        parts += ["## Training steps", steps(found["steps"])]
    if found.get("codecs"):
        parts += ["## Codecs of gradients", codecs(found["codecs"])]
    return "\n\n".join(parts) + "\n"


def table(rows: Iterable[Row]) -> str:
    """Return products as a table."""
    head = "| | M N K | kernel | us | cuBLAS us | x cuBLAS | TFLOP/s | of peak |\n|---|---|---|--:|--:|--:|--:|--:|"
    lines = [
        f"| {r['precision']} {r['layout']} {r['name']} | {r['m']} {r['n']} {r['k']} | {r['kernel']} | {numbers(r)} |"
        for r in sorted(rows, key=lambda row: row["precision"], reverse=True)
    ]
    return "\n".join([head, *lines])


def layers(rows: Iterable[Row]) -> str:
    """Return layers as a table."""
    said = (
        "Forward and backward (dx and all gradients); in bf16 with activations and weights in bf16 on both sides. "
        "PyTorch with channels last and cuDNN's benchmark mode; attention by its fused kernel."
    )
    lines = [
        f"| {r['name']} | {r['precision']} | {1e6 * r['ours_s']:.0f} | {microseconds(r['peer_s'])} "
        f"| {ratio(r['peer_s'], r['ours_s'])} |"
        for r in rows
    ]
    return "\n".join(
        [said, "", "| layer | precision | us | PyTorch us | PyTorch's / ours |\n|---|---|--:|--:|--:|", *lines]
    )


def memory(rows: Iterable[Row]) -> str:
    """Return memory-bound layers as a table."""
    said = "Forward and backward. Share: of a large copy's bandwidth, with the bytes that must be moved at least."
    lines = [
        f"| {r['name']} | {r['precision']} | {r['bytes'] / 1e6:,.1f} | {r['us']:.1f} | {r['share']:.1%} |" for r in rows
    ]
    return "\n".join([said, "", "| layer | precision | MB | us | share |\n|---|---|--:|--:|--:|", *lines])


def microseconds(seconds: float) -> str:
    """Return "-" for what was not measured."""
    return f"{1e6 * seconds:.0f}" if seconds else "-"


def ratio(theirs: float, ours: float) -> str:
    """Return theirs / ours, "-" for what was not measured."""
    return f"{theirs / ours:.2f}" if theirs else "-"


def ladder(rows: Iterable[Row]) -> str:
    """Return the ladder as a table."""
    head = "| rung | precision | us | cuBLAS us | x cuBLAS | TFLOP/s | of peak |\n|---|---|--:|--:|--:|--:|--:|"
    return "\n".join([head, *(f"| {r['name']} | {r['precision']} | {numbers(r)} |" for r in rows)])


def numbers(row: Row) -> str:
    wrong = "" if row["difference"] <= 1e-5 else " **wrong**"
    times = f"{1e6 * row['seconds']:.1f} | {1e6 * row['peer_seconds']:.1f} | {row['share']:.3f}{wrong}"
    return f"{times} | {row['tflops']:.1f} | {row['of_peak']:.1%}"


def steps(rows: Iterable[Row]) -> str:
    """Return training steps as a table."""
    head = (
        "| step | ours us | our graph us | PyTorch | us | PyTorch's / ours | PyTorch's / our graph |\n"
        "|---|--:|--:|---|--:|--:|--:|"
    )
    lines = [
        f"| {r['name']} | {r['ours_us']:.0f} | {r['graph_us']:.0f} | {r['peer'] or '-'} "
        f"| {microseconds(r['peer_us'] / 1e6)} | {ratio(r['peer_us'], r['ours_us'])} "
        f"| {ratio(r['peer_us'], r['graph_us'])} |"
        for r in rows
    ]
    said = (
        "Forward, loss, backward and SGD with momentum, fp32 on both sides, on batches that are on the GPU; wall time "
        "of rounds of steps that end with a wait. Ours reads the loss after every step, as the trainer does; our "
        "graph is of forward and backward, PyTorch's of the whole step."
    )
    return "\n".join([said, "", head, *lines])


def codecs(rows: Iterable[Row]) -> str:
    """Return codecs as a table."""
    said = (
        "Encoding adds the error of the step before and keeps the new one, unless it says otherwise; decoding adds. "
        "Speed: the time of a copy of the float32 gradient divided by ours."
    )
    lines = [
        f"| {r['codec']} | {r['what']} | {r['elements']:,} | {r['us']:.1f} | {r['copy_us']:.1f} "
        f"| {ratio(r['copy_us'], r['us'])} |"
        for r in rows
    ]
    return "\n".join([said, "", "| codec | | elements | us | copy us | speed |\n|---|---|--:|--:|--:|--:|", *lines])


def put_ladder(path: Path, found: dict[str, object]) -> None:
    """Write the ladder's table between its marks in docs/kernels.md."""
    text = path.read_text()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    if found.get("ladder"):
        said = f"Measured on {found['gpu']['name']} ([all figures](benchmarks/gpu.md)):\n\n{ladder(found['ladder'])}"
        path.write_text(f"{before}{BEGIN}\n{said}\n{END}{after}")


def precisions(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["precision"] for row in rows))


def mean(values: Iterable[float]) -> float:
    """Return the geometric mean."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))
