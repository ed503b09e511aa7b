"""Exchanges of compressed buckets among many ranks in one process: odd lengths, planted bugs, and what is kept."""

from types import SimpleNamespace

import numpy as np
import pytest

from mpitrain.errors import UserError
from mpitrain.ops.compress import largest_places
from mpitrain.parallel.compress.codec import Span
from mpitrain.parallel.compress.powersgd import orthonormalize
from mpitrain.parallel.compress.registry import CODECS, check_carries, make_codec
from mpitrain.parallel.compress.scale import StepScale

TEXTS = [
    "bf16",
    "fp16",
    "int8:block=16",
    "sign",
    "topk:fraction=0.3",
    "randomk:fraction=0.3",
    "powersgd:rank=1",
    "identity",
]
ROUNDING = {"bf16": 2**-7, "fp16": 2**-9, "int8:block=16": 2 / 127}


class Wire:
    """One rank's end of requests that ``exchange`` carries out for all ranks at once."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size

    def sum(self, message, name):
        return SimpleNamespace(kind="sum", message=message, result=message)

    def turn(self, message, name):
        return SimpleNamespace(kind="turn", message=message, result=np.full_like(message, 255))

    def gather(self, message, name):
        return SimpleNamespace(kind="gather", message=message, result=message)


def exchange(requests):
    size, kind = len(requests), requests[0].kind
    messages = [request.message.copy() for request in requests]
    for rank, request in enumerate(requests):
        if kind == "sum":
            request.message[...] = sum(messages[1:], messages[0])
            continue
        for other, message in enumerate(messages):
            part = message.reshape(size, -1)[rank if kind == "turn" else other]
            request.result.reshape(size, -1)[other] = part


class Ranks:
    """The buckets of all ranks."""

    def __init__(self, text, size, length, seed=0):
        self.codec, self.rng = make_codec(text), np.random.default_rng(seed)
        self.gradients = [np.zeros(length, np.float32) for _ in range(size)]
        self.scales = [StepScale() for _ in range(size)]
        side = int(length**0.5)
        parameters = [SimpleNamespace(name="w", start=16, stop=16 + side * side, size=side * side, shape=(side, side))]
        rest = length - side * side
        parameters.append(SimpleNamespace(name="b", start=16 + side * side, stop=16 + length, size=rest, shape=(rest,)))
        slots = [{name: np.zeros(length, np.float32) for name in self.codec.slot_names} for _ in range(size)]
        self.spans = [
            Span(0, 16, gradient, gradient[:0], gradient, parameters, scale, own)
            for gradient, scale, own in zip(self.gradients, self.scales, slots, strict=True)
        ]
        self.plans = [self.codec.plan(span, Wire(rank, size)) for rank, span in enumerate(self.spans)]

    def step(self, number, weights):
        """Write random gradients, exchange them, and return (sum written, sum received)."""
        for gradient in self.gradients:
            gradient[...] = self.rng.standard_normal(gradient.size)
        written = sum(gradient.astype(np.float64) for gradient in self.gradients)
        for scale, weight in zip(self.scales, weights, strict=True):
            scale.step, scale.weight = number, weight
        for stages in zip(*(plan.stages for plan in self.plans), strict=True):
            for stage in stages:
                stage.work()
            exchange([stage.request for stage in stages])
        for plan in self.plans:
            plan.end()
        for gradient in self.gradients[1:]:
            np.testing.assert_array_equal(gradient, self.gradients[0])
        return written, self.gradients[0].astype(np.float64)

    def missing(self):
        """Return the errors of all ranks, as sums."""
        return sum(span.error.astype(np.float64) * span.scale.weight for span in self.spans)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 17])
@pytest.mark.parametrize("length", [0, 1, 5, 257, 1000])
def test_nothing_is_lost_and_all_ranks_agree(text, size, length):
    ranks = Ranks(text, size, length)
    weights = [1.0 + rank % 3 for rank in range(size)]
    sent = written = 0.0
    for number in range(6):
        one, two = ranks.step(number, weights)
        written, sent = written + one, sent + two
        if number == 0 and text in ROUNDING:
            atol = 2 * size * ROUNDING[text] * max(1.0, np.abs(one).max(initial=0))
            np.testing.assert_allclose(two, one, rtol=0, atol=atol)
    left = ranks.missing() if ranks.codec.feedback else 0.0
    np.testing.assert_allclose(sent + left, written, rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize("size", [2, 4, 16])
def test_two_roundings_on_any_number_of_ranks(size):
    """Owners add in float32: the error of a sum does not grow with the ranks, as it would on its way around a ring."""
    ranks = Ranks("bf16:feedback=false", size, 4000)
    written, found = ranks.step(0, [1.0] * size)
    error = np.sqrt(np.mean((found - written) ** 2)) / np.sqrt(np.mean(written**2))
    assert 5e-4 < error < 2.5e-3


@pytest.mark.parametrize("text", ["bf16", "sign", "topk:fraction=0.3"])
def test_a_lost_error_would_be_found(text):
    """A planted bug: the same check fails if the errors of one rank vanish between two steps."""
    ranks = Ranks(text, 3, 257)
    written, sent = ranks.step(0, [1.0] * 3)
    ranks.spans[1].error.fill(0)
    more, found = ranks.step(1, [1.0] * 3)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(sent + found + ranks.missing(), written + more, rtol=0, atol=1e-3)


def test_powersgd_finds_a_matrix_of_its_rank():
    """After a few steps of the same gradients, whose errors do not matter any more, factors of rank 2 give them all."""
    ranks = Ranks("powersgd:rank=2,feedback=false", 3, 900)
    rng = np.random.default_rng(1)
    factors = rng.standard_normal((30, 2)), rng.standard_normal((2, 30))
    fixed = [(factors[0] * rng.standard_normal(2)) @ factors[1] for _ in range(3)]
    for _ in range(4):
        for gradient, matrix in zip(ranks.gradients, fixed, strict=True):
            gradient[:900] = matrix.reshape(-1)
        for stages in zip(*(plan.stages for plan in ranks.plans), strict=True):
            for stage in stages:
                stage.work()
            exchange([stage.request for stage in stages])
        for plan in ranks.plans:
            plan.end()
    np.testing.assert_allclose(ranks.gradients[0].reshape(30, 30), sum(fixed), rtol=0, atol=1e-4)


def test_columns_become_orthonormal_and_dependent_ones_zero():
    columns = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    columns[:, 2] = columns[:, 0] - 3 * columns[:, 1]
    orthonormalize(columns)
    np.testing.assert_allclose(columns.T @ columns, np.diag([1, 1, 0, 1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("find", [largest_places, largest_places.numpy])
def test_largest_places(find):
    u = np.array([1, -5, 0, 3, -2, np.nan, 3, -np.inf], np.float32)
    for count, expected in ((1, [5]), (2, [5, 7]), (3, [1, 5, 7]), (4, [1, 3, 5, 7]), (8, range(8))):
        places = np.empty(count, np.int64)
        find(u, places)
        np.testing.assert_array_equal(places, expected)
    rng = np.random.default_rng(0)
    for u in (rng.standard_normal(5000), rng.integers(-3, 4, 5000), np.exp(20 * rng.standard_normal(777))):
        for count in (1, 50, u.size):
            places = np.empty(count, np.int64)
            find(u.astype(np.float32), places)
            expected = np.sort(np.argsort(-np.abs(u.astype(np.float32)), kind="stable")[:count])
            np.testing.assert_array_equal(places, expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["normal", "wide", "equal", "few", "unfair", "upside down", "not finite"])
def test_largest_places_of_many_numbers(kind, seed):
    """A sample of every fifth number suggests a bound: a bad one must not change the result."""
    rng = np.random.default_rng(seed)
    n = 40_000 + int(rng.integers(0, 7000))
    u = rng.standard_normal(n).astype(np.float32)
    match kind:
        case "wide":
            u = np.exp(15 * u)
        case "equal":
            u[:] = -2.5
        case "few":
            u[rng.integers(0, n, n - 30)] = 0
        case "unfair":  # those that are sampled are the smallest
            u[:: n // 8192] = 0
        case "upside down":  # and here the largest
            u[:: n // 8192] *= 1000
        case "not finite":
            u[rng.integers(0, n, 20)] = np.nan
            u[rng.integers(0, n, 20)] = -np.inf
    for count in (1, 33, n // 100, n // 16, n // 3):
        found, expected = np.empty(count, np.int64), np.empty(count, np.int64)
        largest_places(u, found)
        largest_places.numpy(u, expected)
        np.testing.assert_array_equal(found, expected, err_msg=f"{kind}, seed {seed}, {count} of {n}")


@pytest.mark.parametrize("name", list(CODECS))
def test_the_rule_which_all_reduces_carry_a_codec(name):
    codec = make_codec(name)
    check_carries(codec, name, "auto")
    if codec.linear:
        check_carries(codec, name, "mine.py:ring")
    else:
        with pytest.raises(
            UserError, match=f"--compress {name} does not go with --all-reduce ring: its messages are no"
        ):
            check_carries(codec, name, "ring")
    assert all(stage.request.kind == "sum" for stage in Ranks(name, 2, 100).plans[0].stages) == codec.linear
