"""Products compiled for GPUs, by nvcc and by NVRTC, which users have: registers suffice, and main loops and epilogues
have the instructions that they are about, and few others."""

import re
from dataclasses import dataclass, field

import pytest

from mpitrain.kernels.predicted.gemm import KEEP_INSTRUCTIONS
from tests.kernels import cpu, tools
from tests.kernels.compiled import BOTH, FENCES, GROWTH, by_both, check_resources, per_thread
from tests.kernels.machine_code import Built, build, check_registers_are_shared_out
from tests.kernels.products.cases import EPILOGUES, Variant

pytestmark = pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU")

# What the machine code must hold: multiply-adds, tensor cores (and fed by ldmatrix and cp.async), wgmma (and by TMA).
FFMA, FFMA_75 = {"FFMA", "LDS.128", "LDG.E.128"}, {"FFMA", "LDS.U.128", "LDG.E.128"}
TF32 = {"HMMA.1688.F32.TF32", "LDSM.16.M88.4", "LDGSTS.E.BYPASS.128"}
BF16 = {"HMMA.16816.F32.BF16", "LDSM.16.M88.4", "LDGSTS.E.BYPASS.128"}
COPIED = {"UTMALDG.3D", "SYNCS.PHASECHK.TRANS64.TRYWAIT", "UTMASTG.3D", "FENCE.VIEW.ASYNC.S"}
WGMMA = {"HGMMA.64x256x16.F32.BF16", "USETMAXREG.TRY_ALLOC.CTAPOOL", *COPIED}
STAGED, IN_TURNS = {"STSM.16.M88.4"}, {"BAR.ARV"}
WGMMA_TF32 = WGMMA - {"HGMMA.64x256x16.F32.BF16"} | {"HGMMA.64x256x8.F32.TF32"}
WGMMA_128 = WGMMA - {"HGMMA.64x256x16.F32.BF16"} | {"HGMMA.64x128x16.F32.BF16"}
WGMMA_192 = WGMMA - {"HGMMA.64x256x16.F32.BF16"} | {"HGMMA.64x192x16.F32.BF16"}
MULTICAST = {"UTMALDG.3D.MULTICAST"}


@dataclass(frozen=True)
class Product:
    """A variant of a product, and what is expected of its machine code.

    ``instructions`` are all of it, and ``turn`` those of one turn of gemm_mma's main loop. More of them are an epilogue
    that is there twice, or addresses that are computed again and again.
    """

    variant: Variant
    arch: str
    wanted: set[str]
    instructions: int
    turn: int = 0
    tile: dict[str, int] = field(default_factory=dict)
    compilers: tuple[str, ...] = BOTH

    def built_by(self, compiler: str) -> Built:
        return build(f"{self.variant.kernel}.cu", self.arch, self.variant.macros | self.tile, compiler)

    def __str__(self) -> str:
        return f"{self.variant.kernel}-{self.variant}-{self.arch}" + "-tile" * bool(self.tile)


