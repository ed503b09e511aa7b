"""The ledger of real ranks: what is about to be called differently is seen before MPI is called."""

import pytest

from mpitrain.comm.watch.history import MismatchError
from mpitrain.comm.watch.ledger import Ledger


@pytest.fixture
def ledger(world):
    made = Ledger(world._node, world.rank)
    yield made
    world.barrier()  # before the memory of the others goes


def call(ledger, what):
    ledger.end(ledger.begin(ledger.label(what, compared=what)))


def test_the_same_calls(world, ledger):
    for number in range(200):  # more than are kept
        call(ledger, f"call {number % 7}")


def test_whoever_comes_second_sees_the_difference(world, ledger):
    call(ledger, "the same")
    last = world.size - 1
    if world.rank != last:
        call(ledger, "sum of 4")
    world.barrier()
    if world.rank == last > 0:
        with pytest.raises(MismatchError, match="collective number 2 is not"):
            call(ledger, "sum of 5")


def test_ranks_that_begin_again_are_not_compared_with_those_that_have_not(world, ledger):
    call(ledger, "the same")
    if world.rank == 0:
        ledger.restart(0)
        call(ledger, "first of what is left")
    world.barrier()
    if world.rank != 0:
        call(ledger, "second of all")
        ledger.restart(world.rank)
        call(ledger, "first of what is left")
