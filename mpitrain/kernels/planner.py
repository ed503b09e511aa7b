"""Choice of the tile and the number of parts of K: by measurement of this shape, else by a model of waves of blocks.

The table holds for each tile the share of a multiprocessor's peak that it reaches, and for single shapes the best
choice. It is the file in MPITRAIN_KERNEL_TABLE, else the result of ``mpitrain kernel bench`` in the cache of built
kernels, else table.json, which says "measured": false, since its shares are guesses from published results.

    time = waves * (latency + tile * k_split / (rate * share)) + [splits > 1] (launch + 8 partial sums / bandwidth)
           + [tf32 by wgmma] (2 launch + 8 K (M + N) batch / bandwidth)

Blocks that stay for tile after tile (wgmma) pay the latency once; those whose consumers share a tile pay the epilogue
once a wave, those whose consumers take turns once.

A wave is one block on every multiprocessor. Small products need small tiles, to fill the machine; products with a long
K and few tiles (the gradient of a weight over a long batch) need K cut: into equal parts, or by stream-K (stream_k.py),
which has no last wave that is half empty, but more partial sums.
"""

import json
import os
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path

from ..errors import UserError
from ..json_text import to_json
from .build import folder
from .gemm import TILES, Shape, Tile
from .gemm_plan import STREAM, GemmPlan, make_plan, ways_to_cut
from .kernel import arch_number
from .plan import ceil_div

TABLE = Path(__file__).with_name("table.json")
TABLE_VARIABLE = "MPITRAIN_KERNEL_TABLE"
EPILOGUE_AREA = 128 * 256
STREAM_GAIN = 0.98  # stream-K is taken for less than this share of the time: the model is no better than that


@dataclass(frozen=True)
class Table:
    """The measured or guessed speeds that the planner uses.

    Attributes
    ----------
    measured : bool
        Whether the numbers were measured on a GPU; otherwise they are guesses.
    source : str
        The GPU, or the origin of the guesses.
    rates : dict
        Multiply-adds per microsecond of one multiprocessor, by type of the inputs.
    shares : dict
        The share of that rate which a tile reaches, by its name.
    shapes : dict
        (tile name, parts of K or STREAM) by ``shape_key``.
    """

    measured: bool
    source: str
    rates: dict[str, float]
    shares: dict[str, float]
    latency_us: float
    launch_us: float
    bytes_per_us: float
    shapes: dict[str, tuple[str, int]]
    epilogue_us: float = 0.0  # of a wgmma tile of EPILOGUE_AREA elements


def shape_key(shape: Shape, arch: str) -> str:
    """Return the name of a shape in the table; the epilogue does not matter, nor whether outputs are bf16.

    >>> shape_key(Shape(64, 10, 128, transpose_b=True), "sm_90a")
    '90 fp32 NT 64x10x128 1'
    """
    layout = "".join("NT"[t] for t in (shape.transpose_a, shape.transpose_b))
    return f"{arch_number(arch)} {shape.inputs} {layout} {shape.m}x{shape.n}x{shape.k} {shape.batch}"


def measured_path(arch: str) -> Path:
    """Return the path to which ``mpitrain kernel bench`` writes its results."""
    return folder() / f"table-{arch}.json"


def find_table(arch: str) -> Table:
    """Return the table for products on a GPU of ``arch``."""
    named = os.environ.get(TABLE_VARIABLE)
    measured = measured_path(arch)
    return read_table(Path(named) if named else measured if measured.exists() else TABLE)


def write_table(table: Table, path: Path) -> None:
    """Write ``table`` to ``path``, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(to_json(asdict(table), indent=1) + "\n")
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"the table cannot be written to {path}: {error.strerror}") from error


@cache
def read_table(path: Path = TABLE) -> Table:
    """Return the table of ``path``."""
    try:
        text = json.loads(path.read_text())
        shapes = {key: (str(tile), int(splits)) for key, (tile, splits) in text.pop("shapes").items()}
        return Table(shapes=shapes, **text)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no table of kernels ({error}); {TABLE} is one") from None


@lru_cache(maxsize=4096)
def plan(shape: Shape, arch: str, num_processors: int) -> GemmPlan:
    """Return the plan for ``shape`` on a GPU of ``arch``.

    Raises
    ------
    UserError
        If no kernel multiplies these types on that architecture.
    """
    return make_plan(shape, *choose(shape, arch, num_processors, find_table(arch)), num_processors)


def choose(shape: Shape, arch: str, num_processors: int, table: Table) -> tuple[Tile, int]:
    """Return the tile and the number of parts of K, or STREAM."""
    tiles = [tile for tile in TILES if tile.takes(shape, arch)]
    if not tiles:
        raise UserError(f"there is no matrix product of {shape.inputs} for {arch}: take --precision fp32")
    known = table.shapes.get(shape_key(shape, arch))
    for tile in tiles:
        if known is not None and tile.name == known[0]:
            return tile, known[1]
    choices = [(tile, splits) for tile in tiles for splits in ways_to_cut(shape, tile, num_processors)]
    return min(choices, key=lambda choice: _cost(shape, choice, num_processors, table))


def _cost(shape: Shape, choice: tuple[Tile, int], num_processors: int, table: Table) -> float:
    time = microseconds(shape, *choice, num_processors, table)
    return time / STREAM_GAIN if choice[1] == STREAM else time


def share_of(tile: Tile, table: Table) -> float:
    """Return the share of the peak rate; for a tile that is newer than the table, the guess."""
    return table.shares[tile.name] if tile.name in table.shares else read_table().shares[tile.name]


def microseconds(shape: Shape, tile: Tile, splits: int, num_processors: int, table: Table) -> float:
    """Return the time that the model predicts."""
    made = make_plan(shape, tile, splits, num_processors)
    at_once = max(1, num_processors // tile.cluster)
    area = tile.m // tile.cluster * tile.n
    rate = table.rates[shape.inputs] * share_of(tile, table)
    if made.stream is not None:
        whole = ceil_div(made.stream.whole, at_once)
        parts = ceil_div(made.stream.items - made.stream.whole, at_once)
        time = table.latency_us + area * (whole * shape.k + parts * min(made.k_split, shape.k)) / rate
        epilogues = 1 if tile.ping_pong else whole + parts + made.stream.most_pieces - 1
        time += epilogues * table.epilogue_us * area / EPILOGUE_AREA
    else:
        depth = min(made.k_split, shape.k)
        time = ceil_div(made.pieces, at_once) * (table.latency_us + area * depth / rate)
    if made.boxes is not None and shape.inputs == "tf32":  # each factor is rounded first
        factors = shape.k * (shape.m + shape.n) * shape.batch
        time += 2 * table.launch_us + 8 * factors / table.bytes_per_us
    if made.splits > 1:
        time += table.launch_us + 8 * made.num_partials(shape) / table.bytes_per_us
    return time