SMALL_SIMT = {"TILE_M": 64, "TILE_N": 64, "TILE_K": 8, "WARP_M": 32, "WARP_N": 32}
SMALL_MMA = {"TILE_M": 64, "TILE_N": 64, "WARP_M": 32, "WARP_N": 32, "STAGES": 4}
WIDE = {"TILE_M": 128, "TILE_N": 256, "STAGES": 4, "BUFFERS": 2, "PING_PONG": 0}
TURNS = {"TILE_M": 128, "TILE_N": 128, "STAGES": 5, "BUFFERS": 4, "PING_PONG": 1}
FLAT = {"TILE_M": 64, "TILE_N": 256, "STAGES": 4, "BUFFERS": 4, "PING_PONG": 1}
BETWEEN = {"TILE_M": 128, "TILE_N": 192, "STAGES": 4, "BUFFERS": 3, "PING_PONG": 0}
NVCC = ("nvcc",)  # alone: what differs from others little
PRODUCTS = [
    Product(Variant("gemm_simt"), "75", FFMA_75, 3344),
    Product(Variant("gemm_simt"), "75", FFMA_75, 1904, tile=SMALL_SIMT, compilers=NVCC),
    Product(Variant("gemm_simt", 0, 1, "gelu_tanh"), "80", FFMA, 5008, compilers=NVCC),
    Product(Variant("gemm_simt", 1, 0, "relu_gradient"), "90a", FFMA, 3976, compilers=NVCC),
    Product(Variant("gemm_simt", 1, 1, "gelu"), "75", FFMA_75, 5352, compilers=NVCC),
    Product(Variant("gemm_mma", 0, 0, "gelu_tanh", "tf32"), "80", TF32, 5136, 362, compilers=NVCC),
    Product(Variant("gemm_mma", 0, 0, "gelu_tanh", "tf32"), "90a", TF32, 5216, 386),
    Product(Variant("gemm_mma", 1, 0, "none", "tf32"), "90a", TF32 - {"LDSM.16.M88.4"} | {"LDS"}, 3512, 433),
    Product(Variant("gemm_mma", 0, 0, "none", "bf16"), "80", BF16, 3200, 147),
    Product(Variant("gemm_mma", 0, 0, "none", "bf16"), "80", BF16, 2048, 120, SMALL_MMA),
    Product(Variant("gemm_mma", 0, 1, "relu", "bf16", "bf16"), "80", BF16, 3552, 134, compilers=NVCC),
    Product(Variant("gemm_mma", 1, 1, "gelu_gradient", "bf16"), "90a", BF16 | {"LDSM.16.MT88.4"}, 6000, 174),
    Product(Variant("gemm_wgmma", 0, 0, "none", "bf16", "bf16"), "90a", WGMMA | STAGED, 4360, tile=WIDE),
    Product(
        Variant("gemm_wgmma", 0, 1, "gelu", "bf16", "bf16", cluster=2),
        "90a",
        WGMMA | STAGED | MULTICAST,
        6560,
        tile=WIDE,
        compilers=NVCC,
    ),
    Product(Variant("gemm_wgmma", 1, 0, "none", "bf16", "fp32", cluster=2), "90a", WGMMA | MULTICAST, 4416, tile=WIDE),
    Product(Variant("gemm_wgmma", 0, 1, "relu", "tf32"), "90a", WGMMA_TF32, 4784, tile=WIDE, compilers=NVCC),
    Product(
        Variant("gemm_wgmma", 0, 0, "none", "bf16", "bf16", cluster=2),
        "90a",
        WGMMA_192 | STAGED | MULTICAST,
        3512,
        tile=BETWEEN,
        compilers=NVCC,
    ),
    Product(
        Variant("gemm_wgmma", 0, 0, "gelu_tanh", "bf16", "bf16"), "90a", WGMMA_128 | STAGED | IN_TURNS, 5864, tile=TURNS
    ),
    Product(
        Variant("gemm_wgmma", 0, 1, "gelu_gradient", "bf16", "bf16", cluster=2),
        "90a",
        WGMMA_128 | STAGED | IN_TURNS | MULTICAST,
        7512,
        tile=TURNS,
        compilers=NVCC,
    ),
    Product(
        Variant("gemm_wgmma", 1, 1, "gelu_tanh_gradient", "bf16", "bf16"),
        "90a",
        WGMMA | STAGED | IN_TURNS,
        6640,
        tile=FLAT,
    ),
]


def each(*kernels: str) -> pytest.MarkDecorator:
    """Give a test the products of these kernels, by each of their compilers."""
    pairs = [(p, compiler) for p in PRODUCTS if p.variant.kernel in kernels for compiler in p.compilers]
    return pytest.mark.parametrize(("product", "compiler"), pairs, ids=str)


@each("gemm_simt", "gemm_mma", "gemm_wgmma")
def test_products(product, compiler):
    built = product.built_by(compiler)
    check_resources(built.said)
    missing = {name for name in product.wanted if not built.code.count(name)}
    assert not missing, built.code.counts
    assert not built.code.count("LDL", "STL"), "local memory"
    assert len(built.code.instructions) <= GROWTH * product.instructions


@each("gemm_simt", "gemm_mma", "gemm_wgmma")
def test_no_lane_stores_32_bytes_in_two_turns(product, compiler):
    """Each of the two would fill sectors of 32 bytes by half."""
    stores = [text for text in product.built_by(compiler).code.instructions if re.search(r"\bSTG\S*\.128", text)]
    places = [re.search(r"\[(R\d+)[^]+]*(?:\+(0x[0-9a-f]+))?\]", text).groups("0x0") for text in stores]
    assert places
    halves = [(register, hex(int(offset, 16) + 16)) for register, offset in places]
    assert not [store for half, store in zip(halves, places[1:]) if half == store], stores


