"""The lab in docs/course: starters are refused with what the instructor's note says, solutions pass and beat."""

import re
from pathlib import Path

import pytest

import mpitrain
from mpitrain.cli.main import main
from mpitrain.collectives import ScheduleError, check, find
from mpitrain.collectives.price import price
from mpitrain.errors import UserError

from ..notebooks import body_of, code_cells, name_of, run_notebook

COURSE = Path(mpitrain.__file__).parents[1] / "docs" / "course"
EXERCISES = ["exercise1_pairs", "exercise2_flat", "exercise3_tree", "exercise4_ring", "exercise5_own"]
NOTEBOOK = ["pairs", "flat", "tree"]

pytestmark = pytest.mark.skipif(not COURSE.is_dir(), reason="an installed mpitrain has no docs")


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_starter_is_refused_as_the_note_says(exercise):
    number, name = exercise.removeprefix("exercise").split("_")
    with pytest.raises(ScheduleError) as caught:
        check(find(f"{COURSE}/{exercise}.py:{name}"), 2 if name == "pairs" else 17)
    assert f"| {number} | `{caught.value}` |" in (COURSE / "instructor.md").read_text()
    assert f"{exercise}.py:{name} --max-ranks" in (COURSE / "README.md").read_text()


MISTAKES = {
    "`yield` is missing": "    for k in range(size - 1):\n        Step((rank + 1) % size, k)\n",
    "a list is returned": "    return [Step() for k in range(3)]\n",
    "`distance *= 2` is missing in a `while distance < size`": "    distance = 1\n    while distance < size:\n"
    "        if rank & distance:\n            yield Step(send_to=rank - distance, send=0)\n",
    "`while True` around the steps": "    while size > 1:\n        yield Step()\n",
    "`yield from Step(...)`": "    if size > 1:\n        yield from Step(send_to=1 - rank, send=0)\n",
    "`size / 2` for a chunk": "    if size > 1:\n        yield Step(1 - rank, size / 2, 1 - rank, 0)\n",
    "a misspelt name": "    if size > 1:\n        yield Stp(send_to=1, send=0)\n",
    "a number as a promise": "    yield Step()\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_usual_mistake_is_told_as_the_note_says(mistake, tmp_path):
    path = tmp_path / "mine.py"
    promise = "@algorithm(rounds=14)\n" if "promise" in mistake else ""
    head = "from mpitrain.collectives import Step, algorithm\n\n\n"
    path.write_text(f"{head}{promise}def mine(rank, size):\n{MISTAKES[mistake]}")
    with pytest.raises(UserError) as caught:
        check(find(f"{path}:mine"), 2)
    message = str(caught.value).replace(f"{path}: ", "").replace(f"{path} ", "")
    assert f"| {mistake} | `{message}` |" in (COURSE / "instructor.md").read_text()


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


def test_the_notebook_refuses_the_starters():
    printed = [text for tags, text in run_notebook(COURSE / "lab.ipynb") if "check" in tags]
    expected = [
        "not yet: P = 2: deadlock",
        "not yet: P = 2: rank 1 ends without",
        "not yet: P = 4: 4 rounds are promised",
    ]
    assert len(printed) == len(expected)
    for text, start in zip(printed, expected, strict=True):
        assert text.startswith(start)


def test_the_notebook_accepts_the_solutions():
    solutions = {name: find(f"{COURSE}/solutions.py:{name}").function for name in NOTEBOOK}
    results = run_notebook(COURSE / "lab.ipynb", solutions)
    printed = [text for tags, text in results if "check" in tags]
    for name, text in zip(NOTEBOOK, printed, strict=True):
        assert text.startswith(f"{name}: checked for P <= ")
    first = next(
        line for tags, text in results if "price" in tags for line in text.splitlines() if "1024 bytes" in line
    )
    flat, tree, _ = (float(number) for number in re.findall(r"([\d,.]+) us", first.replace(",", " ")))
    assert 2 * tree < flat


def test_the_notebook_starts_as_the_files_do():
    """Apart from annotations and docstrings, the functions are those of the starter files."""
    for source, tags in code_cells(COURSE / "lab.ipynb"):
        if "exercise" in tags:
            assert source == body_of(next(COURSE.glob(f"exercise*_{name_of(source)}.py")))


def test_course_start_copies_the_lab(tmp_path, capsys):
    folder = tmp_path / "new" / "lab"
    assert main(["course", "start", str(folder)]) == 0
    starters = {f"{exercise}.py" for exercise in EXERCISES}
    assert {path.name for path in folder.iterdir()} == {"README.md", "lab.ipynb", *starters}
    for path in folder.iterdir():
        assert path.read_bytes() == (COURSE / path.name).read_bytes()
    command = re.search(r"^    mpitrain (collective check .*)$", capsys.readouterr().out, re.M)[1]
    assert main(command.split()) == 2
    assert "deadlock" in capsys.readouterr().err


def test_course_start_leaves_a_folder_with_files_alone(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("x")
    assert main(["course", "start", str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err == f"mpitrain: {tmp_path} is not empty; the lab is copied to a new or an empty folder\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["course", "start", str(empty)]) == 0
    assert main(["course", "start", str(tmp_path / "mine.py")]) == 2
    assert "cannot write" in capsys.readouterr().err
