"""The last layer and its loss, chunk by chunk: the sums and gradients of both, one after the other."""

import numpy as np
import pytest

from mpitrain import head_loss, models
from mpitrain.arena import Arena
from mpitrain.context import PAD, Context
from mpitrain.errors import UserError
from mpitrain.head_loss import HeadLoss, split_head
from mpitrain.layers import GELU, Linear, Part, Recompute, Sequential, TiedHead, TokenEmbedding
from mpitrain.losses import MSE, SoftmaxCrossEntropy
from mpitrain.ops import OPS
from mpitrain.ops.dispatch import numpy_only
from tests.gradients import numeric_gradient

V, C, T = 13, 4, 5
LOSSES = {
    "plain": {},
    "smooth": {"label_smoothing": 0.1},
    "weighted": {"class_weights": tuple(0.5 + 0.1 * k for k in range(V)), "label_smoothing": 0.2},
    "ignoring": {"ignore_index": 3},
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(head_loss, "LARGE", 8)
    monkeypatch.setattr(head_loss, "LEAST_ROWS", 4)
    monkeypatch.setattr(head_loss, "CHUNK_BYTES", 0)


def tied():
    tokens = TokenEmbedding(V, C, num_positions=T)
    return models.prepare(Sequential(tokens, Linear(C, C), GELU(), TiedHead(tokens, bias=True)))


def separate():
    return models.prepare(Sequential(TokenEmbedding(V, C), Linear(C, C), GELU(), Linear(C, V)))


def batch(seed=0, num_rows=3, ignore=-100):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, V, (num_rows, T)), rng.integers(0, V, (num_rows, T))
    y[:, 3:] = ignore
    x[:, 4] = PAD
    return x, y


def step(model, loss, batches, ctx, arena, add=lambda totals: None):
    arena.begin_step(len(batches))
    for x, y in batches:
        add(loss.forward(model.forward(x, ctx), y, ctx))
        model.backward(loss.backward(ctx), ctx)
    arena.end_backward()


def gradients(make, options, *, fused, dtype=np.float64, batches=None):
    model, loss = make(), SoftmaxCrossEntropy(**options)
    arena, totals = Arena(model, seed=1, dtype=dtype), []
    arena.values *= 20
    body, criterion = split_head(model, loss) if fused else (model, loss)
    assert isinstance(criterion, HeadLoss) == fused
    ready = []
    arena.on_ready = lambda p: ready.append((p.name, len(totals)))
    ctx = Context(dtype=dtype)
    ignore = loss.ignore_index
    batches = [batch(0, 3, ignore), batch(1, 2, ignore), batch(2, 1, ignore)] if batches is None else batches
    for _ in range(2):
        totals.clear()
        step(body, criterion, batches, ctx, arena, totals.append)
    return {p.name: p.grad.copy() for p in arena.parameters}, np.sum(totals, axis=0), ready


@pytest.mark.parametrize("options", LOSSES)
@pytest.mark.parametrize("make", [tied, separate])
def test_gradients_and_sums_of_the_plain_path(make, options):
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-5)):
        found, totals, ready = gradients(make, LOSSES[options], fused=True, dtype=dtype)
        expected, sums, _ = gradients(make, LOSSES[options], fused=False, dtype=dtype)
        np.testing.assert_allclose(totals, sums, rtol=tolerance)
        for name, gradient in expected.items():
            np.testing.assert_allclose(
                found[name], gradient, rtol=tolerance, atol=tolerance * max(1, np.abs(gradient).max()), err_msg=name
            )
        assert sorted({name for name, _ in ready}) == sorted(found)
        assert len(ready) == 2 * len(found)
        assert {count for _, count in ready} == {3}, "no gradient is ready before all sums are known"


@pytest.mark.parametrize("options", ["plain", "weighted"])
def test_probabilities_as_targets(options):
    """As of mixed samples, each row with numbers for all outputs."""
    t = np.random.default_rng(1).random((3, T, V))
    batches = [(batch()[0], t / t.sum(axis=-1, keepdims=True))]
    found, totals, _ = gradients(separate, LOSSES[options], fused=True, batches=batches)
    expected, sums, _ = gradients(separate, LOSSES[options], fused=False, batches=batches)
    np.testing.assert_allclose(totals, sums, rtol=1e-12)
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("make", [tied, separate])
def test_central_differences(make):
    model, loss, ctx = make(), SoftmaxCrossEntropy(0.1), Context(dtype=np.float64)
    arena = Arena(model, seed=1, dtype=np.float64)
    arena.values *= 20
    body, criterion = split_head(model, loss)
    x, y = batch()
    step(body, criterion, [(x, y)], ctx, arena)

    def objective():
        return criterion.evaluate(body.forward(x, ctx), y, ctx).loss

    for p in arena.parameters:
        places = np.random.default_rng(0).permutation(p.size)[:10]
        expected = numeric_gradient(objective, p.data, places)
        np.testing.assert_allclose(p.grad.reshape(-1)[places], expected, rtol=1e-6, atol=1e-7, err_msg=p.name)


