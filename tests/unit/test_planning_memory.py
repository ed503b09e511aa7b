"""Memory of plans: against papers, by ranks and stages, with what a schedule holds."""

import dataclasses
import random

import pytest

from mpitrain.planning import PRECISIONS, Model, Product, Strategy, Unit
from mpitrain.planning.memory import kept_elements, rank_memory, zero
from mpitrain.planning.schedules import exact_held, quick_held
from tests.plans import MACHINE, MIXED, estimators, gpt, korthikanti


def some_units(rng, number):
    kinds = [
        Unit(
            "",
            products=(Product(rng.randint(1, 9), rng.randint(8, 64), rng.randint(8, 64), cut="outputs"),),
            traffic=rng.randint(1, 99),
            kept=rng.randint(1, 99),
            kept_cut=rng.randint(1, 99),
            in_turn=rng.randint(1, 99),
            in_turn_cut=rng.randint(1, 9),
            output=rng.randint(1, 99),
            parameters=rng.randint(1, 999),
            parameters_cut=rng.randint(1, 999),
            chunk_bytes=rng.randint(0, 50),
            chunk_limit=100,
            sums=rng.randint(0, 2),
            sums_back=rng.randint(0, 2),
            summed=rng.randint(1, 9),
            turned=rng.randint(0, 9),
            length=rng.choice([0, 64]),
            is_block=rng.random() < 0.5,
        )
        for _ in range(3)
    ]
    return tuple(dataclasses.replace(rng.choice(kinds), name=str(place)) for place in range(number))


def test_zero_stages_of_the_paper():
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters on 64 ranks."""
    stages = [zero(7.5e9, MIXED, 2, stage, 64).all / 1e9 for stage in range(4)]
    assert stages == pytest.approx([120, 31.4, 16.6, 1.88], rel=0.003)


@pytest.mark.parametrize("tensor", [1, 2, 8])
def test_activations_of_the_paper(tensor):
    """Korthikanti et al. 2022, table 2 with sequence parallelism: s b h / t (34 + 5 a s / h) bytes a layer."""
    s, h, a, b = 2048, 12288, 96, 1
    unit = korthikanti(s, h, a)
    assert 2 * b * kept_elements(unit, Strategy(tensor=tensor, sequence=True)) == pytest.approx(
        s * b * h / tensor * (34 + 5 * a * s / h)
    )


def test_activations_outside_of_products_stay_whole_without_sequence_parallelism():
    """The table's line without sequence parallelism: s b h (10 + 24 / t + 5 a s / (h t))."""
    s, h, a, t = 2048, 12288, 96, 8
    unit = korthikanti(s, h, a)
    assert 2 * kept_elements(unit, Strategy(tensor=t)) == pytest.approx(s * h * (10 + 24 / t + 5 * a * s / (h * t)))


def test_first_stage_of_1f1b_holds_as_many_microbatches_as_there_are_ranks():
    """Korthikanti et al. 2022, section 4.2.3: L / p layers of p microbatches are as much as all L layers of one."""
    s, h, a = 2048, 1024, 16
    units = tuple(dataclasses.replace(korthikanti(s, h, a), name=str(i)) for i in range(24))
    quick, exact = estimators(Model("m", units), MACHINE, 64, "mixed")
    for estimator in (quick, exact):
        found = estimator.estimate(Strategy(pipe=4, microbatches=8))
        whole = 24 * s * h * (34 + 5 * a * s / h) * 8  # 64 / 8 samples in a microbatch
        assert found.heaviest == 0
        assert found.memory.activations == pytest.approx(whole)  # samples lie with the loader


@pytest.mark.parametrize("seed", range(30))
def test_memory_of_all_ranks_at_once_is_that_of_each(seed):
    rng = random.Random(seed)
    pipe, chunks = rng.choice([(1, 1), (2, 1), (4, 1), (2, 2), (3, 2)])
    strategy = Strategy(
        data=rng.choice([1, 2, 4]),
        pipe=pipe,
        tensor=rng.choice([1, 2]),
        context=rng.choice([1, 2]),
        schedule="interleaved" if chunks > 1 else rng.choice(["1f1b", "zb_h1"]),
        chunks=chunks,
        microbatches=pipe * rng.choice([1, 2]),
        shard=rng.choice([0, 1, 2, 3]),
        again=rng.choice(["off", "blocks", "stage"]),
        sequence=rng.choice([True, False]),
    )
    units = some_units(rng, 13)
    _, exact = estimators(Model("m", units), MACHINE, 64)
    found = exact.estimate(strategy)
    stops = [*found.starts[1:], len(units)]
    spans = list(zip(found.starts, stops, strict=True))
    held = exact_held(strategy.schedule, chunks, pipe, strategy.microbatches) if pipe > 1 else None
    totals = []
    for rank in range(pipe):
        mine = range(rank, len(spans), pipe)
        totals.append(
            rank_memory(
                [units[slice(*spans[stage])] for stage in mine],
                [units[spans[stage][0] - 1].output if stage else 0.0 for stage in mine],
                strategy,
                found.samples,
                [held.held[stage] if held else 1.0 for stage in mine],
                [held.late[stage] if held else 0.0 for stage in mine],
                PRECISIONS["fp32"],
                2.0,
            ).all
        )
    assert found.memory.all == pytest.approx(max(totals)), f"seed {seed}"
    assert found.heaviest == totals.index(max(totals))


def test_a_shared_table_counts_on_both_ends_of_a_pipeline():
    tied = gpt("tiny", 128)
    quick, _ = estimators(tied, MACHINE, 8, slots=0)
    assert quick.estimate(Strategy()).memory.weights == 4 * tied.parameters
    last = quick.estimate(Strategy(pipe=2, microbatches=2))
    assert last.starts == (0, 6)  # the head is alone
    assert last.memory.weights == 4 * 50257 * 128


@pytest.mark.parametrize(("chunks", "schedule"), [(1, "1f1b"), (1, "gpipe"), (1, "zb_h1"), (2, "interleaved")])
@pytest.mark.parametrize("m", [4, 8, 16])
def test_microbatches_held_by_formula_are_those_of_the_schedule(chunks, schedule, m):
    by_formula, counted = quick_held(schedule, chunks, 4, m), exact_held(schedule, chunks, 4, m)
    for rank in range(4):
        one, other = sum(by_formula.held[rank::4]), sum(counted.held[rank::4])
        assert 0.7 * other <= one <= 1.3 * other  # stages of a rank do not hold the most at the same time
