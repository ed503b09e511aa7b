"""Turns of all ranks of a pipeline: each call finds the other end's, one after the other, until none is left."""

from types import SimpleNamespace

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.model_table import ModelTable
from mpitrain.parallel.pipeline.stages import Stages
from mpitrain.parallel.pipeline.turns import Turns
from mpitrain.pipelines import find, make_program
from tests.pipeline_cases import CASES, SCHEDULES, TIED_STACK

SIZES = [(4, 4, 4, 4), (5, 4, 0, 4, 1), (2, 0, 1), (0,)]  # full batches, last ones, few samples, none


def turns_of(case, program):
    """Return, for each rank, what tells a channel its turns, and the list in which it writes them down."""
    found = []
    for rank in range(program.size):
        model = case.make()
        units, told = model.units(), []
        bounds = np.linspace(0, len(units), program.num_stages + 1).round().astype(int)
        stages = Stages(units, list(map(int, bounds[1:])), program, rank, np.zeros((1, *case.shape), case.dtype))
        Arena(stages.model, whole=ModelTable.of(model))
        channel = SimpleNamespace(follows_order=True, begin=told.append)
        found.append((Turns(stages, channel), told))
    return found


def call_one_after_the_other(lists):
    """Return the calls that are left when each is over as soon as it is the next one at both ends."""
    lists = [list(turns) for turns in lists]
    goes_on = True
    while goes_on:
        goes_on = False
        for rank, turns in enumerate(lists):
            theirs = lists[turns[0].peer] if turns else []
            if theirs and theirs[0] == turns[0]._replace(peer=rank, outgoing=not turns[0].outgoing):
                turns.pop(0)
                theirs.pop(0)
                goes_on = True
    return lists


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["mlp", "tied"])
def test_every_call_finds_its_other_end(name, schedule, size, sizes):
    """The same length and label at both ends; of tied weights, too, and in an evaluation."""
    case = TIED_STACK if name == "tied" else CASES["mlp"]
    program = make_program(find(schedule), size, len(sizes))
    ranks = turns_of(case, program)
    for turns, _ in ranks:
        turns.begin_step(sizes)
        turns.begin_forward((*sizes, 3, 1))
    steps, forwards = zip(*(told for _, told in ranks), strict=True)
    for lists in (steps, forwards):
        assert all(lists)
        assert not any(call_one_after_the_other(lists))
    texts = [turn.label for turns in steps for turn in turns]
    assert any("from place" in text for text in texts) == (name == "tied")
    assert any(turn.num_bytes == 0 for turns in steps for turn in turns) == (0 in sizes)
    steps = [list(turns) for turns in steps]
    steps[0][0], steps[0][-1] = steps[0][-1], steps[0][0]
    assert any(call_one_after_the_other(steps)) or len(steps[0]) == 1
