import numpy as np
import pytest

from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.losses import MSE, SoftmaxCrossEntropy, Totals
from tests.gradients import numeric_gradient


def check_loss(loss, outputs, targets):
    """Compare backward with central differences of the sum of losses."""
    ctx = Context(dtype=np.float64)
    loss.forward(outputs, targets, ctx)
    gradient = loss.backward(ctx).copy()
    assert gradient.shape == outputs.shape
    places = np.arange(outputs.size)
    expected = numeric_gradient(lambda: loss.forward(outputs, targets, ctx).loss, outputs, places)
    np.testing.assert_allclose(gradient.reshape(-1), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(5, 3), (0, 3), (2, 4, 7), (3, 1)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_gradients(shape, smoothing):
    rng = np.random.default_rng(1)
    targets = rng.integers(0, shape[-1], shape[:-1])
    check_loss(SoftmaxCrossEntropy(smoothing), rng.standard_normal(shape), targets)


@pytest.mark.parametrize("ignore_index", [-100, 1])
def test_ignored_targets(ignore_index):
    rng = np.random.default_rng(1)
    logits, targets = rng.standard_normal((5, 3)), np.array([0, ignore_index, 2, ignore_index, 2])
    loss, ctx = SoftmaxCrossEntropy(0.2, ignore_index), Context(dtype=np.float64)
    check_loss(loss, logits, targets)
    kept = targets != ignore_index
    totals = loss.forward(logits, targets, ctx)
    assert totals.weight == 3
    assert (loss.backward(ctx)[~kept] == 0).all()
    np.testing.assert_allclose(totals, loss.forward(logits[kept], targets[kept], ctx))


def test_all_targets_ignored():
    ctx = Context()
    loss = SoftmaxCrossEntropy()
    assert loss.forward(np.ones((2, 3), np.float32), np.array([-100, -100]), ctx) == Totals(0, 0, 0)
    np.testing.assert_array_equal(loss.backward(ctx), 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_follows_the_formula(smoothing):
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    q = (1 - smoothing) * np.eye(4)[targets] + smoothing / 4
    totals = SoftmaxCrossEntropy(smoothing).evaluate(logits, targets, Context(dtype=np.float64))
    expected = 6, -np.sum(q * np.log(p)), np.sum(p.argmax(1) == targets)
    np.testing.assert_allclose(totals, expected)
    assert all(type(value) is float for value in totals)


def test_huge_logits_stay_finite():
    ctx = Context()
    logits = np.array([[1e30, 0, -1e30], [-1e4, 1e4, 0]], np.float32)
    loss = SoftmaxCrossEntropy()
    with np.errstate(all="raise", under="ignore"):
        assert loss.forward(logits, np.array([0, 1], np.uint8), ctx) == Totals(2, 0, 2)
        np.testing.assert_array_equal(loss.backward(ctx), 0)


@pytest.mark.parametrize(
    ("targets", "message"),
    [([0, 3], "a target is 3, but the model has 3 outputs"), ([-1, 0], "a target is -1"), ([0.0, 1.0], "integer")],
)
def test_impossible_targets(targets, message):
    with pytest.raises(UserError, match=message):
        SoftmaxCrossEntropy().forward(np.ones((2, 3)), np.array(targets), Context())


def test_impossible_smoothing():
    with pytest.raises(UserError, match=r"\[0, 1\]"):
        SoftmaxCrossEntropy(label_smoothing=1.5)


@pytest.mark.parametrize("shape", [(5, 3), (0, 2), (2, 3, 4, 1)])
def test_squared_error_gradients(shape):
    rng = np.random.default_rng(1)
    check_loss(MSE(), rng.standard_normal(shape), rng.standard_normal(shape))


def test_squared_error_follows_the_formula():
    y, t = np.arange(6.0).reshape(6, 1), np.ones(6)
    assert MSE().forward(y, t, Context(dtype=np.float64)) == Totals(6, 1 + 0 + 1 + 4 + 9 + 16, 0)


def test_squared_error_of_unlike_shapes():
    with pytest.raises(UserError, match=r"\(2,\) for each sample, but they are \(3,\)"):
        MSE().forward(np.ones((4, 2)), np.ones((4, 3)), Context())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3), (0, 3)])
