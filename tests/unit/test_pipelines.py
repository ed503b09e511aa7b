"""Pipeline schedules: formulas of bubble and memory, exactly; all of them correct for any P and M; examples."""

import doctest
import importlib
import pkgutil
import random
import re
import time
from fractions import Fraction
from pathlib import Path

import pytest

import mpitrain.pipelines
from mpitrain.errors import UserError
from mpitrain.pipelines import PIPELINES, Task, check, check_for, find, make_program, simulate
from mpitrain.pipelines.draw import draw_svg
from mpitrain.pipelines.price import predict
from mpitrain.pipelines.schedules.greedy import most_held

VARIANTS = ["interleaved:chunks=1", "interleaved:chunks=3", "breadth_first:chunks=3", "greedy:memory=0.5",
            "greedy:memory=0.01", "greedy:memory=2"]  # fmt: skip
CASES = [(size, m) for size in range(1, 13) for m in range(1, 25)]


def laps(size, m, chunks):
    """Return the time of all laps of a looped schedule, in units of F + B of a stage."""
    return (chunks - 1) * max(m, size) + m + size - 1


def longest_group(size, m):
    groups = max(1, m // size)
    return max((g + 1) * m // groups - g * m // groups for g in range(groups))


FORMULAS = {
    # step in units of F of a P-th of the model (dx and dw as long); microbatches held by rank r
    "gpipe": (lambda p, m: 3 * (m + p - 1), lambda r, p, m: m),
    "1f1b": (lambda p, m: 3 * (m + p - 1), lambda r, p, m: min(m, p - r)),
    "interleaved": (
        lambda p, m: Fraction(3 * laps(p, m, 2), 2),
        lambda r, p, m: Fraction(min(2 * m, longest_group(p, m) + 2 * (p - 1 - r) + 1), 2),
    ),
    "interleaved:chunks=4": (
        lambda p, m: Fraction(3 * laps(p, m, 4), 4),
        lambda r, p, m: Fraction(min(4 * m, 3 * longest_group(p, m) + 2 * (p - 1 - r) + 1), 4),
    ),
    "breadth_first": (lambda p, m: Fraction(3 * laps(p, m, 2), 2), lambda r, p, m: m),
    "zb_h1": (lambda p, m: 3 * m + p - 1 + max(0, p - m), lambda r, p, m: min(m, p)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name):
    """All 288 cases of P <= 12 and M <= 24, exactly: times in whole numbers, F of a stage being one unit."""
    step, live = FORMULAS[name]
    pipeline = find(name)
    for size, m in CASES:
        program = make_program(pipeline, size, m)
        whole = {"F": 1, "B": 1 if program.is_split else 2, "W": 1}
        found = simulate(program, [[whole[task.kind] for task in own] for own in program.tasks])
        unit = Fraction(size, program.num_stages)  # of F of a P-th of the model
        assert found.total * unit == step(size, m), (size, m)
        assert [Fraction(peak * size, program.num_stages) for peak in found.peaks] == [
            live(rank, size, m) for rank in range(size)
        ], (size, m)
        assert all(busy * unit == 3 * m for busy in found.busy)
        # the promises say the same as the formulas here
        assert pipeline.bubble(size, m) == pytest.approx(float(1 - 3 * m / step(size, m)), abs=1e-12)
        assert [pipeline.live(rank, size, m) for rank in range(size)] == pytest.approx(found.live)


def test_formulas_of_the_papers():
    """The forms in which the papers have them, for M >= P."""
    for size, m in CASES:
        if m < size or (m % size and size > 1):
            continue
        for chunks in (1, 2, 3):
            bubble = find(f"interleaved:chunks={chunks}").bubble(size, m)
            assert bubble == pytest.approx((size - 1) / (chunks * m + size - 1), abs=1e-12)
            held = find(f"interleaved:chunks={chunks}").live(0, size, m)
            assert held == pytest.approx(min(m, size * (1 + (size - 1) / (size * chunks))), abs=1e-12)
        assert find("zb_h1").bubble(size, m) == pytest.approx((size - 1) / (3 * m + size - 1), abs=1e-12)


@pytest.mark.parametrize("name", [*PIPELINES, *VARIANTS])
def test_every_schedule_is_correct_for_any_number_of_ranks_and_microbatches(name):
    small = name in VARIANTS
    found = check(find(name), range(1, 10 if small else 18), range(1, 14 if small else 21))
    assert len(found) == (9 * 13 if small else 17 * 20)
    assert all(one.num_stages % one.size == 0 for one in found)


def test_greedy_keeps_to_its_memory_and_comes_near_the_least_bubble():
    for size in range(1, 9):
        for memory in (0.25, 0.5, 0.75, 1.0, 1.5):
            found = check_for(find(f"greedy:memory={memory}"), size, 16)
            assert max(found.live) <= max(1, memory * size)
        found = check_for(find("greedy"), size, 16)
        least = (size - 1) / (6 * 16 + size - 1)
        assert least - 1e-12 <= found.bubble <= least + 0.04
        assert found.bubble < check_for(find("zb_h1"), size, 16).bubble or size == 1
    assert check_for(find("greedy"), 4, 8).bubble == pytest.approx(3 / 51)  # 5.9%, the least
    assert most_held(4, 0.1) == 2


@pytest.mark.no_cover
def test_a_large_program_is_checked_in_time():
    """256 stages and 1024 microbatches, in CPU seconds: about 2 are usual, 10 are allowed."""
    begin = time.process_time()
    found = check_for(find("1f1b"), 256, 1024)
    assert time.process_time() - begin < 10
    assert found.num_tasks == 2 * 256 * 1024
    assert found.live == [float(256 - rank) for rank in range(256)]


def run_naively(program, durations, link):
    """Return begins by relaxation: sweep over all ranks until no task moves any more."""
    begins = [[0.0] * len(own) for own in program.tasks]
    while True:
        ended, arrived, free = {}, {}, {}
        for rank, own in enumerate(program.tasks):
            for task, begin, cost in zip(own, begins[rank], durations[rank]):
                stage = {"F": task.stage + 1, "B": task.stage - 1}.get(task.kind, -1)
                receiver = program.rank_of[stage] if 0 <= stage < program.num_stages else rank
                end = ended[task] = begin + cost
                if receiver != rank:
                    latency, occupied = link(rank, receiver)
                    sent = free[rank, receiver] = max(end, free.get((rank, receiver), 0.0)) + occupied
                    end = sent + latency
                arrived[task] = end
        moved = False
        for rank, own in enumerate(program.tasks):
            clock = 0.0
            for place, task in enumerate(own):
                here = [program.rank_of[need.stage] == rank for need in program.needs(task)]
                needs = [(ended if own else arrived)[need] for need, own in zip(program.needs(task), here)]
                begin = max([clock, *needs])
                moved |= begin != begins[rank][place]
                begins[rank][place], clock = begin, begin + durations[rank][place]
        if not moved:
            return begins


def test_times_are_those_of_a_naive_run():
    for seed in range(40):
        rng = random.Random(seed)
        name = rng.choice([*PIPELINES, *VARIANTS])
        program = make_program(find(name), rng.randint(1, 5), rng.randint(1, 7))
        durations = [[rng.uniform(0.1, 2.0) for _ in own] for own in program.tasks]
        times = {}

        def link(sender, receiver, times=times, rng=rng):
            return times.setdefault((sender, receiver), (rng.uniform(0, 1), rng.uniform(0, 1)))

        found = simulate(program, durations, link)
        for mine, naive in zip(found.begins, run_naively(program, durations, link)):
            assert mine == pytest.approx(naive, abs=1e-9), f"seed {seed}, {name}"


def test_whether_a_program_ends_does_not_depend_on_times():
    for seed in range(10):
        rng = random.Random(seed)
        program = make_program(crossed_forwards, 3, 4)
        durations = [[rng.uniform(0, 2) for _ in own] for own in program.tasks]
        with pytest.raises(UserError, match="deadlock: "):
            simulate(program, durations, lambda *_: (1.0, 0.0))
        partial = simulate(program, durations, partial=True)
        assert [len(own) for own in partial.begins] == [3, 0, 0]
        assert partial.error.startswith("deadlock: rank 0 of 3")


def crossed_forwards(rank, size, m):
    """1F1B on rank 0, and on the others forwards in the opposite order."""
    if rank == 0:
        yield from find("1f1b")(rank, size, m)
    else:
        yield from (Task("F", rank, i) for i in reversed(range(m)))
        yield from (Task("B", rank, i) for i in range(m))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1fb1", "there is no pipeline '1fb1'; did you mean '1f1b'? there are 1f1b, gpipe, "),
        ("interleaved:chunk=2", "the pipeline 'interleaved' has no option 'chunk'; did you mean 'chunks'?"),
        ("interleaved:chunks=two", "chunks is 'two', but must be a whole number"),
        ("interleaved:chunks=0", "chunks is 0, but a rank has one stage at least"),
        ("breadth_first:chunks=-1", "chunks is -1, but a rank has one stage at least"),
        ("greedy:memory=0", "memory is 0, but must be more than 0"),
        ("greedy:memory=nan", "memory is nan, but must be more than 0"),
        ("gpipe:memory=1", "the pipeline 'gpipe' has no option 'memory'; it has none"),
        ("mine.py", "a pipeline of your own is FILE.py:FUNC"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(UserError) as caught:
        find(text)
    assert message in str(caught.value)


def test_what_docstrings_say_is_found():
    for name in PIPELINES:
        pipeline = find(name)
        assert [formula.partition(":")[0] for formula in pipeline.formulas] == ["Bubble", "Live"]
        assert pipeline.source
        assert pipeline.summary
    assert find("zb_h1").source == 'Qi et al. 2024, "Zero bubble pipeline parallelism" (arXiv 2401.10241).'
    assert find("1f1b").formulas == ("Bubble: (P-1) / (M+P-1), that of GPipe.", "Live: min(M, P-r) on rank r.")


def test_examples_in_docstrings():
    attempted = 0
    for found in pkgutil.walk_packages(mpitrain.pipelines.__path__, "mpitrain.pipelines."):
        result = doctest.testmod(importlib.import_module(found.name))
        assert not result.failed, found.name
        attempted += result.attempted
    assert attempted > 8


def test_the_code_and_the_pictures_of_the_page(tmp_path):
    """The two schedules of docs/pipelines.md work, and its diagrams are drawn as they are now."""
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "pipelines.md").read_text(encoding="utf-8")
    first, own, cut = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    names = {"Task": Task}
    exec(first, names)
    for size, m in ((1, 1), (3, 2), (4, 8)):
        assert make_program(names["one_f_one_b"], size, m).tasks == make_program(find("1f1b"), size, m).tasks
    (tmp_path / "mine.py").write_text(own)
    for ahead in (0, 1, 2):
        mine = find(f"{tmp_path}/mine.py:mine:ahead={ahead}")
        assert len(check(mine, range(1, 6), range(1, 9))) == 40
    exec(cut.replace("resnet20", "resnet8"), {})
    pictures = re.findall(r"images/pipeline-(\w+)\.svg", page)
    assert sorted(pictures) == sorted(PIPELINES)
    for name in pictures:
        drawn = (docs / "images" / f"pipeline-{name}.svg").read_text(encoding="utf-8")
        assert drawn == draw_svg(predict(find(name), 4, 8)), f"mpitrain pipeline draw {name} -o docs/images/..."