@each("gemm_mma")
def test_a_tile_is_copied_without_a_loop(product, compiler):
    """A thread issues its 8 copies of a tile, A's and B's, one after the other; and little is left to compute."""
    code = product.built_by(compiler).code
    turn = code.turn("HMMA", "LDGSTS")
    warp_m, warp_n = product.tile.get("WARP_M", 64), product.tile.get("WARP_N", 32)
    wanted = {"LDGSTS": 8, "HMMA": 4 * (warp_m // 16) * (warp_n // 8)}
    assert {name: sum(n for full, n in turn.items() if full.startswith(name)) for name in wanted} == wanted
    assert sum(turn.values()) <= GROWTH * product.turn, turn
    assert code.count("HMMA") == wanted["HMMA"]
    assert code.count("LDGSTS") == 2 * (8 + 2), "in the main loop and before it; 2 in loops, for edges"


@each("gemm_wgmma")
def test_a_stage_is_four_products_and_its_boxes(product, compiler):
    """Four for each 64 rows of a consumer; what goes through a buffer is written, and fetched, by the copy engine."""
    code, variant, tile = product.built_by(compiler).code, product.variant, product.tile
    slabs = tile["TILE_M"] // (64 if tile["PING_PONG"] else 128)
    assert code.count("HGMMA") == 4 * slabs
    assert not code.count("HMMA")
    boxes = tile["TILE_M"] // 64 if variant.transpose_a else 1
    boxes += 1 if variant.transpose_b else -(-tile["TILE_N"] // (64 * variant.cluster))
    chunks = slabs * tile["TILE_N"] // (64 if variant.outputs == "bf16" else 32)
    fetched = chunks if variant.epilogue.endswith("_gradient") else 0
    assert code.count("UTMALDG") == boxes + fetched
    assert code.count("UTMASTG") == (2 if variant.epilogue in ("gelu", "gelu_tanh") else 1) * chunks
    assert code.count("STSM") == (0 if variant.outputs == "fp32" else 4 * code.count("UTMASTG"))


# What a warp executes for a tile behind its main loop, activation and bias included: 16 x 256 elements of it.
EPILOGUES_EXECUTED = {("none", "bf16", 0): 570, ("none", "bf16", 1): 560, ("gelu_tanh_gradient", "bf16", 1): 1900}


@each("gemm_wgmma")
def test_an_epilogue_is_short(product, compiler):
    """Instructions that a warp executes for one tile, and in a turn of the main loop (by the uniform unit)."""
    code, variant = product.built_by(compiler).code, product.variant
    step = code.turn("HGMMA", "HGMMA")
    assert sum(step.values()) <= 80, step
    assert per_thread(step) <= 20, "descriptors are computed by the uniform unit"
    most = EPILOGUES_EXECUTED.get((variant.epilogue, variant.outputs, product.tile["PING_PONG"]))
    if most:
        tile = code.turn("HGMMA", ("STSM", "UTMASTG", "LDSM"), around=1)
        assert sum(tile.values()) - sum(step.values()) <= GROWTH * most, tile


@each("gemm_wgmma")
def test_only_clusters_that_meet_have_fences(product, compiler):
    """None in the main loop, where each would wait for the stores of the tile before."""
    code = product.built_by(compiler).code
    meetings = 2 if product.variant.cluster > 1 else 0
    assert [code.counts[name] for name in ("UCGABAR_WAIT", *FENCES)] == [meetings] * 3


@each("gemm_wgmma")
def test_registers_are_shared_out(product, compiler):
    built = product.built_by(compiler)
    assert built.registers == 168, "of 384 threads, as setmaxnreg finds them"
    check_registers_are_shared_out(built.code, 40, 232)


EARLY = {  # sums that are used while products are under way
    "C7517": ("  wgmma_wait(sums);\n", ""),  # the compiler puts a wait in
    "C7514": ("    last = at.stage;", "    last = at.stage + (sums[0][0][0] == 7);"),  # it serializes all products
}


@by_both
@pytest.mark.parametrize("remark", EARLY)
def test_remarks_on_wgmma_are_noticed(compiler, remark):
    macros = {"TILE_N": 128, "STAGES": 4}
    said = build("gemm_wgmma.cu", "90a", macros, compiler, lambda text: text.replace(*EARLY[remark])).said
    with pytest.raises(AssertionError, match=remark):
        check_resources(said)


@by_both
def test_every_width_of_wgmma(compiler):
    """In bf16, in tf32 and with A from registers."""
    text = (cpu.PROBES / "probe_widths.cu").read_text()
    built = build("gemm_wgmma.cu", "90a", {}, compiler, lambda _: text)
    check_resources(built.said)
    for columns in range(8, 257, 8):
        kinds = {f"HGMMA.64x{columns}x16.F32.BF16": 2, f"HGMMA.64x{columns}x8.F32.TF32": 1}
        assert {kind: built.kernels[f"width_{columns}"].count(kind) for kind in kinds} == kinds


@pytest.mark.parametrize("arch", ["75", "90a"])
def test_sum_of_parts(arch):
    macros = {"EPILOGUE": EPILOGUES.index("gelu_gradient"), "OUTPUT_BF16": int(arch != "75")}
    check_resources(build("gemm_sum.cu", arch, macros).said)


@each("gemm_wgmma")
def test_sums_of_parts_are_kept_as_they_are(product, compiler):
    """A store of 16 bytes for 8 columns of a warp's 16 rows, and nothing between them (predicted/gemm.py)."""
    code, tile = product.built_by(compiler).code, product.tile
    groups = tile["TILE_M"] // (64 if tile["PING_PONG"] else 128) * tile["TILE_N"] // 8
    stores = [i for i, text in enumerate(code.instructions) if re.search(r"\bSTG\S*\.128", text)]
    most = max(sum(first <= at < first + groups * KEEP_INSTRUCTIONS // 32 for at in stores) for first in stores)
    assert most == groups


@by_both
@pytest.mark.parametrize("outputs", [0, 1])
def test_sum_of_stream_k(compiler, outputs):
    """8 loads of 16 bytes under way in each lane, and 48 registers, so that a multiprocessor holds five blocks."""
    built = build("gemm_sum_stream.cu", "90a", {"OUTPUT_BF16": outputs}, compiler)
    check_resources(built.said)
    turn = built.code.turn("LDG", "LDG")
    assert turn["LDG.E.128"] == 8
    assert sum(turn.values()) <= 8 + 32 + 9, turn
    assert [*map(int, re.findall(r"Used (\d+) registers", built.said))] <= [48]
