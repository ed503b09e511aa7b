import pytest

from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.convolutions import depthwise
from tests.kernels.convolutions.depthwise import Case

pytestmark = cpu.needs_gxx

SAME = Window((3, 3), padding=(1, 1))
CASES = [  # lines that fill strips and that do not, channels beyond one block, windows wider than images
    Case(SAME, (9, 7), 36, kernel=3),
    Case(Window((3, 3), (2, 2), (1, 1)), (10, 9), 8, kernel=3, bf16=1, bias=False),
    Case(Window((5, 5), padding=(2, 0)), (6, 8), 12, images=3, kernel=5, bf16=1),
    Case(Window((5, 5), (2, 2), (2, 2)), (9, 12), 4, kernel=5),
    Case(SAME, (1, 2), 4, images=5, kernel=3),
    Case(Window((3, 2), (2, 3), (2, 1), (3, 2)), (9, 12), 7),
    Case(Window((4, 3), (1, 1), (4, 0)), (5, 6), 10, bf16=1),
    Case(Window((1, 1), (2, 2)), (5, 5), 33, bias=False),
    Case(Window((5, 5), padding=(2, 2)), (7, 11), 44, kernel=5),
    Case(Window((3, 3), padding=(0, 2)), (11, 3), 8, kernel=3, bf16=1),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_y(case):
    depthwise.forward(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_dx(case):
    """Flipped filters need a stride of 1."""
    depthwise.dx(case if case.window.stride == (1, 1) else Case(case.window, case.size, case.channels, bf16=case.bf16))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("parts", "lines"), [(1, 99), (3, 2)])
def test_dw(case, parts, lines):
    depthwise.dw(case, parts, lines)


PLAIN, ANY = Case(SAME, (9, 7), 40, kernel=3), Case(CASES[5].window, (9, 12), 7)
BROKEN = [
    (depthwise.forward, PLAIN, "i - r * STRIDE < KERNEL)", "i - r * STRIDE < KERNEL - 1)"),
    (depthwise.forward, PLAIN, "top = strip * ROWS * STRIDE - window.padding[0]", "top = strip * ROWS * STRIDE"),
    (depthwise.forward, PLAIN, "unsigned(first + kw) < unsigned(window.width)", "true"),
    (
        depthwise.forward,
        PLAIN,
        "if (strip * ROWS + r < window.out_height)",
        "if (strip * ROWS + r + 1 < window.out_height)",
    ),
    (depthwise.forward, ANY, "kh * window.kernel[1] + kw, taps", "kw * window.kernel[0] + kh, taps"),
    (depthwise.forward, ANY, "v += window.dilation[1]", "v += 1"),
    (depthwise.dx, PLAIN, "FLIP ? taps - 1 - number : number", "number"),
    (depthwise.dx, ANY, "kw += window.tap_step[1], ow -= window.out_step[1]", "kw += 1, ow -= 1"),
    (depthwise.dw, ANY, "    __syncthreads();\n    if (threadIdx.y == 0", "    if (threadIdx.y == 0"),
    (depthwise.dw, ANY, "ow = threadIdx.y; ow < window.out_width", "ow = threadIdx.y; ow + 1 < window.out_width"),
    (depthwise.dw, ANY, "first = at.remainder * height", "first = 0"),
    (depthwise.dw, ANY, "w[t] = tap.remainder * window.dilation[1]", "w[t] = tap.remainder"),
    (depthwise.dw, PLAIN, "slopes[(i - kh + KERNEL) % KERNEL]", "slopes[(i + kh) % KERNEL]"),
    (depthwise.dw, PLAIN, "turn < lines + KERNEL - 1; turn", "turn < lines; turn"),
    (depthwise.dw, PLAIN, "line < lines, PIECE", "first + line < window.out_height, PIECE"),
    (depthwise.dw, PLAIN, "top = first - window.padding[0]", "top = first"),
    (depthwise.dw, PLAIN, "is_line && unsigned(left + kw) < unsigned(window.width)", "is_line"),
    (depthwise.dw, PLAIN, "KERNEL > 0 ? count > 0", "KERNEL > 0 ? count > PIECE"),
]


@pytest.mark.slow
@pytest.mark.shim
@pytest.mark.parametrize(("run", "case", "right", "wrong"), BROKEN)
def test_mistakes_are_found(run, case, right, wrong):
    run(case)
    with pytest.raises((AssertionError, cpu.Launch)):
        run(case, edit=lambda text: text.replace(right, wrong))
