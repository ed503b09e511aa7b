"""Attention on Hopper, broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import functools

import pytest

from mpitrain.kernels import attention_wgmma as tiles
from tests.kernels import cpu
from tests.kernels.attention import hopper
from tests.kernels.attention.cases import Case

pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]

SMALL = Case(1, 2, 330, 400, causal=True, lengths=(390,), spread=2)
WIDE = Case(1, 4, 200, 400, size=128, group=2)
ABOVE = Case(1, 1, 300, 70, causal=True)
EMPTY = Case(1, 1, 70, 140, lengths=(0,))
LONG = Case(1, 1, 700, 900, causal=True)
DEEP = Case(1, 2, 130, 1000, size=128)
SHORT = Case(1, 3, 900, 100)
APART = Case(1, 1, 700, 700, size=128, segments=((64, 636),))  # one consumer passes over what the other needs

TURN_AND_PASS = "    turn.wait();\n    turn.pass();\n"
SCORES_DONE = "    wgmma_wait<1>();\n    keep_sums(scores);\n"
FORWARD = {
    "queries fetched too early": (SHORT, "    rings.q.wait_empty();\n", ""),
    "tiles passed over that are not there": (APART, "    wait();\n    advance();\n    release_last();",
                                             "    advance();\n    release_last();"),
    "keys not awaited": (DEEP, "    rings.k.wait();\n", ""),
    "values not awaited": (DEEP, "    rings.v.wait();\n", ""),
    "the last values not awaited": (DEEP, "  rings.v.wait();\n  add_rows", "  add_rows"),
    "queries not awaited": (SMALL, "    rings.q.wait();\n", ""),
    "filled before it is empty": (SMALL, "{ barrier_wait(&empty[stage], phase ^ 1); }", "{}"),
    "waits for the wrong phase": (SMALL, "&empty[stage], phase ^ 1", "&empty[stage], phase"),
    "the phase never turns": (SMALL, "      phase ^= 1;\n", ""),
    "expects a part of the bytes": (SMALL, "barrier_expect(&full[stage], BYTES)", "barrier_expect(&full[stage], 128)"),
    "no fence after the init": (SMALL, "    barrier_init_fence();\n", ""),
    "no barrier after the init": (SMALL, "  __syncthreads();\n", ""),
    "tiles passed over are not given back": (SMALL, "    advance();\n    release_last();", "    advance();"),
    "a turn too few": (SMALL, TURN_AND_PASS, ""),
    "no first turn": (SMALL, "if (consumer == CONSUMERS - 1) pass();", ""),
    "keys given back before they are read": (SMALL, SCORES_DONE, "    keep_sums(scores);\n"),
    "sums scaled before they are there": (SMALL, "    wgmma_wait(sums);\n    rings", "    rings"),
    "no fence before wgmma": (SMALL, "  wgmma_fence(d);\n", ""),
    "probabilities replaced while they are read": (SMALL, "    wgmma_wait(sums);\n    rings",
                                                   "    to_factor(scores, p);\n    wgmma_wait(sums);\n    rings"),
    "products not scaled": (SMALL, "sums[j][i] *= shrink[i / 2];", ""),
    "products scaled as another row": (SMALL, "shrink[i / 2];", "shrink[i % 2];"),
    "exponentials not scaled": (SMALL, "sum[half] * shrink[half] + more", "sum[half] + more"),
    "largest of two lanes": (SMALL, "      now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));\n", ""),
    "sums of two lanes": (SMALL, "      sum[half] += __shfl_xor_sync(~0u, sum[half], 1);\n", ""),
    "a query that sees nothing": (ABOVE, "now == -infinity() ? 0 : now", "now"),
    "divided by nothing": (EMPTY, "sum == 0 ? 0 : 1 / sum", "1 / sum"),
    "a key too few": (SMALL, "own + 1);", "own);"),
    "a key too many": (SMALL, "own + 1);", "own + 2);"),
    "bounds of some rows only": (SMALL, "column + 8 * GROUPS <= all.end", "column + 8 * GROUPS <= any.end"),
    "bounds of the row above": (SMALL, "own[i / 2].end) d[j][i] = hidden", "own[0].end) d[j][i] = hidden"),
    "columns of another lane": (SMALL, "column + threadIdx.x % 4 * 2", "column"),
    "keys beyond the last count": (EMPTY._replace(lengths=None), "column + 8 * GROUPS <= all.end", "true"),
    "values turned": (SMALL, "wgmma<false>(d, p[i]", "wgmma<true>(d, p[i]"),
    "steps of values too short": (SMALL, "wgmma_advance(factor, i * STEP * ROW_BYTES)",
                                  "wgmma_advance(factor, i * 8 * ROW_BYTES)"),
    "the second box of values elsewhere": (WIDE, "(b, STEPS * STEP * ROW_BYTES)", "(b, STEP * ROW_BYTES)"),
    "the second box of queries elsewhere": (WIDE, "box * A_ROWS * ROW_BYTES", "box * 8 * ROW_BYTES"),
    "the first numbers of a head only": (WIDE, "&map, i * BOX, token", "&map, 0, token"),
    "the head of queries": (WIDE, "work.head / attention.group", "work.head"),
    "all consumers the same rows": (SMALL, "rings.q.tile() + row * ROW_BYTES", "rings.q.tile()"),
    "pairs of the same": (SMALL, "d[j][2 * half + 1] * factors[half]", "d[j][2 * half] * factors[half]"),
    "fragments swapped": (SMALL, "d[2 * i + j / 2][j % 2 * 2]", "d[2 * i + j % 2][j / 2 * 2]"),
    "words trade too little": (SMALL, "bit < N; bit *= 2", "bit < 2; bit *= 2"),
    "a row too few written": (SMALL, "words, j, row < count", "words, j, row + 1 < count"),
    "the last tile again": (SMALL, "tiles(attention) - 1 - tile", "tiles(attention) - 1"),
}  # fmt: skip

BEHIND = "    wgmma_wait<1>();  // the products of the tile before\n"
BACKWARD = {
    "natural logarithms": ("kv", SMALL, "natural * LOG2_E", "natural"),
    "numbers of another stage": ("kv", SMALL, "numbers + other.stage * STATISTICS * OTHER_ROWS", "numbers"),
    "numbers not counted": ("kv", SMALL, "STATISTICS ? 1 + 32 : 1", "1"),
    "lanes that do not arrive": ("kv", SMALL, "        barrier_arrive(&rings.other.full[rings.other.stage], 0);\n", ""),
    "deltas of the wrong head": ("kv", WIDE, "statistics_of(attention, work.sample, head)",
                                 "statistics_of(attention, work.sample, work.head)"),
    "one head of a group": ("kv", WIDE, "work.head * attention.group; head", "work.head * 0; head"),
    "no delta": ("kv", SMALL, "ds[j][i] - two.at[i % 2]", "ds[j][i]"),
    "deltas of rows": ("kv", SMALL, "ds[j][i] - two.at[i % 2]", "ds[j][i] - two.at[i / 2]"),
    "released before it is read": ("kv", SMALL, BEHIND, ""),
    "the last not waited for": ("kv", SMALL, "  wgmma_wait(dk);\n", ""),
    "scores used before they are there": ("kv", SMALL, "    wgmma_wait<1>();\n    keep_sums(p);\n", ""),
    "slopes used before they are there": ("kv", SMALL, "    wgmma_wait<1>();\n    keep_sums(ds);\n", ""),
    "gradients not awaited": ("kv", SMALL, "    rings.other_too.wait();\n", ""),
    "own rows not awaited": ("kv", SMALL, "    rings.own.wait();\n    rings.own_too.wait();\n", ""),
    "dk of probabilities": ("kv", SMALL, "add_rows(dk, ds_factor,", "add_rows(dk, p_factor,"),
    "dv of the wrong tile": ("kv", SMALL, "dv, p_factor, rings.other_too", "dv, p_factor, rings.other"),
    "dk without scale": ("kv", SMALL, "dk, {attention.scale, attention.scale}", "dk, {1, 1}"),
    "dv with scale": ("kv", SMALL, "dv, {1, 1}", "dv, {attention.scale, attention.scale}"),
    "a query too few": ("kv", SMALL, "attention.causal ? max(0, own)", "attention.causal ? max(0, own + 1)"),
    "bounds of another tile": ("kv", SMALL, "hide(p, block * QUERY_ROWS", "hide(p, (block - 1) * QUERY_ROWS"),
    "boxes of the other tile": ("kv", WIDE, "box * B_ROWS * ROW_BYTES", "box * A_ROWS * ROW_BYTES"),
    "tiles filled too early": ("kv", LONG, "        rings.other.wait_empty();\n", ""),
    "dq: natural logarithms": ("q", SMALL, "natural * LOG2_E", "natural"),
    "dq: no delta": ("q", SMALL, "ds[j][i] - deltas[i / 2]", "ds[j][i]"),
    "dq: rows swapped": ("q", SMALL, "- logarithms[i / 2]", "- logarithms[i % 2]"),
    "dq: slopes used before they are there": ("q", SMALL, "    wgmma_wait(ds);\n", ""),
    "dq: values not awaited": ("q", SMALL, "    rings.other_too.wait();\n", ""),
    "dq: of values": ("q", SMALL, "dq, ds_factor, rings.other.tile()", "dq, ds_factor, rings.other_too.tile()"),
    "dq: without scale": ("q", SMALL, "dq, {attention.scale, attention.scale}", "dq, {1, 1}"),
    "dq: a key too many": ("q", SMALL, "own + 1);", "own + 2);"),
    "dq: the head of queries": ("q", WIDE, "work.head / attention.group", "work.head"),
}  # fmt: skip


def replaced(right: str, wrong: str):
    def edit(text: str) -> str:
        return text.replace(right, wrong)

    return edit


def broken_forward(case, right, wrong):
    return tiles.forward(case.size), replaced(right, wrong), hopper.forward, {}


def broken_backward(kernels, case, right, wrong):
    tile = (tiles.backward_keys if kernels == "kv" else tiles.backward_queries)(case.size)
    return tile, replaced(right, wrong), hopper.backward, {"kernels": kernels}


@pytest.fixture(scope="module", autouse=True)
def built_two_at_a_time():
    made = [broken_forward(*each) for each in FORWARD.values()] + [broken_backward(*each) for each in BACKWARD.values()]
    cpu.build_ahead([functools.partial(cpu.build, tile.file, edit, HEAD_SIZE=tile.size) for tile, edit, *_ in made])


def check(case, edit, run, how):
    """Run with several orders of threads and copies; one of them has to show the mistake."""
    for seed in range(4):
        try:
            inputs = run(case, seed, edit, **how)
            if run is hopper.forward:
                hopper.check_forward(inputs)
            else:
                inputs.check(*(("dk", "dv") if how["kernels"] == "kv" else ("dq",)), tolerance=hopper.CLOSE)
        except (cpu.Launch, AssertionError):  # refused by the shim, or wrong
            return
    pytest.fail("the mistake was not found")


@pytest.mark.parametrize("case", [SMALL, WIDE, ABOVE, EMPTY, LONG, DEEP, SHORT, APART])
def test_what_is_broken_was_right(case):
    hopper.check_forward(hopper.forward(case))
    hopper.backward(case).check("dq", "dk", "dv", tolerance=hopper.CLOSE)


@pytest.mark.parametrize("mistake", FORWARD)
def test_broken_forward_is_found(mistake):
    case, right, wrong = FORWARD[mistake]
    check(case, *broken_forward(case, right, wrong)[1:])


@pytest.mark.parametrize("mistake", BACKWARD)
def test_broken_backward_is_found(mistake):
    kernels, case, right, wrong = BACKWARD[mistake]
    check(case, *broken_backward(kernels, case, right, wrong)[1:])
