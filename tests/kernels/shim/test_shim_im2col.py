"""The shim's copies of im2col against the PTX ISA's "im2col mode", written out in NumPy."""

import itertools

import numpy as np
import pytest

from mpitrain.device import Im2colMap
from mpitrain.ops.conv2d_im2col import Im2col
from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.products import gemm
from tests.kernels.shim.test_shim_hopper import launch, swizzled

pytestmark = cpu.needs_gxx


@pytest.fixture(scope="module")
def probes():
    return cpu.build("probes_hopper.cu", folder=cpu.PROBES)


def planned(x: np.ndarray, pixels: int, lower, upper, step=(1, 1)) -> Im2colMap:
    """Return the map for windows over x (N, H, W, C)."""
    n, h, w, c = x.shape
    box = 128 // x.itemsize, pixels
    strides = tuple(x.strides[dim] for dim in (2, 1, 0))
    return Im2colMap(x.ctypes.data, x.itemsize, (c, w, h, n), strides, box, lower, upper, step)


def images(shape, dtype, pad=8) -> np.ndarray:
    """Return images of distinct numbers, within pixels that are ``pad`` channels longer."""
    raw = np.full((*shape[:3], shape[3] + pad + 16), 77, dtype)
    first = -raw.ctypes.data % 16 // raw.itemsize
    assert raw.strides[2] % 16 == 0
    x = raw[..., first : first + shape[3]]
    x[...] = 1 + np.arange(x.size, dtype=np.uint32).reshape(shape) % 50000
    return x


def pixels_of(x: np.ndarray, plan: Im2colMap, first, offset) -> np.ndarray:
    """Return the rows that a copy brings: a list of all windows, from the first on."""
    channel, w, h, image = first
    corners = [range(plan.lower[i], plan.size[1 + i] + plan.upper[i], plan.step[i]) for i in (0, 1)]
    windows = list(itertools.product(range(image, len(x) + plan.box[1]), corners[1], corners[0]))
    start = windows.index((image, h, w))
    rows = np.zeros(plan.box[::-1], x.dtype)
    for row, (n, top, left) in zip(rows, windows[start:]):
        top, left = top + offset[1], left + offset[0]
        if n < len(x) and 0 <= top < x.shape[1] and 0 <= left < x.shape[2]:
            seen = x[n, top, left, channel : channel + len(row)]
            row[: len(seen)] = seen
    return rows


def copy(probes, x, plan, first, offset, early=None) -> np.ndarray:
    size = 128 * plan.box[1]
    early = np.zeros(size, np.uint8) if early is None else early
    out = np.zeros(size, np.uint8)
    record = gemm.shim_im2col_map(plan)
    launch(probes, "copy_pixels", record, *first, *offset, size, early, out, memory=[x])
    return out


CASES = [  # images, pixels, lower, upper, step, first (c, w, h, n), offset (w, h)
    ((2, 5, 6, 64), 16, (0, 0), (0, 0), (1, 1), (0, 2, 1, 0), (0, 0)),  # 1x1
    ((2, 5, 6, 72), 64, (-1, -1), (-1, -1), (1, 1), (64, -1, -1, 0), (2, 1)),  # 3x3, padded; channels end
    ((3, 7, 5, 64), 40, (-1, -1), (-1, -1), (2, 2), (0, 1, 3, 1), (1, 2)),  # strides over odd sizes; images end
    ((2, 6, 9, 64), 24, (-2, 0), (-2, -4), (1, 3), (0, 6, 0, 0), (4, 4)),  # dilated 3x3, other paddings
    ((1, 4, 4, 8), 32, (-4, 3), (4, 2), (1, 1), (0, 7, 4, 0), (0, 0)),  # a box larger than the image, or off it
    ((2, 3, 3, 64), 8, (0, 0), (-2, -2), (1, 1), (0, 0, 0, 1), (2, 2)),  # one window an image; the last image
    ((2, 3, 3, 64), 8, (0, 0), (0, 0), (1, 1), (0, 0, 0, 2), (0, 0)),  # beyond all images
]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_pixels_under_a_tap(probes, dtype, case):
    shape, pixels, lower, upper, step, first, offset = case
    x = images(shape, dtype)
    plan, early = planned(x, pixels, lower, upper, step), np.zeros(128 * pixels, np.uint8)
    out = copy(probes, x, plan, first, offset, early)
    np.testing.assert_array_equal(out, swizzled(pixels_of(x, plan, first, offset)))
    assert cpu.elsewhere or (early == 0xFF).all()


