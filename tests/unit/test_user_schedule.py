"""Algorithms in a user's own file: whatever is wrong is one sentence that names the line, and nothing hangs."""

import signal
import sys
import time

import numpy as np
import pytest

from mpitrain import user_code, user_file
from mpitrain.collectives import Step, algorithm, check, find, load, user_schedule
from mpitrain.collectives.draw import play
from mpitrain.collectives.price import price, program
from mpitrain.errors import UserError

HEAD = "import sys\nimport numpy as np\nfrom mpitrain.collectives import Step, algorithm\n"  # three lines


@pytest.fixture
def write(tmp_path):
    def write(body):
        path = tmp_path / "mine.py"
        path.write_text(HEAD + body)
        return f"{path}:mine"

    return write


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(user_schedule, "SECONDS", 0.3)
    monkeypatch.setattr(load, "SECONDS", 0.3)
    monkeypatch.setattr(user_file, "SECONDS", 0.6)
    monkeypatch.setattr(user_code, "TICK", 0.1)


WRONG = {
    "str": (
        "def mine(rank, size):\n    if size > 1:\n        yield Step(send_to='1', send=0)\n",
        "P = 2: rank 0 of 2, round 0, line 6: send_to is '1' (str), but must be the number of a rank",
    ),
    "float": (
        "def mine(rank, size):\n    if size > 1:\n        yield Step(send_to=1 - rank, send=size / 2)\n",
        "round 0, line 6: send is 1.0 (float), but must be a chunk, a range of chunks or a tuple of them; / gives a "
        "float, // an int",
    ),
    "list": (
        "def mine(rank, size):\n    if size > 1:\n        yield Step(send_to=1 - rank, send=[0, 1])\n",
        "round 0, line 6: send is [0, 1] (list), but must be a chunk, a range of chunks or a tuple of them",
    ),
    "misspelt": (
        "def mine(rank, size):\n    if size > 1:\n        yield Stp(send_to=1, send=0)\n",
        "rank 0 of 2: the schedule fails with NameError: name 'Stp' is not defined; did you mean 'Step'? (line 6)",
    ),
    "in a helper": (
        "def helper(size):\n    return 1 // (size - 2)\ndef mine(rank, size):\n    helper(size)\n    yield from ()\n",
        "the schedule fails with ZeroDivisionError: integer division or modulo by zero (line 5)",
    ),
    "yield from Step": (
        "def mine(rank, size):\n    if size > 1:\n        yield from Step(send_to=1 - rank, send=0)\n",
        "round 0, line 6: a schedule yields Step objects, not int (write yield Step(...), not yield from Step(...))",
    ),
    "exit": ("def mine(rank, size):\n    yield sys.exit(3)\n", "the schedule fails with sys.exit() (line 5)"),
    "input": (
        "def mine(rank, size):\n    yield Step(int(input('to? ')))\n",
        "EOFError: it reads from the keyboard (input), and there is nothing to read (line 5)",
    ),
    "no step": (
        "def mine(rank, size):\n    distance = 1\n    while distance < size:\n        if rank & distance:\n"
        "            yield Step(send_to=rank - distance, send=0)\n",
        "P = 2: rank 0 of 2: it has computed for 0 s without a yield (line 6)",
    ),
    "no step, nothing caught": (
        "def mine(rank, size):\n    while size > 1:\n        try:\n            rank += 1\n        except Exception:\n"
        "            pass\n    yield from ()\n",
        "P = 2: rank 0 of 2: it has computed for 0 s without a yield (line",
    ),
    "no end": (
        "def mine(rank, size):\n    while size > 1:\n        yield Step()\n",
        "P = 2: rank 0 of 2 is still yielding after 102000 steps (line 6); does the loop there end?",
    ),
    "promise": (
        "@algorithm(rounds=lambda size: 0)\ndef mine(rank, size):\n    if size == 2:\n"
        "        yield Step(1 - rank, 0, 1 - rank, 0, True)\n        yield Step(1 - rank, 1, 1 - rank, 1, True)\n",
        "P = 2: 0 rounds are promised (line 4), but it takes 2",
    ),
    "a promise without an end": (
        "def forever(size):\n    while True:\n        pass\n@algorithm(num_chunks=forever)\n"
        "def mine(rank, size):\n    yield from ()\n",
        "P = 1: its num_chunks does not come back (line",
    ),
    "promise that fails": (
        "@algorithm(bytes=lambda size: undefined)\ndef mine(rank, size):\n    yield from ()\n",
        "P = 1: its bytes fails with NameError: name 'undefined' is not defined (line 4)",
    ),
    "promise of text": (
        "@algorithm(rounds=lambda size: 'few')\ndef mine(rank, size):\n    yield from ()\n",
        "P = 1: its rounds (line 4) is 'few' (str), but must be a number",
    ),
    "chunk": (
        "def mine(rank, size):\n    if size == 2:\n        yield Step(1 - rank, 0, 1 - rank, 2, True)\n",
        "P = 2: rank 0 of 2, round 0, line 6: recv is 2, but chunks go from 0 to 1",
    ),
    "range in a tuple": (
        "@algorithm(num_chunks=lambda size: 4)\ndef mine(rank, size):\n    if size == 2:\n"
        "        yield Step(1 - rank, (range(0, 3, 2),))\n",
        "send is range(0, 3, 2), but a range goes up in steps of 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_schedule_is_told_with_its_line(write, case):
    body, message = WRONG[case]
    with pytest.raises(UserError) as caught:
        check(find(write(body)), 2)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


UNLOADED = {
    "forgot yield": (
        "def mine(rank, size):\n    for k in range(size - 1):\n        Step((rank + 1) % size, k)\n",
        "mine (line 4) never yields, and returns nothing; a Step counts only if it is yielded: yield Step(...)",
    ),
    "a list": (
        "def mine(rank, size):\n    return [Step() for k in range(3)]\n",
        "mine (line 4) returns a list of 3 Steps; it must yield them, one by one: yield Step(...)",
    ),
    "one step": ("def mine(rank, size):\n    return Step()\n", "mine (line 4) returns a Step; it must yield it"),
    "an endless loop without yield": (
        "def mine(rank, size):\n    while True:\n        Step()\n",
        "it never yields, and does not come back; does the loop there end?",
    ),
    "an unknown promise": (
        "@algorithm(\n    round=lambda size: 3,\n)\ndef mine(rank, size):\n    yield Step()\n",
        "cannot be loaded: TypeError: algorithm() got an unexpected keyword argument 'round' (line 4)",
    ),
    "a number for a promise": (
        "@algorithm(rounds=14)\ndef mine(rank, size):\n    yield Step()\n",
        "rounds is a function of the number of ranks: rounds=lambda size: 14 (line 4)",
    ),
    "no parentheses": ("@algorithm\ndef mine(rank, size):\n    yield Step()\n", "with parentheses (line 4)"),
    "no function": ("mine = 3\n", "mine in "),
    "exit": ("if True:\n    sys.exit()\n", "cannot be loaded: sys.exit() (line 5)"),
    "a keyboard": ("mine = input()\n", "cannot be loaded: EOFError: it reads from the keyboard (input)"),
    "an endless file": ("while True:\n    pass\n", "it has been loading for 1 s; does the loop there end?"),
    "an error": ("def mine(rank, size):\n    yield Step()\n1 / 0\n", "ZeroDivisionError: division by zero (line 6)"),
}


@pytest.mark.parametrize("case", UNLOADED)
def test_a_file_that_cannot_be_used_is_told_with_its_line(write, case):
    body, message = UNLOADED[case]
    with pytest.raises(UserError) as caught:
        find(write(body))
    assert message in str(caught.value)
    assert "mine.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_integer_type_is_taken(write):
    body = """
@algorithm(num_chunks=lambda size: np.int64(size), rounds=lambda size: np.float32(2 * size))
def mine(rank, size):
    for peer in np.arange(1, size):
        if rank == 0:
            yield Step(recv_from=peer, recv=range(np.int64(size)), reduce=np.bool_(True))
        elif rank == peer:
            yield Step(send_to=np.uint8(0), send=(np.int16(0), range(1, size)))
    for peer in np.arange(1, size):
        if rank == 0:
            yield Step(send_to=peer, send=(np.int32(0), range(1, size)))
        elif rank == peer:
            yield Step(recv_from=np.array(0), recv=range(size))
"""
    found = find(write(body))
    assert "checked for P <= 6" in check(found, 6)
    assert price(found, 6, 1e6).num_messages == 10
    assert not play(found, 6).error
    step = next(found(1, 3))
    assert step == Step(0, (0, range(1, 3)))
    assert [type(value) for value in (step.send_to, step.send[0])] == [int, int]


def test_a_function_that_returns_a_generator_is_a_schedule(write):
    found = find(
        write("from mpitrain.collectives.all_reduce import ring\ndef mine(rank, size):\n    return ring(rank, size)\n")
    )
    assert "checked for P <= 5" in check(found, 5)


def test_what_a_file_prints_goes_to_standard_error_once(write, capsys):
    text = write("print('loading')\ndef mine(rank, size):\n    print('rank', rank)\n    yield from ()\n")
    for _ in range(2):
        check(find(text), 1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split("\n") == ["loading", "rank 0", "rank 0", ""]


def test_a_changed_file_is_loaded_again(write, tmp_path):
    text = write("def mine(rank, size):\n    yield Step()\n")
    assert len(list(find(text)(0, 1))) == 1
    write("def mine(rank, size):\n    yield Step()\n    yield Step()\n")
    assert len(list(find(text)(0, 1))) == 2


def test_the_timer_and_the_streams_are_given_back(write):
    came = []
    before = signal.signal(signal.SIGALRM, lambda *_: came.append(time.monotonic()))
    streams = sys.stdin, sys.stdout
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        begin = time.monotonic()
        check(find(write("def mine(rank, size):\n    yield from ()\n")), 1)
        assert (sys.stdin, sys.stdout) == streams
        while not came and time.monotonic() < begin + 5:
            time.sleep(0.01)
        assert came
        assert came[0] - begin >= 0.39
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.no_cover
@pytest.mark.slow
def test_there_is_a_price_for_what_never_ends_too(write, monkeypatch):
    monkeypatch.setattr(program, "MAX_STEPS", 200_000)
    text = write(
        "def mine(rank, size):\n    while True:\n        yield Step((rank + 1) % size, 0, (rank - 1) % size, 0)\n"
    )
    for size in (4, 100):
        with pytest.raises(UserError, match=r"still yielding after|takes more than 200,000 steps"):
            price(find(text), size, 1000)


def test_a_wrong_step_of_a_decorated_function_has_its_line():
    @algorithm(rounds=lambda size: 1)
    def mine(rank, size):
        yield Step(send_to=np.int64(size), send=0)

    line = mine.__code__.co_firstlineno + 2
    with pytest.raises(
        UserError, match=rf"rank 0 of 1, round 0, line {line}: send_to is 1, but there is no rank but 0"
    ):
        check(mine, 1)
