"""Attention on Hopper, compiled: registers suffice, no wgmma is serialized, and main loops have what they should.

By both compilers, nvcc and the one that users have, NVRTC.
"""

from typing import NamedTuple

import pytest

from mpitrain.kernels.attention_wgmma import HEADS
from tests.kernels import tools
from tests.kernels.compiled import BOTH, FENCES, GROWTH, check_resources
from tests.kernels.machine_code import MachineCode, build, check_registers_are_shared_out

pytestmark = pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU")

NAMES = FORWARD, DKV, DQ = "attention_wgmma", "attention_wgmma_dkv", "attention_wgmma_dq"
EACH = [  # the sizes that most models have, by the compiler that users have; all others too where time does not count
    pytest.param(size, compiler, marks=() if size in (64, 128) and compiler == "NVRTC" else pytest.mark.slow)
    for size in HEADS
    for compiler in BOTH
]
each = pytest.mark.parametrize(("size", "compiler"), EACH)


class Turn(NamedTuple):
    """One turn of a main loop: scores (``columns`` of 64 rows), and what is executed for heads of 64 and 128."""

    columns: int  # of a tile of the others
    score_products: int  # of rows with rows: s, and dp
    sum_products: int  # weighted by p, or ds
    instructions: dict[int, int]


TURNS = {
    FORWARD: Turn(128, 1, 1, {64: 449, 128: 500}),
    DKV: Turn(64, 2, 2, {64: 284, 128: 314}),
    DQ: Turn(128, 2, 1, {64: 410, 128: 425}),
}


def code_of(name: str, size: int, compiler: str) -> MachineCode:
    return build(f"{name}.cu", "90a", {"HEAD_SIZE": size}, compiler).code


@each
@pytest.mark.parametrize("name", NAMES)
def test_registers_suffice(name, size, compiler):
    """And 168 (or with three consumers 128) of each thread are what setmaxnreg shares out."""
    built = build(f"{name}.cu", "90a", {"HEAD_SIZE": size}, compiler)
    check_resources(built.said)
    assert built.registers == (128 if size <= 64 and name == FORWARD else 168)
    assert not built.code.count("LDL", "STL"), "local memory"


@each
@pytest.mark.parametrize("name", NAMES)
def test_main_loop(name, size, compiler):
    """Its products, an exponential and half a rounding for each score and factor, no fences, and little besides."""
    code, turn = code_of(name, size, compiler), TURNS[name]
    counts = code.turn("HGMMA", "HGMMA")
    scores = turn.columns * 64 // 128  # of a thread
    wanted = {
        "HGMMA": turn.score_products * size // 16 + turn.sum_products * turn.columns // 16,
        "F2FP.BF16.F32.PACK_AB": turn.sum_products * scores // 2,
        "MUFU.EX2": scores + (2 if name == FORWARD else 0),
        "SYNCS.PHASECHK": 2,
        "WARPGROUP.DEPBAR": 2 if name == FORWARD else 3,
    }
    found = {kind: sum(n for full, n in counts.items() if full.startswith(kind)) for kind in wanted}
    assert found == wanted
    assert not [opcode for opcode in counts if opcode.startswith((*FENCES, "LDL", "STL", "IDIV", "I2F"))]
    limit = turn.instructions.get(size)
    assert limit is None or counts.total() <= GROWTH * limit, counts


@each
@pytest.mark.parametrize("name", NAMES)
def test_no_fences_and_copies_of_four_dims(name, size, compiler):
    code = code_of(name, size, compiler)
    assert [code.counts[fence] for fence in FENCES] == [0, 0]
    arrays = 3 if name == FORWARD else 4
    assert code.count("UTMALDG.4D") == arrays * -(-size // 64)
    assert code.count("HGMMA") % 4 in (0, 2)
    assert not code.count("HMMA")


@each
@pytest.mark.parametrize("name", NAMES)
def test_registers_are_shared_out(name, size, compiler):
    consumers = 3 if name == FORWARD and size <= 64 else 2
    shares = (32, 160) if consumers == 3 else (24, 240)
    check_registers_are_shared_out(code_of(name, size, compiler), *shares, consumers)
