"""Decision of the shares: simulated ranks with known speeds, noise and drift."""

import math
import random
from statistics import median

import pytest

from mpitrain.data.sampler import divide
from mpitrain.parallel.balance import Balancer, Change, SpeedModel, Window, level

STEPS = 8  # of a window


class Job:
    """Ranks whose own work takes fixed + each * n seconds, with noise in each step.

    Parameters
    ----------
    each, fixed : sequence of float
    noise : float
        Standard deviation of the logarithm of a time.
    """

    def __init__(self, each, fixed=None, *, samples=256, noise=0.0, exchange=0.0, seed=0):
        self.each, self.fixed = list(each), list(fixed or [0.0] * len(each))
        self.samples, self.noise, self.exchange = samples, noise, exchange
        self.random = random.Random(seed)
        self.balancer = Balancer(len(self.each))
        self.numbers = divide(samples, [1.0] * len(self.each))
        self.most = [math.inf] * len(self.each)
        self.seconds = self.own(self.numbers)

    def own(self, numbers):
        """Times of one step, without noise."""
        return [f + e * n for f, e, n in zip(self.fixed, self.each, numbers)]

    def window(self):
        """Return the measurements of the next window."""
        steps = []
        for _ in range(STEPS):
            steps.append([t * math.exp(self.random.gauss(0, self.noise)) for t in self.own(self.numbers)])
        medians = [median(times) for times in zip(*steps)]
        spread = [median(abs(t - m) for t in times) for times, m in zip(zip(*steps), medians)]
        errors = [1.4826 * 1.2533 * s / max(m, 1e-9) / math.sqrt(STEPS) for s, m in zip(spread, medians)]
        whole = median(max(times) for times in steps) + self.exchange
        return Window(self.numbers, medians, errors, self.most, whole, self.samples)

    def run(self, windows):
        """Run some windows; return the changes in them."""
        before = len(self.balancer.changes)
        for _ in range(windows):
            change = self.balancer.observe(self.window())
            if change is not None:
                self.numbers = divide(self.samples, change.weights)
        return self.balancer.changes[before:]

    def excess(self):
        """Return how much longer a step takes than with the best shares."""
        models = [SpeedModel(f, e) for f, e in zip(self.fixed, self.each)]
        best = level(models, self.samples, 0, [self.samples] * len(models))
        return max(self.own(self.numbers)) / max(self.own(best)) - 1


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("slowness", [2, 4])
@pytest.mark.parametrize("ranks", [2, 3, 4, 17])
def test_a_slow_rank_is_found_at_once(ranks, slowness, noise):
    """Within a window, or two with much noise; from then on steps are near the best, with few changes."""
    job = Job([1e-3] * (ranks - 1) + [slowness * 1e-3], noise=noise)
    changes = job.run(1 if noise < 0.1 else 3)
    assert changes
    assert changes[0].rank == ranks - 1
    assert changes[0].slowness == pytest.approx(slowness, rel=0.01 if noise == 0 else 0.3)
    more = job.run(50)
    assert job.excess() < 0.1
    assert len(more) <= 3
    for change in (*changes, *more):
        assert sum(change.weights) == pytest.approx(1)


@pytest.mark.parametrize("fixed", [0.02, 0.2])
def test_fixed_work_does_not_fool_it(fixed):
    """Part of the time does not depend on the share, for one rank more than for the others: the fit finds that."""
    job = Job([1e-3, 1e-3, 2e-3], [fixed / 4, fixed, fixed / 2])
    job.run(20)
    assert job.excess() < 0.07
    assert len(job.balancer.changes) <= 4


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_equal_ranks_stay_equal(ranks, noise):
    jobs = [Job([1e-3] * ranks, noise=noise, samples=8 * ranks, seed=seed) for seed in range(5)]
    changes = [len(job.run(100)) for job in jobs]
    assert sum(changes) <= (0 if noise <= 0.05 else 5), changes


