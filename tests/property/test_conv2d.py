import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mpitrain.context import Context
from mpitrain.layers import AvgPool2d, Conv2d, MaxPool2d
from mpitrain.ops.conv2d_im2col import Im2col
from mpitrain.ops.conv2d_winograd import Winograd
from mpitrain.ops.window import Window
from tests.gradients import check_layer
from tests.naive import naive_conv2d, naive_pool

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def windows(draw, dilation=pairs):
    return Window(draw(pairs), draw(pairs), draw(st.tuples(st.integers(0, 2), st.integers(0, 2))), draw(dilation))


@st.composite
def images(draw, window, channels):
    """Return random images that the window fits into."""
    least = [max(1, window.extent(dim) - 2 * window.padding[dim]) for dim in (0, 1)]
    height, width = (draw(st.integers(size, size + 6)) for size in least)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.standard_normal((draw(st.integers(0, 3)), height, width, channels))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_conv2d(data):
    window, groups = data.draw(windows()), data.draw(st.integers(1, 3))
    channels, outputs = groups * data.draw(st.integers(1, 3)), groups * data.draw(st.integers(1, 3))
    x = data.draw(images(window, channels))
    layer = Conv2d(channels, outputs, window.kernel, window.stride, window.padding, window.dilation, groups)
    check_layer(layer, x, places=10)
    expected = naive_conv2d(x, layer.weight.data, layer.bias.data, window, groups)
    y = layer.forward(x, Context(dtype=np.float64))
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_block_and_chunk_gives_what_plain_columns_give(data):
    window = data.draw(windows(dilation=st.tuples(st.integers(1, 2), st.just(1))))
    channels, outputs = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    x = data.draw(images(window, channels))
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((*window.kernel, channels, outputs)), rng.standard_normal(outputs)
    plain = Im2col(window, x.shape[1:3], images=max(1, len(x)))
    width = plain.output[1]
    block = data.draw(st.sampled_from([t for t in range(1, width + 1) if width % t == 0]))
    cut = Im2col(window, x.shape[1:3], block=block, images=data.draw(st.integers(1, 3)))
    dy = rng.standard_normal((len(x), *plain.output, outputs))
    for expected, found in zip(_results(plain, x, w, b, dy), _results(cut, x, w, b, dy)):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_winograd_gives_what_plain_columns_give(data):
    window = Window((3, 3), padding=data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2))))
    channels, outputs = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    x = data.draw(images(window, channels))
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((3, 3, channels, outputs)), rng.standard_normal(outputs)
    plain = Im2col(window, x.shape[1:3], images=max(1, len(x)))
    winograd = Winograd(window, x.shape[1:3], data.draw(st.integers(1, 3)))
    dy = rng.standard_normal((len(x), *plain.output, outputs))
    for expected, found in zip(_results(plain, x, w, b, dy)[:2], _results(winograd, x, w, b, dy)):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pools(data):
    kernel = data.draw(pairs)
    padding = data.draw(st.tuples(st.integers(0, kernel[0] // 2), st.integers(0, kernel[1] // 2)))
    pool = data.draw(st.sampled_from([MaxPool2d, AvgPool2d]))(kernel, data.draw(pairs), padding)
    x = data.draw(images(pool.window, data.draw(st.integers(1, 3))))
    check_layer(pool, x, places=10)
    y = pool.forward(x, Context(dtype=np.float64))
    np.testing.assert_allclose(y, naive_pool(x, pool.window, isinstance(pool, MaxPool2d)), rtol=1e-12, atol=1e-12)


def _results(way, x, w, b, dy):
    """Return y, dw and dx, where it has a way of its own."""
    y, dx, dw = np.empty_like(dy), np.empty_like(x), np.empty_like(w)
    way.run(x, w, b, y)
    way.dw(x, dy, dw, False)
    if isinstance(way, Winograd):
        return y, dw
    way.dx(dy, w, dx)
    return y, dw, dx