def test_nothing_counts():
    x, y = batch()
    found, totals, ready = gradients(tied, {}, fused=True, batches=[(x, np.full_like(y, -100))])
    assert totals.tolist() == [0, 0, 0]
    assert not any(gradient.any() for gradient in found.values())
    assert len(ready) == 2 * len(found)
    found, totals, _ = gradients(separate, {}, fused=True, batches=[(x[:0], y[:0])])
    assert totals.tolist() == [0, 0, 0]
    assert not any(gradient.any() for gradient in found.values())


def test_evaluation_gives_the_sums():
    model, loss = tied(), SoftmaxCrossEntropy(0.1)
    Arena(model, seed=1)
    body, criterion = split_head(model, loss)
    x, y = batch()
    ctx = Context(training=False)
    expected = loss.evaluate(model.forward(x, ctx), y, ctx)
    np.testing.assert_allclose(criterion.evaluate(body.forward(x, ctx), y, ctx), expected, rtol=1e-6)


def test_logits_of_a_chunk_are_all_that_is_kept():
    x, y = (np.concatenate(parts) for parts in zip(*(batch(seed, 10) for seed in range(4))))
    sizes = []
    for fused in (False, True):
        model = tied()
        arena, ctx = Arena(model), Context()
        body, criterion = split_head(model, SoftmaxCrossEntropy()) if fused else (model, SoftmaxCrossEntropy())
        step(body, criterion, [(x, y)], ctx, arena)
        sizes.append(ctx.num_bytes + criterion.memory())
    assert sizes[1] < sizes[0] - 4 * V * x.size


def test_models_that_stay_whole():
    loss = SoftmaxCrossEntropy()
    small = Sequential(Linear(3, 4), Linear(4, 7))
    first = models.prepare(Sequential(Linear(3, 20)))
    other = Sequential(Linear(3, 4), GELU())
    for model in (small, first, other, Linear(3, 20), Sequential()):
        assert split_head(model, loss) == (model, loss)
    assert split_head(separate(), mse := MSE())[1] is mse

    class Mine(SoftmaxCrossEntropy):
        pass

    assert split_head(separate(), mine := Mine())[1] is mine


def test_a_stage_that_is_computed_again():
    model = tied()
    stage = Recompute(model.part(0, len(model.units())))
    body, criterion = split_head(stage, SoftmaxCrossEntropy())
    assert isinstance(body, Recompute)
    assert isinstance(body.layer, Part)
    assert isinstance(criterion, HeadLoss)
    arena, ctx = Arena(model, seed=1), Context()
    found = []
    for parts in ((model, SoftmaxCrossEntropy()), (body, criterion)):
        step(*parts, [batch()], ctx, arena)
        found.append(arena.gradients.copy())
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def test_bad_targets():
    body, criterion = split_head(separate(), SoftmaxCrossEntropy())
    x, y = np.zeros((2, C), np.float32), np.array([0, V])
    Arena(Sequential(*body, criterion.head))
    with pytest.raises(UserError, match=f"a target is {V}, but the model has {V} outputs"):
        criterion.forward(x, y, Context())
    with pytest.raises(UserError, match="outputs for 2 targets, but 1"):
        criterion.forward(x, y[:1], Context())
    with pytest.raises(UserError, match="integer targets"):
        criterion.forward(x, np.zeros(2), Context())
    assert f"a target is {V}" in criterion.diagnose(y, C)


@pytest.mark.parametrize("shape", [(7, 33), (3, 1), (5, 16), (1, 100), (0, 4)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 2])
def test_gradient_over_the_logits(shape, smoothing, weighted, ignore_index):
    rng = np.random.default_rng(shape[1])
    logits = 4 * rng.standard_normal(shape).astype(np.float32)
    targets = rng.integers(0, shape[1], shape[0])
    targets[::2] = logits[::2].argmax(axis=1)
    weights = rng.random(shape[1]).astype(np.float32) if weighted else None
    if shape[0] > 5:
        logits[2, 4:6] = np.nan
        logits[3, 9] = logits[3, targets[3]] = 20  # the first of equals is right
        targets[2] = 4
    found, exact = logits.copy(), logits.astype(np.float64)
    op = OPS["cross_entropy_gradient"]
    totals = op(found, targets, smoothing, ignore_index, weights)
    with numpy_only():
        expected = op(exact, targets, smoothing, ignore_index, weights)
    np.testing.assert_allclose(totals, expected, rtol=1e-5)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-6)