def test_class_weights_multiply_loss_and_gradient(shape, smoothing):
    rng = np.random.default_rng(2)
    weights = (0.5, 2.0, 0.0)
    outputs, targets = rng.standard_normal(shape), rng.integers(0, 3, shape[:-1])
    loss, plain, ctx = SoftmaxCrossEntropy(smoothing, class_weights=weights), SoftmaxCrossEntropy(smoothing), Context()
    check_loss(loss, outputs, targets)
    rows, y = outputs.reshape(-1, 3).astype(np.float32), targets.reshape(-1)
    each = [plain.forward(rows[i : i + 1], y[i : i + 1], ctx) for i in range(len(y))]
    found = loss.forward(rows, y, ctx)
    gradient = loss.backward(ctx).copy()
    assert found.weight == len(y)  # as without: the number of samples
    assert found.correct == sum(one.correct for one in each)
    assert found.loss == pytest.approx(sum(np.array(weights)[y] * [one.loss for one in each]), rel=1e-6)
    plain.forward(rows, y, ctx)
    np.testing.assert_allclose(gradient, np.array(weights)[y][:, None] * plain.backward(ctx), rtol=1e-6, atol=1e-7)


def test_class_weights_and_ignored_targets():
    rng = np.random.default_rng(3)
    logits, targets = rng.standard_normal((4, 3)), np.array([0, -100, 2, -100])
    loss, ctx = SoftmaxCrossEntropy(class_weights=(1.0, 5.0, 3.0)), Context(dtype=np.float64)
    check_loss(loss, logits, targets)
    kept = targets >= 0
    np.testing.assert_allclose(loss.forward(logits, targets, ctx), loss.forward(logits[kept], targets[kept], ctx))


def test_impossible_class_weights():
    with pytest.raises(UserError, match=r"class weights must be numbers, 0 or more, but they are 1\.0 -1\.0"):
        SoftmaxCrossEntropy(class_weights=(1.0, -1.0))
    with pytest.raises(UserError, match="there are 2 class weights, but the model has 3 outputs"):
        SoftmaxCrossEntropy(class_weights=(1.0, 1.0)).forward(np.ones((2, 3), np.float32), np.array([0, 1]), Context())


def probabilities(rng, shape):
    t = rng.random(shape)
    return t / t.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("shape", [(5, 3), (0, 3), (2, 4, 7), (3, 1)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_gradients_for_probabilities(shape, weighted, smoothing):
    rng = np.random.default_rng(1)
    weights = tuple(rng.random(shape[-1])) if weighted else ()
    targets = probabilities(rng, shape)
    loss, outputs = SoftmaxCrossEntropy(smoothing, class_weights=weights), rng.standard_normal(shape)
    check_loss(loss, outputs, targets)
    ctx = Context(dtype=np.float64)
    totals = loss.forward(outputs, targets, ctx)
    expected = loss.backward(ctx).copy()
    again, gradient = loss.gradient(outputs, targets, ctx)
    assert again == totals
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_mixture_of_two_classes_is_that_of_their_losses(smoothing, weighted):
    """Each class has the loss, the weight and the smoothing that it has alone; so has the count of correct rows."""
    rng = np.random.default_rng(3)
    loss = SoftmaxCrossEntropy(smoothing, class_weights=tuple(rng.random(4)) if weighted else ())
    ctx, outputs, rows = Context(dtype=np.float64), rng.standard_normal((1, 4)), np.eye(4)
    for first, second, share in ((0, 1, 0.3), (2, 2, 0.25), (3, 1, 1.0)):
        mixed = loss.forward(outputs, (share * rows[first] + (1 - share) * rows[second])[None], ctx)
        a, b = (loss.forward(outputs, np.array([k]), ctx) for k in (first, second))
        expected = [share * one + (1 - share) * other for one, other in zip(a, b, strict=True)]
        np.testing.assert_allclose(mixed, expected)


def test_one_hot_probabilities_are_classes():
    rng = np.random.default_rng(5)
    outputs, targets = rng.standard_normal((50, 6)).astype(np.float32), rng.integers(0, 6, 50)
    loss, ctx = SoftmaxCrossEntropy(0.1), Context()
    expected = loss.forward(outputs, targets, ctx)
    gradient = loss.backward(ctx).copy()
    found = loss.forward(outputs, np.eye(6, dtype=np.float32)[targets], ctx)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(loss.backward(ctx), gradient, atol=1e-6)
    assert loss.diagnose(np.eye(6, dtype=np.float32)[targets], 6) == ""
