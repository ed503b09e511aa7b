"""Kernels of attention broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import functools

import numpy as np
import pytest

from tests.kernels import cpu
from tests.kernels.attention.cases import Case, backward, decode, forward

pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]

TF32, BF16 = 0, 1
MMA, DQ, DKDV = "attention_mma.cu", "attention_mma_dq.cu", "attention_mma_dkdv.cu"
BARRIER = "    __syncthreads();          //"
CAUSAL = Case(1, 2, 150, 300, 32, causal=True, spread=2.0)
GROUP = Case(2, 4, 70, 90, 32, group=2, causal=True)
PACKED = Case(1, 1, 100, 100, 32, segments=((37, 30, 33),))
LENGTHS = Case(2, 1, 20, 200, 32, lengths=(60, 150))
DROPPED = Case(1, 2, 40, 75, 32, group=2, dropout=0.4, query=20, key=21, after=9, counters=True)

MISTAKES = {
    "y not rescaled": (MMA, TF32, CAUSAL, "*= rescale;", "*= 1;"),
    "the sum not rescaled": (MMA, BF16, CAUSAL, "rows.sum[row] * rescale", "rows.sum[row]"),
    "the largest of two lanes": (MMA, BF16, CAUSAL, "__shfl_xor_sync(~0u, largest, 2)", "largest"),
    "no barrier": (MMA, BF16, CAUSAL, BARRIER, "    //"),
    "no wait": (MMA, BF16, CAUSAL, "    copy_wait<DEPTH - 2>();   //", "    //"),
    "no barrier before the first tile": (MMA, BF16, CAUSAL, "  __syncthreads();  // the queries", "  // the queries"),
    "a stage filled while it is read": (MMA, TF32, CAUSAL, "fetch(tile + DEPTH - 1);", "fetch(tile + DEPTH);"),
    "the next key seen": (MMA, TF32, CAUSAL, "own + 1);", "own + 2);"),
    "a tile too many without a look": (MMA, TF32, CAUSAL, "first + count <= seen[0].end;", "true;"),
    "a tile that some see left out": (MMA, TF32, CAUSAL,
                                      "first >= seen[ROWS - 1].end ||", "first >= seen[0].end ||"),
    "the keys of another head": (MMA, TF32, GROUP,
                                 "head / attention.group", "head % (attention.heads / attention.group)"),
    "fragments of B swapped": (MMA, BF16, CAUSAL, "{b[0], b[1]}", "{b[1], b[0]}"),
    "columns of B swapped": (MMA, BF16, CAUSAL, "second[2] = {b[2], b[3]}", "second[2] = {b[0], b[3]}"),
    "k counted in two orders": (MMA, TF32, CAUSAL, "{s[0], s[2], s[1], s[3]}", "{s[0], s[1], s[2], s[3]}"),
    "neighbors swapped": (MMA, BF16, CAUSAL, "(half[i % 2 * 2], half[i % 2 * 2 + 1])",
                          "(half[i % 2 * 2 + 1], half[i % 2 * 2])"),
    "rows of columns swapped": (MMA, TF32, CAUSAL, "i % 2 * PITCH + i / 2 * 32", "i / 2 * PITCH + i % 2 * 32"),
    "not rounded to tf32": (MMA, TF32, CAUSAL, "chunk.at[e] = to_tf32(chunk.at[e])", "chunk.at[e] &= 0xFFFF0000u"),
    "a segment that has no end": (MMA, TF32, PACKED, "row[own] + 1));\n  }\n  return seen;\n}\n\n// The queries",
                                  "row[own] + 4));\n  }\n  return seen;\n}\n\n// The queries"),
    "a segment that begins late": (MMA, TF32, PACKED, "numbers[middle] < number", "numbers[middle] <= number"),
    "lengths not looked at": (MMA, TF32, LENGTHS,
                              "left < attention.keys ? int(left) : attention.keys", "attention.keys"),
    "the logarithm of the largest": (MMA, TF32, CAUSAL, "* attention.scale + logf(sum)", "* attention.scale"),
    "the mask of one tick": (MMA, TF32, DROPPED, "first_tick + number % TICKS)", "first_tick)"),
    "the mask of one row": (MMA, BF16, DROPPED, "row_of(2 * i) + 8 * (number / TICKS)", "row_of(2 * i)"),
    "the mask of keys from 0": (MMA, TF32, DROPPED, "DROPS ? attention.key % TICK : 0", "0"),
    "the mask of the next columns": (MMA, TF32, DROPPED, "kept >> (e / 2 * 8 + e % 2)", "kept >> (e % 2 * 8 + e / 2)"),
    "kept values not scaled": (MMA, TF32, DROPPED, "scale_of_kept(attention.dropout) : 1) / sum", "1.f : 1) / sum"),
    "stale delta": (DQ, TF32, CAUSAL, "delta[i] = attention.delta[query]", "delta[i] = attention.delta[statistics]"),
    "no delta": (DQ, TF32, CAUSAL, "(dp - delta[of])", "dp"),
    "dq without its scale": (DQ, BF16, CAUSAL, "dq[i][j][e] *= attention.scale", "dq[i][j][e] *= 1"),
    "dq, no barrier": (DQ, TF32, CAUSAL, BARRIER, "    //"),
    "dq, another statistic": (DQ, TF32, CAUSAL, "const int of = 2 * i + e / 2", "const int of = 2 * i + e % 2"),
    "dq, dp not scaled": (DQ, TF32, DROPPED, "ds[i][j][e] * kept_scale", "ds[i][j][e]"),
    "dkdv, no barrier": (DKDV, TF32, CAUSAL, "    __syncthreads();             //", "    //"),
    "dkdv, no wait": (DKDV, TF32, CAUSAL, "    copy_wait<STAGES - 2>();     //", "    //"),
    "dkdv, one head of the group": (DKDV, TF32, GROUP, "next_head * attention.of_q.head", "0"),
    "dkdv, statistics of one head": (DKDV, TF32, GROUP, "first_head + next_head)", "first_head)"),
    "dkdv, the second head begins late": (DKDV, TF32, GROUP, "head++, first = tiles.first;", "head++;"),
    "dkdv, delta of the logarithm": (DKDV, TF32, CAUSAL, "logs, logs + TILE_Q, scale", "logs, logs, scale"),
    "dkdv, queries before those that see": (DKDV, TF32, CAUSAL, "attention.causal ? max(0, own) : 0", "0"),
    "dkdv, queries of the first key": (DKDV, TF32, PACKED, "queries_of_key(attention, sample, last_present).end",
                                       "queries_of_key(attention, sample, max(first_key, 0)).end"),
    "dkdv, keys behind the end": (DKDV, TF32, LENGTHS, "if (key >= keys_in_row(attention, sample))", "if (false)"),
    "dkdv, weights without their mask": (DKDV, TF32, DROPPED, "score = weight * factor;", "score = weight;"),
    "dkdv, slopes without their mask": (DKDV, TF32, DROPPED, "slope * factor - delta", "slope - delta"),
    "dkdv, keys off the ticks": (DKDV, TF32, DROPPED, "place.first() - shift", "place.first()"),
    "dkdv, the mask of one head": (DKDV, TF32, DROPPED, "head * attention.dropout.matrix_apart + first", "first"),
    "dkdv, the mask of other queries": (DKDV, BF16, DROPPED,
                                        "(8 * j + 2 * (lane % 4) + e) % 32", "(8 * j + lane % 4) % 32"),
}  # fmt: skip

DECODED = Case(2, 4, 2, 300, 64, group=2, causal=True, lengths=(300, 210), spread=2.0)
DECODING = {
    "y not rescaled": ("mine[i].y[j] *= rescale;", ";"),
    "the sum not rescaled": ("mine[i].sum *= rescale;", ""),
    "lanes not added up": ("score = stream_sum(score);", ""),
    "keys behind the last one": ("key < end && key >= seen[i].begin && key < seen[i].end", "true"),
    "the keys that all rows see": ("max(range.end, seen[i].end)", "min(range.end, seen[i].end)"),
    "no barrier": ("  __syncthreads();\n  for (int at", "  for (int at"),
    "streams not weighted": ("sum += weight * sums[j][i]", "sum += sums[j][i]"),
    "parts that overlap": ("min(range.end, (part + 1) * keys_of_part)", "range.end"),
    "parts not weighted": ("- most) * of_row", "- most + 1 * part) * of_row"),
    "numbers of another piece": ("(j / PIECE * LANES + lane_of_stream())", "(j / PIECE + lane_of_stream() * PIECES)"),
    "the query of another head": ("place.head) + place.query", "place.head) + 0 * place.query"),
}


def builder(file, right, wrong):
    """Return what builds kernels, with a mistake in one of them."""

    def build(name, **macros):
        return cpu.build(name, (lambda text: text.replace(right, wrong)) if name == file else None, **macros)

    return build


def found(job, *names, tolerance=1.0):
    try:
        with np.errstate(all="ignore"):
            job().check(*names, tolerance=tolerance)
    except (cpu.Launch, AssertionError):
        return True
    return False


@pytest.mark.parametrize("mistake", MISTAKES)
def test_broken_attention_is_found(mistake):
    file, bf16, case, right, wrong = MISTAKES[mistake]
    build = builder(file, right, wrong)

    def job():
        inputs = forward(build, case, bf16, seed=1)
        if file != MMA:
            backward(build, inputs, seed=1)
        return inputs

    assert found(job, *({MMA: ("y", "log_sum_exp"), DQ: ("dq",), DKDV: ("dk", "dv")}[file]))


@pytest.mark.parametrize("mistake", DECODING)
def test_broken_decoding_is_found(mistake):
    build = builder("attention_decode.cu", *DECODING[mistake])
    assert found(functools.partial(decode, build, DECODED, 0, 1, 8), "y", "log_sum_exp", tolerance=1e-2)


@pytest.mark.parametrize("case", [CAUSAL, GROUP, PACKED, LENGTHS, DROPPED])
@pytest.mark.parametrize("bf16", [TF32, BF16])
def test_the_kernels_pass_as_they_are(case, bf16):
    inputs = forward(cpu.build, case, bf16, seed=1)
    backward(cpu.build, inputs, seed=1)
    inputs.check("y", "log_sum_exp", "dq", "dk", "dv")


def test_decoding_passes_as_it_is():
    decode(cpu.build, DECODED, 0, 1, 8).check("y", "log_sum_exp", tolerance=1e-2)
