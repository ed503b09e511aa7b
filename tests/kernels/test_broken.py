"""Kernels broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import pytest

from tests.kernels import cpu, gemm, ladder
from tests.kernels.gemm import Case, Variant

pytestmark = cpu.needs_gxx

SIMT, TF32, TF32_TN = Variant("gemm_simt"), Variant("gemm_mma", inputs="tf32"), Variant("gemm_mma", 1, 0, inputs="tf32")
BF16 = Variant("gemm_mma", inputs="bf16")
WAIT, BARRIER, FETCH = "    copy_wait<STAGES - 2>();", "    __syncthreads();", "    fetch(tile + STAGES - 1);"

PRODUCTS = {
    "no barrier between tiles": (SIMT, "    }\n    __syncthreads();\n  }", "    }\n  }"),
    "no barrier before the first tile": (SIMT, "  __syncthreads();\n  for (int k0", "  for (int k0"),
    "one tile where there should be two": (SIMT, "tiles[now ^ 1]", "tiles[now]"),
    "edge rows not cut off": (SIMT, "i * APART < outer ? inner : 0", "inner"),
    "pieces swapped": (SIMT, "a[i].at[r] * b[j].at[c]", "a[i].at[c] * b[j].at[r]"),
    "no wait for the copies": (TF32, WAIT, ""),
    "a wait one group short": (TF32, "copy_wait<STAGES - 2>", "copy_wait<STAGES - 1>"),
    "no barrier after the wait": (TF32, BARRIER, ""),
    "a stage filled before the barrier": (TF32, f"{BARRIER} ", f"{FETCH}\n{BARRIER}\n    if (false) // "),
    "a stage filled too early": (TF32, FETCH, FETCH.replace(" - 1", "")),
    "a stage too few": (TF32, "stages + tile % STAGES * STAGE_BYTES", "stages + tile % (STAGES - 1) * STAGE_BYTES"),
    "groups not counted at the end": (TF32, "    }\n    copy_commit();", "    copy_commit();\n    }"),
    "fragments of A swapped": (TF32, "mma_m16n8k8_tf32(sums[i][j], a[i],", "mma_m16n8k8_tf32(sums[i][j], a[i ^ 1],"),
    "fragments of B swapped": (BF16, "b[j / 2][j % 2], b[j / 2][j % 2 + 2]", "b[j / 2][j % 2 + 2], b[j / 2][j % 2]"),
    "the matrices of ldmatrix in another order": (BF16, "upper = lane / 8 % 2", "upper = 1 - lane / 8 % 2"),
    "swizzled on one side only": (TF32, "tile + offset(first + 8 * upper + lane % 8, k / CHUNK + second)",
                                  "tile + ((first + 8 * upper + lane % 8) * ROW_CHUNKS + k / CHUNK + second) * 16"),
    "elements of a column in another order": (TF32_TN, "k + i / 2 * 4 + lane % 4", "k + i % 2 * 4 + lane % 4"),
    "not rounded to tf32": (TF32, "r[i] = to_tf32(r[i])", "r[i] = r[i]"),
}  # fmt: skip

RUNGS = {
    "no barrier before reading": ("gemm_03_shared", "    __syncthreads();\n    for", "    for"),
    "no barrier before overwriting": ("gemm_05_2d_tile", "    }\n    __syncthreads();\n  }", "    }\n  }"),
    "a row too far": ("gemm_07_warp_tile", "r / 4 * STEP_M + r % 4", "r / 4 * STEP_M + r % 4 + 1"),
}


@pytest.mark.parametrize("mistake", PRODUCTS)
def test_broken_product_is_found(mistake):
    variant, right, wrong = PRODUCTS[mistake]
    broken = cpu.build(f"{variant.kernel}.cu", lambda text: text.replace(right, wrong), **variant.macros)
    case = Case(150, 140, 300, pad=4, seed=1)
    try:
        error = gemm.run(broken, variant, case)
    except (cpu.Launch, AssertionError):  # refused by the shim, or written outside the matrix
        return
    assert not error < 1e-6


@pytest.mark.parametrize("mistake", RUNGS)
def test_broken_rung_is_found(mistake):
    name, right, wrong = RUNGS[mistake]
    broken = cpu.build(f"ladder/{name}.cu", lambda text: text.replace(right, wrong))
    assert not ladder.run(broken, name, 140, 130, 50, seed=1) < 1e-6
