"""``mpitrain parallel check`` on the ranks of a job: wrong classes end it with one sentence, exit code 2."""

import pytest

from .small_table import one_sentence

MINE = """
from mpitrain.parallel.moves import Move, Sum

class Wrong(Sum):
    def backward(self, dy, ctx):
        return dy / self.group.size

class LastFails(Sum):
    def forward(self, x, ctx):
        if self.group.rank == self.group.size - 1:
            raise ValueError("not on this rank")
        return super().forward(x, ctx)
"""


@pytest.mark.any_mpi
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("gather", "mine.py:Wrong"), "mine.py:Wrong is wrong: <F x, dy> and <x, F* dy> differ by "),
        (
            ("mine.py:LastFails",),
            "rank 2 of 3: forward of mine.py:LastFails failed: ValueError: not on this rank (line 11)",
        ),
    ],
)
def test_wrong_classes(mpitrain, tmp_path, names, message):
    (tmp_path / "mine.py").write_text(MINE)
    code, out, err = mpitrain(3, "parallel", "check", *names)
    assert code == 2, err
    assert message in one_sentence(err)
    assert ("gather" in out) == (len(names) > 1)
