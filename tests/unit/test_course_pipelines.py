"""The lab in docs/course/pipelines: starters and mistakes are refused as the note says, solutions and commands pass."""

import inspect
import re
import shlex
from pathlib import Path

import pytest

import mpitrain
from mpitrain.cli.main import main
from mpitrain.errors import UserError
from mpitrain.pipelines import ScheduleError, check, find
from mpitrain.pipelines.price import predict

from ..notebooks import body_of, code_cells, name_of, run_notebook

COURSE = Path(mpitrain.__file__).parents[1] / "docs" / "course" / "pipelines"
EXERCISES = {
    "exercise1_gpipe": "gpipe",
    "exercise2_1f1b": "one_f_one_b",
    "exercise3_interleaved": "interleaved",
    "exercise4_own": "own",
}
SIZES, COUNTS = range(1, 9), range(1, 17)  # the defaults of the command

pytestmark = pytest.mark.skipif(not COURSE.is_dir(), reason="an installed mpitrain has no docs")


def read(name):
    return (COURSE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_starter_is_refused_as_the_note_says(exercise):
    number, name = exercise.removeprefix("exercise")[0], EXERCISES[exercise]
    with pytest.raises(ScheduleError) as caught:
        check(find(f"{COURSE}/{exercise}.py:{name}"), SIZES, COUNTS)
    assert f"| {number} | `{caught.value}` |" in read("instructor.md")
    assert f"**Pass**: `mpitrain pipeline check {exercise}.py:{name}`" in read("README.md")


@pytest.mark.parametrize(
    "options", ["gpipe", "one_f_one_b", "interleaved", "interleaved:chunks=1", "interleaved:chunks=4", "own"]
)
def test_a_solution_keeps_the_promises_of_its_starter(options):
    name = options.partition(":")[0]
    (starter,) = (exercise for exercise in EXERCISES if EXERCISES[exercise] == name)
    solution, asked = find(f"{COURSE}/solutions.py:{options}"), find(f"{COURSE}/{starter}.py:{options}")
    for found in check(solution, range(1, 11), range(1, 31)):
        size, count = found.size, found.num_microbatches
        assert found.bubble <= asked.bubble(size, count) + 1e-9
        assert asked.live is None or all(held <= asked.live(r, size, count) for r, held in enumerate(found.live))


F_THEN_B = '        yield Task("F", rank, warmup + i)\n', '        yield Task("B", rank, i)\n'
FORWARD = 'for i in range(num_microbatches):\n        yield Task("F", rank, i)\n'
MISTAKES = {
    "`yield` is missing": ("gpipe", {"yield Task": "Task"}),
    "a list is returned": (
        "gpipe",
        {FORWARD: 'return [Task("F", rank, 0), Task("B", rank, 0)]\n', FORWARD.replace('"F"', '"B"'): ""},
    ),
    "`yield from Task(...)`": ("gpipe", {"yield Task": "yield from Task"}),
    "`i += 1` is missing in a `while i < num_microbatches`": (
        "gpipe",
        {FORWARD: FORWARD.replace("for i in range(num_microbatches)", "i = 0\n    while i < num_microbatches")},
    ),
    "a misspelt name": ("gpipe", {'Task("B"': 'Tsk("B"'}),
    "stages are counted from 1": ("gpipe", {", rank, i": ", rank + 1, i"}),
    "microbatches are counted from 1": ("gpipe", {"range(num_microbatches)": "range(1, num_microbatches + 1)"}),
    "`i / 2` for a microbatch": ("gpipe", {'"B", rank, i': '"B", rank, i / 2'}),
    "B before its F": ("one_f_one_b", {"".join(F_THEN_B): "".join(reversed(F_THEN_B))}),
    "the last F of the warm-up comes again": ("one_f_one_b", {"warmup + i)": "max(0, warmup + i - 1))"}),
    "the B at the end are forgotten": ("one_f_one_b", {"(num_microbatches - warmup, num_microbatches)": "(0)"}),
    "a warm-up of more than M": ("one_f_one_b", {"min(num_microbatches, size - 1 - rank)": "size - 1 - rank"}),
    "a warm-up of `size - rank`": ("one_f_one_b", {"size - 1 - rank)": "size - rank)"}),
    "no warm-up": ("one_f_one_b", {"min(num_microbatches, size - 1 - rank)": "0"}),
    "a warm-up of `rank`": ("one_f_one_b", {"size - 1 - rank)": "rank)"}),
    "stage `chunk + rank`": ("interleaved", {"chunk * size + rank": "chunk + rank"}),
    "B through the chunks in the order of F": ("interleaved", {"(chunks - 1 - chunk) * size": "chunk * size"}),
    "the warm-up of 1F1B": ("interleaved", {"(chunks - 1) * group + 2 * (size - 1 - rank)": "size - 1 - rank"}),
    "a last group of fewer than P": (
        "interleaved",
        {
            "num_microbatches if num_microbatches % size else size": "size",
            "range(group)": "range(min(group, num_microbatches - first))",
        },
    ),
    "B and W are exchanged": ("own", {'"B"': '"b"', '"W"': '"B"', '"b"': '"W"'}),
    "the W at the end are forgotten": ("own", {"num_microbatches + size - 1": "num_microbatches + size - 1 - rank"}),
    "all W at the end": (
        "own",
        {"+ size - 1)": "+ warmup + num_microbatches)", "i - warmup - rank": "i - warmup - num_microbatches"},
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_usual_mistake_is_told_as_the_note_says(mistake, tmp_path):
    name, changes = MISTAKES[mistake]
    source = inspect.getsource(find(f"{COURSE}/solutions.py:{name}").function)
    head, body = source.split("-> Iterator[Task]:")
    for old, new in changes.items():
        assert old in body
        body = body.replace(old, new)
    path = tmp_path / "mine.py"
    path.write_text(f"from mpitrain.pipelines import Task, pipeline\n\n\n{head.rstrip()}:{body}", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        check(find(f"{path}:{name}"), SIZES, COUNTS)
    message = str(caught.value).replace(f"{path}: ", "").replace(f"{path} ", "")
    assert f"| {mistake} | `{message}` |" in read("instructor.md")


def run(capsys, command, cwd, monkeypatch):
    """Run a command of a page in ``cwd``; return its output."""
    monkeypatch.chdir(cwd)
    words = shlex.split(command.replace("\\\n", ""))
    assert words[0] == "mpitrain", command
    code = main(words[1:])
    out, err = capsys.readouterr()
    assert (code, err) == (0, ""), f"{command}\n{err}"
    return out


@pytest.fixture
def solved(tmp_path):
    """Return a folder in which the files of the exercises contain the solutions."""
    for name in EXERCISES:
        (tmp_path / f"{name}.py").write_text(read("solutions.py"), encoding="utf-8")
    return tmp_path


def test_the_commands_of_the_lab_run_and_print_its_pictures(solved, capsys, monkeypatch):
    text = read("README.md")
    commands = re.findall(r"`(mpitrain pipeline [^`]+)`", text)
    blocks = [
        re.sub(r"^    ", "", block, flags=re.M) for block in re.findall(r"^    ```\n(.*?)^    ```", text, re.M | re.S)
    ]
    pictures = 0
    for block in blocks:
        command, _, picture = block.partition("\n\n")
        if command.startswith("mpitrain "):
            out = run(capsys, command, solved, monkeypatch)
            assert picture in out
            pictures += bool(picture)
    for command in commands:
        run(capsys, command, solved, monkeypatch)
    assert (len(blocks), pictures, len(commands)) == (7, 4, 9)


def test_the_general_commands_of_the_lab_run(solved, capsys, monkeypatch):
    (block,) = re.findall(r"^Four commands read your function:\n\n(.*?)\n\n", read("README.md"), re.M | re.S)
    commands = re.findall(r"mpitrain .*?(?=   |$)", block, re.M)
    assert len(commands) == 4
    for command in commands:
        run(capsys, command.replace("FILE.py:FUNC", "exercise1_gpipe.py:gpipe"), solved, monkeypatch)
    assert (solved / "mine.html").stat().st_size > 10_000


def test_the_answers_of_the_note_are_printed_by_its_commands(capsys, monkeypatch):
    rows = re.findall(r"^\| ([^|]+) \| `(mpitrain pipeline [^`|]+)` \| ([^|]+) \|$", read("instructor.md"), re.M)
    assert len(rows) == 12
    for question, command, answer in rows:
        out = " ".join(run(capsys, command, COURSE, monkeypatch).split())
        numbers = re.findall(r"`([^`]+)`", answer)
        assert numbers, question
        for number in numbers:
            assert number in out, f"{command}: {number} is not in {out}"


def test_the_last_solution_beats_1f1b_as_the_lab_wants():
    own, other = (predict(find(name), 4, 8).price for name in (f"{COURSE}/solutions.py:own", "1f1b"))
    assert other.step > 1.2 * own.step
    assert max(own.live) <= 4


def test_the_notebook_refuses_the_starters():
    printed = [text for tags, text in run_notebook(COURSE / "lab.ipynb") if "check" in tags]
    expected = [
        "not yet: P = 2, M = 2: ranks are idle for 50.00% of the time, but 33.33% is promised",
        "not yet: P = 1, M = 2: rank 0 of 1 holds 2 microbatches at a time, but 1 are promised",
    ]
    assert [text.partition(" (line")[0] for text in printed] == expected


def test_the_notebook_accepts_the_solutions():
    solutions = {name: find(f"{COURSE}/solutions.py:{name}").function for name in ("gpipe", "one_f_one_b")}
    results = run_notebook(COURSE / "lab.ipynb", solutions)
    for name, text in zip(solutions, [text for tags, text in results if "check" in tags], strict=True):
        assert text.startswith(f"{name}: checked for P from 1 to 8 and M from 1 to 16\n")
    for text in [text for tags, text in results if "show" in tags]:
        picture = text.rstrip().split("\n\n")[1]
        assert re.sub("^", "    ", picture, flags=re.M) in read("README.md")
    first, second = (text.splitlines() for tags, text in results if "price" in tags)
    assert first[0] == "M = 8: bubble 27.3%, a rank holds 8 microbatches"
    assert second == [f"gpipe: {GPIPE}", f"one_f_one_b: {ONE_F_ONE_B}"]


GPIPE, ONE_F_ONE_B = "bubble 42.9%, a rank holds 4 microbatches", "bubble 8.6%, a rank holds 4 microbatches"


def test_the_notebook_starts_as_the_files_do():
    names = {name: exercise for exercise, name in EXERCISES.items()}
    found = [source for source, tags in code_cells(COURSE / "lab.ipynb") if "exercise" in tags]
    assert [name_of(source) for source in found] == ["gpipe", "one_f_one_b"]
    for source in found:
        assert source == body_of(COURSE / f"{names[name_of(source)]}.py")


def test_course_start_copies_the_lab(tmp_path, capsys):
    folder = tmp_path / "new" / "lab"
    assert main(["course", "start", str(folder), "--lab", "pipelines"]) == 0
    starters = {f"{exercise}.py" for exercise in EXERCISES}
    assert {path.name for path in folder.iterdir()} == {"README.md", "lab.ipynb", *starters}
    for path in folder.iterdir():
        assert path.read_bytes() == (COURSE / path.name).read_bytes()
    command = re.search(r"^    mpitrain (pipeline check .*)$", capsys.readouterr().out, re.M)[1]
    assert main(command.split()) == 2
    assert "but 33.33% is promised" in capsys.readouterr().err
