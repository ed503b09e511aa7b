"""Convolutions compiled for GPUs: registers suffice, and one turn of a main loop is products, the copies of a tile, and
little to find their places."""

import re
from dataclasses import dataclass

import pytest

from mpitrain.kernels.convolution import KINDS
from mpitrain.kernels.predicted import convolution
from tests.kernels import tools
from tests.kernels.compiled import BOTH, FENCES, GROWTH, check_resources
from tests.kernels.machine_code import build

pytestmark = pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU")
NVCC = ("nvcc",)
NARROW = {"TILE_M": 128, "TILE_N": 64, "WARP_M": 64, "WARP_N": 32, "STAGES": 4}
SMALL = {"TILE_M": 64, "TILE_N": 64, "WARP_M": 32, "WARP_N": 32, "STAGES": 4}


@dataclass(frozen=True)
class Built:
    """A variant; ``turn``: instructions of one turn of the main loop, today's."""

    kind: str
    arch: str
    turn: int
    bf16: int = 1
    tile: tuple[tuple[str, int], ...] = ()
    compilers: tuple[str, ...] = NVCC

    def by(self, compiler):
        macros = {"CONVOLUTION": KINDS.index(self.kind), "INPUT_BF16": self.bf16}
        macros["OUTPUT_BF16"] = int(self.bf16 and self.kind != "dw")
        return build("conv2d_mma.cu", self.arch, macros | dict(self.tile), compiler)


TILES = [
    Built("forward", "80", 192, compilers=BOTH),
    Built("forward", "90a", 204),
    Built("forward", "80", 193, tile=tuple(NARROW.items())),
    Built("forward", "90a", 430, bf16=0, compilers=BOTH),
    Built("dx", "80", 179),
    Built("dx", "90a", 195, compilers=BOTH),
    Built("dx", "90a", 204, tile=tuple(NARROW.items())),
    Built("dw", "80", 264, compilers=BOTH),
    Built("dw", "90a", 273),
    Built("dw", "80", 239, tile=tuple(SMALL.items())),
    Built("dw", "90a", 543, bf16=0),
]
PAIRS = [(each, compiler) for each in TILES for compiler in each.compilers]


@pytest.mark.parametrize(("each", "compiler"), PAIRS, ids=str)
def test_tensor_cores(each, compiler):
    built, tile = each.by(compiler), dict(each.tile)
    check_resources(built.said)
    assert not built.code.count("LDL", "STL"), "local memory"
    assert not any(built.code.counts[name] for name in FENCES)
    turn = built.code.turn("HMMA", "LDGSTS")
    m, n = tile.get("TILE_M", 128), tile.get("TILE_N", 128)
    warp_m, warp_n = tile.get("WARP_M", 64), tile.get("WARP_N", 32)
    threads = m // warp_m * (n // warp_n) * 32
    wanted = {"HMMA": 4 * (warp_m // 16) * (warp_n // 8), "LDGSTS": (m + n) * 8 // threads}
    found = {name: sum(count for full, count in turn.items() if full.startswith(name)) for name in wanted}
    assert found["HMMA"] == wanted["HMMA"]
    assert wanted["LDGSTS"] <= found["LDGSTS"] <= wanted["LDGSTS"] + 1, "one of a loop for the edge"
    assert sum(turn.values()) <= GROWTH * each.turn, turn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bf16", [0, 1])
def test_by_element(kind, bf16):
    macros = {"CONVOLUTION": KINDS.index(kind), "INPUT_BF16": bf16, "ELEMENTWISE": 1, "OUTPUT_BF16": 0}
    built = build("conv2d_mma.cu", "90a", macros | NARROW)
    check_resources(built.said)
    assert not built.code.count("LDL", "STL"), "local memory"


@pytest.mark.parametrize("kind", ["forward", "dw"])
def test_elements_are_all_on_their_way_before_one_is_stored(kind):
    """64 of them, in bf16: else a tile would take a latency of the memory for each 16 bytes."""
    macros = {"CONVOLUTION": KINDS.index(kind), "INPUT_BF16": 1, "ELEMENTWISE": 1}
    code = build("conv2d_mma.cu", "90a", macros | NARROW).code
    assert sum(code.turn("HMMA", "LD").values()) <= GROWTH * convolution.ELEMENTWISE_TURNS[kind]
    moves = "".join(
        "s" if opcode.startswith("STS") else "l" for opcode in code.opcodes if "U16" in opcode or "STS" in opcode
    )
    assert len(re.findall("l{64}s{8}", moves)) == 2, "in the main loop and before it"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arch", ["75", "90a"])
def test_ordinary_cores(kind, arch):
    built = build("conv2d_simt.cu", arch, {"CONVOLUTION": KINDS.index(kind)})
    check_resources(built.said)
    turn = built.code.turn("FFMA", "LDG")
    assert turn["FFMA"] == 512
    assert sum(turn.values()) <= 920, "with 4 elements at places of their own; else some 600"
    assert built.registers <= 168, "three blocks of 128 threads share 64 K registers"


@pytest.mark.parametrize("kernel", ["conv2d_simt.cu", "conv2d_mma.cu"])
def test_moments(kernel):
    check_resources(build(kernel, "80", {"COLUMN_MOMENTS": 1}).said)