@pytest.mark.parametrize(
    ("batch", "first", "expected"),
    [
        (1, (0, -1, -1, 0), [0, 0, 0, 0, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11]),
        (2, (0, 2, 1, 0), [7, 0, 9, 10, 11, 0, 0, 0, 0, 0, 17, 18, 19, 0, 21, 22]),
    ],
)
def test_what_hopper_has_answered(probes, batch, first, expected):
    """Results of Triton's tutorial on im2col, whose tests run on Hopper: 4x4 pixels, corners -1."""
    x = np.repeat(np.arange(1, 16 * batch + 1, dtype=np.float32), 32).reshape(batch, 4, 4, 32)
    x = images(x.shape, np.float32) * 0 + x
    out = copy(probes, x, planned(x, 16, (-1, -1), (-1, -1)), first, (0, 0))
    rows = swizzled(out.reshape(16, 128)).view(np.float32).reshape(16, 32)  # a swizzle twice is none
    np.testing.assert_array_equal(rows, np.repeat(expected, 32).reshape(16, 32))


def test_a_convolution_tap_by_tap(probes):
    """All taps of all windows of a dilated 3x3 with strides and padding: columns of the reference."""
    window = Window((3, 2), stride=(2, 3), padding=(3, 1), dilation=(2, 1))
    x = images((2, 7, 8, 32), np.float32)
    oh, ow = window.output((7, 8))
    plan = planned(x, 2 * oh * ow, (-1, -3), (1 - 1, 3 - 4), (3, 2))
    taps = [copy(probes, x, plan, (0, -1, -3, 0), (kw, 2 * kh)) for kh in range(3) for kw in range(2)]
    rows = [swizzled(tap.reshape(-1, 128)).view(np.float32).reshape(-1, 32) for tap in taps]
    w = np.random.default_rng(0).standard_normal((3, 2, 32, 5)).astype(np.float32)
    y = np.empty((2, oh, ow, 5), np.float32)
    Im2col(window, (7, 8), 1).run(np.ascontiguousarray(x), w, None, y)
    found = sum(row.astype(float) @ tap for row, tap in zip(rows, w.reshape(6, 32, 5).astype(float)))
    np.testing.assert_allclose(found, y.reshape(-1, 5), rtol=1e-4, atol=1)


def test_multicast_of_pixels(probes):
    x = images((1, 6, 7, 64), np.uint16)
    plan = planned(x, 16, (-1, -1), (-1, -1))
    out = np.zeros((2, 16 * 128), np.uint8)
    launch(probes, "copy_pixels_to_both", gemm.shim_im2col_map(plan), 0, 1, 16 * 128, out, blocks=2, memory=[x])
    for block in out:
        np.testing.assert_array_equal(block, swizzled(pixels_of(x, plan, (0, 0, 1, 0), (1, 2))))


@pytest.mark.shim
@pytest.mark.parametrize(
    ("first", "offset", "change", "message"),
    [
        ((0, -2, 0, 0), (0, 0), {}, "outside of its bounding box"),
        ((0, 5, 0, 0), (0, 0), {}, "outside of its bounding box"),
        ((0, 0, 0, 0), (256, 0), {}, "not from 0 to 255"),
        ((0, 0, 0, 0), (0, 0), {"im2col": 0}, "by a tiled map"),
        ((0, 0, 0, 0), (0, 0), {"step": (1, 9)}, "would refuse"),
        ((0, 0, 0, 0), (0, 0), {"upper": (-7, 0)}, "would refuse"),
    ],
)
def test_misused_copies_fail(probes, first, offset, change, message):
    x = images((1, 6, 6, 64), np.uint16)
    record = gemm.shim_im2col_map(planned(x, 16, (-1, -1), (-1, -1)))
    for name, value in change.items():
        record[name] = value
    with pytest.raises(cpu.Launch, match=message):
        launch(probes, "copy_pixels", record, *first, *offset, 2048, np.zeros(2048, np.uint8), np.zeros(2048, np.uint8))
