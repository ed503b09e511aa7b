import numpy as np

from mpitrain.data.rng import GAMMA, ORDER, _mix, random_bits, random_order


def test_the_published_numbers():
    """The first numbers of SplitMix64 from the seed 1234567, as in its reference implementation."""
    states = np.uint64(1234567) + np.arange(1, 4, dtype=np.uint64) * GAMMA
    assert _mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_bits_belong_to_the_counter_and_every_word_of_the_key():
    bits = random_bits(np.arange(100), 1, ORDER, 2)
    np.testing.assert_array_equal(random_bits(np.arange(50, 100), 1, ORDER, 2), bits[50:])
    for key in ((2, ORDER, 2), (1, ORDER + 1, 2), (1, ORDER, 3), (2, ORDER, 1), (1, ORDER)):
        assert not np.intersect1d(random_bits(np.arange(100), *key), bits).size


def test_seeds_of_any_size():
    for seed in (-1, 0, 2**64 - 1, 2**70):
        np.testing.assert_array_equal(np.sort(random_order(9, seed, ORDER)), np.arange(9))


def test_bits_are_even():
    bits = random_bits(np.arange(20_000), 1, ORDER, 0)
    ones = [np.mean(bits >> np.uint64(k) & np.uint64(1)) for k in range(64)]
    np.testing.assert_allclose(ones, 0.5, atol=0.02)
