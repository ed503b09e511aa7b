"""``mpitrain kernel bench``: our products compared with cuBLAS on this GPU, and the planner's table."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...json_text import to_json
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console

if TYPE_CHECKING:
    from ...kernels import Kernel
    from ...kernels.bench.cases import Products
    from ...kernels.bench.contenders import Contenders
    from ...kernels.bench.runs import Row
    from ...kernels.bench.stopwatch import Stopwatch
    from ...kernels.convolution import Convolution
    from ...kernels.gemm import Shape
    from ...kernels.planner import Table

    Prepare = Callable[[Iterable[Kernel], str], None]  # builds kernels for an architecture

DESCRIPTION = (
    "Time the matrix products on this machine's GPU against cuBLAS; write the planner's table, also of convolutions."
)
PARTS = ("table", "squares", "training", "ladder")


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Options of bench."""

    parts: tuple[str, ...] = PARTS
    """Measurements: table (the planner's), squares, training (shapes of GPT-2, mlp, resnet20), ladder."""
    repeat: int = 30
    """Runs of each contender, of which the median counts."""
    size: int = 4096
    """Size of the ladder's square, and of the squares by which tiles are rated."""
    seed: int = 0
    """Seed of the random matrices."""
    table: Path | None = None
    """File for the planner's table; the cache of built kernels, where runs find it, if none is named."""
    json: Path | None = None
    """File for all rows, written anew with each."""
    seconds: float | None = None
    """Time after which no further measurement begins."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(BenchOptions, argv, command="kernel bench", description=DESCRIPTION, speaks=speaks)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        raise UserError(f"--parts {unknown[0]} is no part; there are {', '.join(PARTS)}")
    if options.repeat < 1 or options.size < 1:
        raise UserError("--repeat and --size must be at least 1")
    if options.seconds is not None and not options.seconds > 0:
        raise UserError("--seconds must be above 0")
    return LocalJob(lambda: bench(options))


def bench(options: BenchOptions) -> int:
    """Open the GPU and cuBLAS, and measure; the exit code is 1 where a result is wrong."""
    from ...device import open_cublas, open_gpu
    from ...kernels.bench.stopwatch import FLUSH_BYTES
    from .build import build_and_warn

    device = open_gpu("the kernels cannot be measured")
    return measure(options, device, open_cublas(), FLUSH_BYTES, build_and_warn)


def measure(
    options: BenchOptions,
    device: Any,
    peer: Any,
    flush_bytes: int,
    prepare: "Prepare",
    products: "Products | None" = None,
    convolutions: "Sequence[Convolution] | None" = None,
) -> int:
    """Measure on ``device`` against ``peer``; print the results, and write each row when it is there."""
    from ...kernels.bench.cases import ALL
    from ...kernels.bench.contenders import Contenders
    from ...kernels.bench.runs import Runs, as_dicts
    from ...kernels.bench.stopwatch import Stopwatch
    from ...kernels.planner import find_table, measured_path, write_table

    begin, products = time.monotonic(), products or ALL
    contenders, stopwatch = Contenders(device, peer, options.seed), Stopwatch(device, flush_bytes)
    rate = stopwatch.copy_rate(options.repeat)
    print(f"{device.name}, {device.arch}, {device.num_processors} multiprocessors; copies {rate / 1e12:.2f} TB/s")
    print(f"cuBLAS {peer.version}; medians of {options.repeat}, random numbers, seed {options.seed}, L2 flushed")
    facts = {name: getattr(device, name) for name in ("name", "arch", "num_processors", "clock_hz")}
    facts |= {"copy_bytes_per_second": rate, "cublas": peer.version, "repeat": options.repeat, "seed": options.seed}
    rows: dict[str, list[Row]] = {}

    def write() -> None:
        if options.json:
            parts = {part: as_dicts(found) for part, found in rows.items()}
            fresh = options.json.with_suffix(".new")
            fresh.write_text(to_json({"gpu": facts, **parts}, indent=1) + "\n")
            fresh.replace(options.json)

    def over() -> bool:
        return options.seconds is not None and time.monotonic() - begin > options.seconds

    write()
    bench = device, contenders, stopwatch
    table = find_table(device.arch)
    if "table" in options.parts:
        table = _tune(options, bench, over, prepare, products.shapes(), convolutions)
        path = options.table or measured_path(device.arch)
        write_table(table, path)
        print(f"\nthe planner's table is in {path}")
    runs = Runs(*bench, options.repeat, _say, over)
    measurements: dict[str, Callable[[], Iterable[Row]]] = {
        "training": lambda: runs.training(table, products.layers, products.squares),
        "squares": lambda: runs.squares(table, products.squares),
        "ladder": lambda: runs.ladder(options.size),
    }
    for part, measured in measurements.items():
        if part in options.parts:
            rows[part] = []
            for row in measured():
                rows[part].append(row)
                write()
            show(part, rows[part])
    if over():
        print(f"the {options.seconds:g} s are over: what is not in the tables was not measured")
    return 0 if all(row.right for found in rows.values() for row in found) else 1


def show(part: str, rows: "Sequence[Row]") -> None:
    """Print one part, with the geometric mean of each precision where it has many shapes."""
    from ...kernels.bench.runs import geometric_mean
    from ...training.display.text_table import Column, print_table

    console = make_console()
    numbers = [Column(head) for head in ("M N K", "us", "cuBLAS us", "x cuBLAS", "TFLOP/s", "of peak")]
    lines = []
    for row in sorted(rows, key=lambda row: row.precision, reverse=True):  # each precision from small to large
        what, sizes = f"{row.precision} {row.layout} {row.name} ({row.kernel})", f"{row.m} {row.n} {row.k}"
        times = f"{1e6 * row.seconds:.1f}", f"{1e6 * row.peer_seconds:.1f}", f"{row.share:.3f}", f"{row.tflops:.1f}"
        lines.append((what, sizes, *times, f"{row.of_peak:.1%}", "" if row.right else "WRONG"))
    console.print()
    print_table(console, [Column(part, "name"), *numbers, Column("", "word")], lines)
    for precision in dict.fromkeys(row.precision for row in rows) if part == "training" else ():
        mean = geometric_mean(row for row in rows if row.precision == precision)
        print(f"{precision}: {mean:.3f}x cuBLAS, geometric mean")


def _tune(
    options: BenchOptions,
    bench: "tuple[Any, Contenders, Stopwatch]",
    over: Callable[[], bool],
    prepare: "Prepare",
    shapes: "list[Shape]",
    convolutions: "Sequence[Convolution] | None",
) -> "Table":
    from ...kernels.bench.tune import Tuner
    from ...kernels.bench.tune_convolutions import ConvolutionTuner, resnet50
    from ...kernels.gemm import TILES
    from ...kernels.planner import read_table

    arch = bench[0].arch
    convolutions = resnet50(arch) if convolutions is None else convolutions
    wanted = {tile.built_for(s) for s in shapes for tile in TILES if tile.takes(s, arch)}
    _say(f"building {len(wanted)} kernels")
    prepare(wanted, arch)
    repeat = max(3, options.repeat // 3)
    table = Tuner(*bench, repeat, _say, over).table(shapes, read_table(), options.size)
    tuner = ConvolutionTuner(*bench, repeat, _say, over)
    prepare(tuner.kernels(convolutions), arch)
    return replace(table, shapes={**table.shapes, **tuner.shapes(convolutions)})


def _say(text: str) -> None:
    print(f"  {text} ...", flush=True)
