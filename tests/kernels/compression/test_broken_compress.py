"""Mistakes in copies of the codecs' kernels are found by what tests them."""

import functools
import itertools

import numpy as np
import pytest

from tests.kernels import cpu
from tests.kernels.apart import survives
from tests.kernels.arrays import i32, launch
from tests.kernels.compression import codecs

# the first test waits for all builds
pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(600)]

CODECS = {
    "ties of bf16 away from zero": ("bf16", "0x7FFF + (bits >> 16 & 1)", "0x8000"),
    "an error of bf16 not added": ("bf16", "u.at[j] = rounded_sum(u.at[j], rounded_product(inject_, error.at[j]))", ""),
    "half of a warp not asked": ("int8", "16; apart > 0; apart /= 2) x = max", "8; apart > 0; apart /= 2) x = max"),
    "ties of int8 away from zero": ("int8", "rintf(", "roundf("),
    "a block shorter than its payload": ("int8", "i < block; i += TURN", "i < length; i += TURN"),
    "the scale of int8 inverted": ("int8", "rounded_product(rounded, scale)", "rounded_product(rounded, factor)"),
    "an error replaced on a rank without samples": ("fp16", "rounded_product(keep, error)", "0"),
    "a rest that is not finite": ("fp16", "is_finite(rest) ? rest : 0", "rest"),
    "the largest not looked at": ("fp16", "is_finite(largest) && largest >= LEAST_SCALED", "true"),
    "words of signs swapped": ("sign", "to[1 + j] = words[j]", "to[1 + j] = words[j ^ 1]"),
    "the mean of a whole block": ("sign", "/ length", "/ BLOCK"),
}  # fmt: skip

PLACES = {
    "no barrier after clearing": ("[i % BINS] = 0;\n  __syncthreads();", "[i % BINS] = 0;"),
    "no barrier before adding up": ("  });\n  __syncthreads();", "  });"),
    "no barrier between tiles": ("    __syncthreads();  // before", "    // before"),
    "no barrier in a scan": ("  __syncthreads();\n  Scanned", "  Scanned"),
    "bins not cleared": ("bins[i] = 0;", ";"),
    "one equal number too many": ("same++ < wanted", "same++ <= wanted"),
    "equal numbers from the back": ("places[more++ + min(same, wanted)]", "places[more++]"),
    "a tile that forgets those before it": ("    equal += scanned.total >> 16;", ""),
    "other digits counted too": ("magnitude >> (shift + bits) == prefix", "true"),
    "a digit too low": ("      if (bin == top - i && above + counts[i] < wanted) {", "      if (false) {"),
}  # fmt: skip


def edit(right, wrong, text):
    return text.replace(right, wrong)


def broken(file, right, wrong):
    return cpu.build(file, functools.partial(edit, right, wrong))


@pytest.fixture(scope="module", autouse=True)
def built_two_at_a_time():
    jobs = [functools.partial(broken, f"compress_{codec}.cu", *text) for codec, *text in CODECS.values()]
    cpu.build_ahead([*jobs, *(functools.partial(broken, "largest_places.cu", *text) for text in PLACES.values())])


def is_right(kernels, codec, kind, n, feedback):
    """Return whether a codec has the bits of its oracle (the scales of signs: nearly)."""
    x, before = codecs.numbers(kind, n, 1), codecs.numbers("normal", n * feedback, 2)
    error, kept, y, decoded = before.copy(), before.copy(), np.zeros(n, np.float32), np.zeros(n, np.float32)
    message, expected = (np.full(codecs.message_bytes(codec, n), 255, np.uint8) for _ in range(2))
    codecs.encode(kernels, codec, x, error, message, seed=1)
    codecs.oracle(f"encode_{codec}", x, kept, expected, *codecs.FACTORS, *codecs.options(codec))
    codecs.decode(kernels, codec, message, y, False, seed=1)
    codecs.oracle(f"decode_{codec}", expected, decoded, False, *codecs.options(codec))
    if codec != "sign":
        return all(np.array_equal(*pair, equal_nan=True) for pair in ((message, expected), (error, kept), (y, decoded)))
    return all(np.allclose(*pair, rtol=1e-5, atol=1e-5, equal_nan=True) for pair in ((error, kept), (y, decoded)))


CASES = list(itertools.product(("normal", "ties", "bad", "denormals"), (65, 1000), (False, True)))


@pytest.mark.parametrize("codec", codecs.BLOCKS)
def test_what_is_broken_was_right(codec):
    kernels = cpu.build(f"compress_{codec}.cu")
    assert all(is_right(kernels, codec, *case) for case in CASES)


@pytest.mark.parametrize("mistake", CODECS)
def test_broken_codec_is_found(mistake):
    codec, right, wrong = CODECS[mistake]
    kernels = broken(f"compress_{codec}.cu", right, wrong)
    assert not all(is_right(kernels, codec, *case) for case in CASES)


def chooses(kernels):
    """Return whether the choice is that of the oracle, and nothing is written behind it."""
    falling = np.sort(np.abs(codecs.numbers("ties", 5000, 1)))[::-1].copy()  # nothing hides what is written last
    cases = (codecs.numbers("ties", 5000, 1), 700), (codecs.numbers("ties", 5000, 1), 2000), (falling, 700)
    for u, k in (*cases, (codecs.numbers("normal", 3000, 1), 100)):
        places, expected = np.full(k + 8, -1, np.int64), np.empty(k, np.int64)
        codecs.largest(kernels, u, places[:k], parts=2, seed=1)
        codecs.oracle("largest_places", u, expected)
        if not np.array_equal(places, [*expected, *[-1] * 8]):
            return False
    return True


@pytest.mark.parametrize("mistake", PLACES)
def test_broken_choice_is_found(mistake):
    assert chooses(cpu.build("largest_places.cu"))
    kernels = broken("largest_places.cu", *PLACES[mistake])
    assert not survives(lambda: chooses(kernels))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("  __syncthreads();\n  x = warp_sum(parts", "  x = warp_sum(parts"),
        ("turn < 2 * k", "turn < k - 1"),
        ("norm <= LEAST_NORM * before", "false"),
    ],
)
def test_broken_columns_are_found(right, wrong):
    columns = np.random.default_rng(0).standard_normal((2000, 3)).astype(np.float32)
    columns[:, 2] = columns[:, 0] - 3 * columns[:, 1]
    found, done, expected = columns.copy(), np.zeros((3, 2000)), columns.copy()
    kernels = broken("orthonormalize.cu", right, wrong)
    launch(kernels, "orthonormalize", found, done, i32(2000), i32(3), grid=1, block=1024, seed=1)
    codecs.oracle("orthonormalize", expected)
    assert not np.allclose(found, expected, rtol=0, atol=1e-6)