def test_no_change_for_little():
    job = Job([1e-3, 1e-3, 1.07e-3])
    assert job.run(20) == []
    assert Job([1e-3, 2e-3], exchange=5.0).run(20) == [], "messages take nearly all of the step"
    assert Job([1e-3, 2e-3], samples=2).run(20) == [], "one sample each cannot be divided"
    assert Job([1e-3] * 3, samples=2).run(20) == [], "a rank without samples is not measured"


@pytest.mark.parametrize("slowness", [2, 4])
def test_a_rank_that_slows_down_and_recovers(slowness):
    job = Job([1e-3] * 4, noise=0.03)
    assert job.run(10) == []
    job.each[2] *= slowness
    assert len(job.run(1)) == 1
    job.run(4)
    assert job.excess() < 0.1
    job.each[2] /= slowness
    assert len(job.run(2)) >= 1
    job.run(4)
    assert job.excess() < 0.1
    assert len(job.balancer.changes) <= 5


def test_a_drifting_speed_is_followed():
    """A rank becomes slower by 1% a window, to four times: steps stay near the best, in changes of more than 5%."""
    job, worst = Job([1e-3] * 4, noise=0.02), 0.0
    for _ in range(140):
        job.each[1] *= 1.01
        job.run(1)
        worst = max(worst, job.excess())
    assert worst < 0.2
    assert len(job.balancer.changes) <= 25


@pytest.mark.parametrize("longest", [1, 3, 8])
def test_bursts_are_not_chased(longest):
    """Ranks are slow for some windows each, at random, as on shared cores: few changes, and no great loss by them."""
    job, pick, until = Job([1e-3] * 8, noise=0.1), random.Random(1), [0] * 8
    took = equal = 0.0
    for window in range(1000):
        for rank in range(8):
            if until[rank] <= window:
                slow = pick.random() < 0.03
                job.each[rank] = 3e-3 if slow else 1e-3
                until[rank] = window + slow * pick.randint(1, longest)
        took, equal = took + max(job.own(job.numbers)), equal + max(job.own([32] * 8))
        job.run(1)
    assert len(job.balancer.changes) <= 40
    assert took < 1.1 * equal


def test_a_speed_that_alternates_is_not_chased():
    """Every other window another rank is slow: what was taken back soon is not done again soon."""
    job, at = Job([1e-3] * 2), []
    for window in range(2000):
        slow = window // 2 % 2
        job.own = lambda numbers, slow=slow: [0.2 if rank == slow else 0.1 for rank in range(2)]
        at += [window] * len(job.run(1))
    assert 1 <= len(at) <= 5


def test_memory_is_a_bound():
    job = Job([1e-3, 1e-3, 10e-3])
    job.most = [90.0, math.inf, math.inf]
    [change] = job.run(1)
    assert job.numbers[0] <= 90
    assert job.numbers[1] > 120
    assert change.limited == (0,)
    assert "; memory limits rank 0;" in change.say("rank {}".format)


def test_no_rank_is_left_without_samples():
    job = Job([1e-3, 1e-3, 1.0], samples=64)
    job.run(5)
    assert job.numbers == [31, 32, 1] or job.numbers == [32, 31, 1]
    job.each[2] = 1e-3
    job.run(20)
    assert job.excess() < 0.1, "it is measured with one sample, and found to be fast again"


def test_the_sentence():
    change = Change((0.28, 0.28, 0.28, 0.16), (0.25,) * 4, 0.32, 3, 1.9, (), 1.0)
    said = change.say("rank {}".format)
    assert said == (
        "rank 3 takes 16% of each batch instead of 25%: its work on a sample takes 1.9 times as long as the others'; "
        "steps should be 32% shorter"
    )
    again = Change((0.5, 0.5), (0.8, 0.2), 0.3, 1, 1.01, (), 1.0, [0.6, 0.7, 0.5])
    assert "its work on a sample takes equally long;" in again.say("rank {}".format)
    assert again.measured_gain == pytest.approx(0.4)
    assert change.measured_gain is None
