"""The lab in docs/course: starters are refused with what the instructor's note says, solutions pass and beat."""

from pathlib import Path

import pytest

import mpitrain
from mpitrain.collectives import ScheduleError, check, find
from mpitrain.collectives.price import price

COURSE = Path(mpitrain.__file__).parents[1] / "docs" / "course"
EXERCISES = ["exercise1_pairs", "exercise2_flat", "exercise3_tree", "exercise4_ring", "exercise5_own"]

pytestmark = pytest.mark.skipif(not COURSE.is_dir(), reason="an installed mpitrain has no docs")


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_starter_is_refused_as_the_note_says(exercise):
    number, name = exercise.removeprefix("exercise").split("_")
    with pytest.raises(ScheduleError) as caught:
        check(find(f"{COURSE}/{exercise}.py:{name}"), 2 if name == "pairs" else 17)
    assert f"| {number} | `{caught.value}` |" in (COURSE / "instructor.md").read_text()
    assert f"{exercise}.py:{name} --max-ranks" in (COURSE / "README.md").read_text()


@pytest.mark.parametrize("name", ["pairs", "flat", "tree", "ring", "own"])
def test_a_solution_passes(name):
    starter = next(e for e in EXERCISES if e.endswith(name))
    solution, asked = find(f"{COURSE}/solutions.py:{name}"), find(f"{COURSE}/{starter}.py:{name}")
    check(solution, 2 if name == "pairs" else 17)
    for size in range(1, 18):
        for mine, wanted in ((solution.rounds, asked.rounds), (solution.bytes, asked.bytes)):
            assert wanted is None or mine(size) == wanted(size)


@pytest.mark.parametrize(
    ("name", "other", "num_bytes", "factor"),
    [
        ("tree", "flat", 1 << 10, 2),
        ("ring", "tree", 64 << 20, 3),
        ("own", "tree", 64 << 10, 1),
        ("own", "tree", 4 << 20, 3),
    ],
)
def test_a_solution_beats_its_price(name, other, num_bytes, factor):
    mine, theirs = (price(find(f"{COURSE}/solutions.py:{f}"), 16, num_bytes).seconds for f in (name, other))
    assert factor * mine < theirs
