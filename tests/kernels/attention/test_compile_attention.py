"""Kernels of attention compiled for the GPUs they are meant for: registers suffice, and a turn of the main loop has the
products and copies that it is about, without local memory or fences. By nvcc, and by NVRTC, which users have."""

import itertools

import pytest

from mpitrain.kernels.attention import DECODE_HEADS, DKDV, DQ, FORWARD, HEADS, decoding
from tests.kernels import tools
from tests.kernels.compiled import GROWTH, check_resources
from tests.kernels.machine_code import build

pytestmark = [
    pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU"),
    pytest.mark.timeout(600),
]

FAMILIES = {"forward": FORWARD, "dq": DQ, "dkdv": DKDV}
PRODUCTS = {"forward": 2, "dq": 3, "dkdv": 4}
# Instructions of one turn with its products, and of all code, of heads of 64 numbers: the most of both compilers.
INSTRUCTIONS = {
    ("forward", True): (606, 3664),
    ("dq", True): (342, 3056),
    ("dkdv", True): (430, 4568),
    ("forward", False): (584, 3576),
    ("dq", False): (368, 2536),
    ("dkdv", False): (528, 3304),
}
BOTH = ("80", "nvcc"), ("90a", "NVRTC")


@pytest.mark.parametrize(("arch", "compiler"), BOTH)
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_main_loops(name, bf16, arch, compiler):
    family = FAMILIES[name]
    tile = family.tile(64, bf16, False)
    built = build(family.file, arch, tile.macros, compiler)
    check_resources(built.said)
    code, step = built.code, 16 if bf16 else 8
    assert not code.count("LDL", "STL"), "local memory"
    assert not code.count("MEMBAR", "ATOM", "RED."), "fences and atomics"
    of_product = tile.warp_rows // 16 * tile.other * tile.head // (8 * step)
    products = code.turn("HMMA", "HMMA")
    assert code.count("HMMA") == sum(n for full, n in products.items() if full.startswith("HMMA"))
    assert code.count("HMMA") == PRODUCTS[name] * of_product
    copies = 2 * tile.other * tile.head * (2 if bf16 else 4) // 16 // tile.threads + (tile.statistics > 0)
    fetched = code.turn("HMMA", "LDGSTS")
    assert sum(n for full, n in fetched.items() if full.startswith("LDGSTS")) == copies
    assert fetched["BAR.SYNC"] + fetched["BAR.SYNC.DEFER_BLOCKING"] == 1
    most, whole = INSTRUCTIONS[name, bf16]
    assert sum(products.values()) <= GROWTH * most
    assert len(code.instructions) <= GROWTH * whole


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "compiler"), BOTH)
@pytest.mark.parametrize(("head", "bf16", "drops"), [*itertools.product(HEADS, (False, True), (False, True))])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_size_of_heads(name, head, bf16, drops, arch, compiler):
    family = FAMILIES[name]
    check_resources(build(family.file, arch, family.tile(head, bf16, drops).macros, compiler).said)


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "compiler"), [("75", "nvcc"), *BOTH])
@pytest.mark.parametrize(("head", "bf16"), [*itertools.product(DECODE_HEADS, (False, True))])
def test_decoding(head, bf16, arch, compiler):
    """Keys and values come 16 bytes at a time, in bf16 8."""
    built = build("attention_decode.cu", arch, dict(decoding(1, 1, 1, head, bf16, 1).decode.macros), compiler)
    check_resources(built.said)
    wide = {name.removesuffix(".SYS").removesuffix(".CONSTANT") for name in built.code.opcodes}
    assert ("LDG.E.64" if bf16 else "LDG.E.128") in wide
