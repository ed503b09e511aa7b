"""``mpitrain parallel``: its list, and wrong options."""

import pytest

from mpitrain.cli.main import main
from mpitrain.cli.parallel.check import parse
from mpitrain.errors import UserError
from mpitrain.parallel.moves.cases import CASES
from mpitrain.parallel.moves.registry import BUILT_IN


def test_every_move_is_listed_and_has_cases(capsys):
    assert list(BUILT_IN) == list(CASES)
    assert main(["parallel", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for (name, kind), line in zip(BUILT_IN.items(), lines[1:], strict=False):
        assert line.split()[:5] == [name, kind.inputs, "to", kind.outputs, *kind.adjoint.split()[:1]]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--shape", "4,6"], "--shape is '4,6', but must be lengths such as 4x6"),
        (["--shape", "99999x99999"], "--shape is 99999x99999, more than 16,777,216 elements"),
        (["--seed", "-1"], "--seed is -1, but must be at least 0"),
    ],
)
def test_wrong_options(argv, message):
    with pytest.raises(UserError, match=message):
        parse(argv, True)
