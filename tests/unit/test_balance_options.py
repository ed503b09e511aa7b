"""Options of --balance: weights, and what does not go with them."""

import pytest

from mpitrain.balance_options import check_balance, parse_balance
from mpitrain.config import Compute, Config, Optimizer, Parallel
from mpitrain.config_check import check
from mpitrain.errors import UserError


@pytest.mark.parametrize(
    ("text", "weights"),
    [("auto", ()), ("off", ()), ("dynamic", ()), ("2:1", (2.0, 1.0)), ("0.5:1e3:3", (0.5, 1e3, 3.0))],
)
def test_weights_of_shares(text, weights):
    assert parse_balance(text) == weights
    check_balance(text, len(weights) or 5)


@pytest.mark.parametrize("text", ["", "on", "2:", ":1", "1:0", "1:-2", "1:nan", "1:inf", "1,2", "auto:1"])
def test_what_are_no_weights(text):
    with pytest.raises(
        UserError, match=r"--balance is '.*', but must be auto, dynamic, off or a positive weight for each rank"
    ):
        check(Config(parallel=Parallel(balance=text)))


def test_weights_for_other_ranks():
    with pytest.raises(UserError, match=r"--balance 1:2 has 2 weights, but batches are divided among 1 rank$"):
        check_balance("1:2", 1)


@pytest.mark.parametrize("balance", ["auto", "2:1"])
def test_shares_and_fixed_shards(balance):
    with pytest.raises(UserError, match=f"--balance {balance} does not go with --reproducible"):
        check(Config(parallel=Parallel(balance=balance, reproducible=4)))


@pytest.mark.parametrize("balance", ["auto", "2:1"])
def test_shares_and_steps_of_ranks_of_their_own(balance):
    with pytest.raises(UserError, match=f"--sync local:steps=4 does not go with --balance {balance}, which needs sums"):
        check(Config(parallel=Parallel(balance=balance, sync="local:steps=4")))


def test_weights_and_lost_ranks():
    check(Config(parallel=Parallel(balance="auto", elastic=True)))
    with pytest.raises(UserError, match="--elastic does not go with weights in --balance"):
        check(Config(parallel=Parallel(balance="2:1", elastic=True)))


def test_microbatches_to_hand_out():
    dynamic, many = Parallel(balance="dynamic"), Optimizer(accumulate=4)
    check(Config(parallel=dynamic, optimizer=many))
    with pytest.raises(UserError, match="--balance dynamic hands out microbatches: give their number as --accumulate"):
        check(Config(parallel=dynamic))
    with pytest.raises(UserError, match="--balance dynamic does not go with --elastic"):
        check(Config(parallel=Parallel(balance="dynamic", elastic=True), optimizer=many))
    with pytest.raises(UserError, match="--balance dynamic does not go with --cuda-graph"):
        check(Config(parallel=dynamic, optimizer=many, compute=Compute(cuda_graph="on")))
