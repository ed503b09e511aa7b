import pytest

from mpitrain.collectives import COLLECTIVES, GOALS, Step, algorithm, find, make_algorithm, names
from mpitrain.errors import UserError

FILE = '''
"""Mine.

Source: myself.
"""
from mpitrain.collectives import Step, algorithm

def plain(rank, size):
    """Everybody to everybody."""
    yield from ()

@algorithm(num_chunks=lambda size, parts: size * parts, rounds=lambda size: 2)
def stated(rank, size, parts=2):
    yield from ()

def not_a_generator(rank, size):
    return []

def too_few(rank):
    yield Step()
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_names():
    assert names()[:3] == ("ring", "tree", "flat")
    assert names("all_gather") == (
        "all_gather/bruck",
        "all_gather/pat",
        "all_gather/recursive_doubling",
        "all_gather/ring",
    )
    assert set(GOALS) == set(COLLECTIVES)
    for collective in COLLECTIVES:
        for name in names(collective):
            found = find(name)
            assert (found.name, found.collective) == (name, collective)


def test_options():
    found = find("pipelined_ring:segments=8")
    assert (found.num_chunks(4), found.rounds(4), found.bytes(4)) == (32, 48, 1.5)
    assert found.chunk_share(4) == 1 / 32
    assert len(list(found(0, 4))) == 48
    nested = find("two_level:node=2,inner=ring,outer=pipelined_ring(segments=3)")
    assert nested.num_chunks(4) == 2 * 2 * 3
    assert dict(nested.options) == {"node": 2, "inner": "ring", "outer": "pipelined_ring:segments=3"}
    assert find("all_to_all/bruck").chunk_share(5) == 1 / 5


def test_a_file_of_one_s_own(file):
    plain = find(f"{file}:plain")
    assert (plain.collective, plain.num_chunks(3), plain.rounds, plain.summary) == (
        "all_reduce",
        3,
        None,
        "Everybody to everybody.",
    )
    stated = find(f"{file}:stated:parts=5")
    assert (stated.num_chunks(2), stated.rounds(9)) == (10, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rign", "there is no all-reduce 'rign'; there are ring, tree"),
        ("all_gather/rign", "there is no all_gather 'rign'; there are all_gather/bruck"),
        ("gather_all/ring", "there is no collective 'gather_all'; there are all_reduce"),
        ("ring:segments=2", "ring has no option 'segments=2'; it has none"),
        ("chain:2", r"chain has no option '2'; it has segments \(key=value\)"),
        ("chain:segments=two", "chain: segments is 'two', but must be a whole number from 1"),
        ("broadcast/binomial:root=x", "binomial: root is 'x', but must be a whole number from 0"),
        ("ring:root=1", "ring has no option 'root=1'; it has none"),
        ("two_level:inner=swing", "two_level has no inner 'swing'; there are ring, halving, tree, chain"),
        ("two_level:outer=rign", "there is no all-reduce 'rign'"),
        ("FILE", "is FILE.py:FUNC, with the name of a function, not "),
        ("FILE:", "is FILE.py:FUNC, with the name of a function, not "),
        ("no.py:plain", "there is no file no.py"),
        (
            "FILE:other",
            r"has no function 'other'; it has plain, stated",
        ),
        (
            "FILE:not_a_generator",
            r"not_a_generator \(line 16\) returns a list of 0 Steps; it must yield them",
        ),
        ("FILE:too_few", r"too_few in .*mine.py, line 19, must take \(rank, size\)"),
        ("FILE:stated:parts=0", "stated: parts is '0'"),
    ],
)
def test_what_is_not_there(file, text, message):
    with pytest.raises(UserError, match=message) as caught:
        find(text.replace("FILE", str(file)))
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(rank, size:\n", r"broken.py, line 1: "),
        ("import no_such_thing\n", "broken.py cannot be loaded: ModuleNotFoundError: No module named 'no_such_thing'"),
    ],
)
def test_a_file_that_does_not_load(tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(UserError, match=message):
        find(f"{tmp_path}/broken.py:f")


def test_a_bare_function_is_an_algorithm():
    def mine(rank, size):
        yield Step()

    found = make_algorithm(mine)
    assert (found.name, found.collective, list(found(0, 1))) == ("mine", "all_reduce", [Step()])
    assert make_algorithm(found) is found
    decorated = algorithm("scan", rounds=lambda size: size)(mine)
    assert decorated is mine
    assert make_algorithm(decorated).collective == "scan"
