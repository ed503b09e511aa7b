"""Laws of scaling and their fits: known serial fractions, exact and with noise; cases, parts and predictions."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpitrain.collectives.price import Calibration, load_calibration
from mpitrain.errors import UserError
from mpitrain.scaling import laws, measured, predict, study
from mpitrain.scaling.laws import LAWS, amdahl, fit, gustafson, student
from mpitrain.scaling.measured import Case, Parts, typical_parts
from mpitrain.scaling.predict import exposed, price_messages, price_shared, wait_for_last
from mpitrain.scaling.study import make_plan, read_ranks
from mpitrain.scaling.words import explain, say_fit

from ..scaling import made_study


def seconds_of(law, serial, first, ranks):
    """Return the seconds of a step by the definition of each law's speed-up."""
    if law == "Amdahl":
        return [first * (serial + (1 - serial) / n) for n in ranks]
    return [first * n / (serial + (1 - serial) * n) for n in ranks]


@pytest.mark.parametrize("module", [laws, predict, study])
def test_examples(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("law", ["Amdahl", "Gustafson"])
@given(
    serial=st.floats(0.0, 0.99),
    first=st.floats(1e-6, 1e3),
    ranks=st.lists(st.integers(1, 4096), min_size=2, max_size=8, unique=True),
)
def test_exact_times_give_the_exact_fraction(law, serial, first, ranks):
    found = fit(law, ranks, seconds_of(law, serial, first, ranks))
    tolerance = 1e-9 * max(ranks) ** 2
    assert found.serial == pytest.approx(serial, abs=tolerance)
    assert found.first == pytest.approx(first, rel=tolerance)
    assert (found.error is None) == (len(ranks) == 2)
    if found.error is not None:
        assert found.error <= tolerance


@pytest.mark.parametrize("law", ["Amdahl", "Gustafson"])
def test_the_interval_holds_the_fraction_as_often_as_it_says(law):
    rng, ranks, inside = np.random.default_rng(7), [1, 2, 4, 8] * 3, 0
    exact = np.array(seconds_of(law, 0.2, 0.01, ranks))
    for _ in range(400):
        low, high = fit(law, ranks, exact * (1 + 0.03 * rng.standard_normal(len(ranks)))).interval()
        inside += low <= 0.2 <= high
    assert 0.92 < inside / 400 < 0.98


def test_the_error_shrinks_with_more_trainings_and_grows_with_noise():
    def error(repeat, noise):
        rng, ranks = np.random.default_rng(3), [1, 2, 4] * repeat
        return fit("Amdahl", ranks, np.array(seconds_of("Amdahl", 0.1, 1.0, ranks)) * (
            1 + noise * rng.standard_normal(len(ranks)))).error  # fmt: skip

    assert error(100, 0.02) < 0.3 * error(3, 0.02)
    assert error(10, 0.04) == pytest.approx(2 * error(10, 0.02), rel=0.1)


def test_laws_at_their_limits():
    assert amdahl(0.25, 1e12) == pytest.approx(4)
    assert amdahl(1.0, 64) == gustafson(1.0, 64) == 1.0
    found = fit("Amdahl", [1, 2, 4, 8], [1.0, 0.45, 0.2, 0.1])  # faster than as many ranks
    assert found.serial < 0
    assert found.speedup(1000) == 1000
    slower = fit("Amdahl", [1, 2, 4], [1.0, 1.5, 2.0])
    assert not slower.holds
    assert "does not hold" in say_fit(slower)


def test_bands_hold_the_law_and_grow():
    ranks = [1, 2, 4] * 3
    rng = np.random.default_rng(5)
    for law in LAWS:
        exact = np.array(seconds_of(law, 0.1, 1.0, ranks))
        found = fit(law, ranks, exact * (1 + 0.02 * rng.standard_normal(9)))
        widths = []
        for n in (8, 64, 512):
            low, high = found.band(n)
            assert low < found.speedup(n) < high
            widths.append(high - low)
        assert widths == sorted(widths)


def test_students_quantile():
    """Table of Student's distribution, 97.5%."""
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 6: 2.447, 8: 2.306, 15: 2.131, 30: 2.042, 120: 1.980}
    for freedom, value in table.items():
        assert student(freedom) == pytest.approx(value, rel=0.01)


def test_one_number_of_ranks_has_no_law():
    with pytest.raises(ValueError, match="two different numbers"):
        fit("Amdahl", [2, 2, 2], [1.0, 1.1, 1.0])
    assert made_study(lambda n, b: 1.0, ranks=(2,)).fit is None


def test_waiting_is_what_others_spend_beyond_the_last_rank():
    steps = np.zeros((2, 8, 4))
    steps[0, :, 0], steps[1, :, 0] = 1.0, 3.0
    steps[0, :, 3], steps[1, :, 3] = 2.5, 0.5  # rank 0 waits for two seconds
    found = typical_parts(steps)
    assert found == Parts(compute=2.0, input=0.0, waiting=1.0, messages=0.5)
    assert found.total == 3.5
    assert found.share("messages") == pytest.approx(1 / 7)


def test_slow_and_fast_steps_do_not_count():
    steps = np.zeros((1, 8, 4))
    steps[0, :, 0] = [9.0, 0.1, 1.0, 1.0, 1.2, 1.2, 100.0, 0.2]
    assert typical_parts(steps).compute == pytest.approx(1.1)


def test_plans():
    plan = make_plan([1, 2, 3], 64, threads=2, cores=8, weak=False, alone=True, compare_threads=True)
    assert plan.scaling == (Case(1, 2, 64), Case(2, 2, 64), Case(3, 2, 64))
    assert plan.alone == {Case(2, 2, 64): Case(1, 2, 32), Case(3, 2, 64): Case(1, 2, 22)}
    assert plan.threads == (Case(1, 6, 64), Case(2, 3, 64), Case(3, 2, 64), Case(6, 1, 64))
    assert len(plan.cases) == len(set(plan.cases)) == 8
    weak = make_plan([1, 4], 64, threads=1, cores=2, weak=True, alone=True, compare_threads=False)
    assert weak.cases == [Case(1, 1, 64), Case(4, 1, 256)]
    assert weak.alone == {Case(4, 1, 256): Case(1, 1, 64)}
    assert not make_plan([1, 4], 64, threads=1, cores=2, weak=True, alone=False, compare_threads=False).alone


@pytest.mark.parametrize("text", ["0", "1,,2", "1,-2", "two", "1.5", "²"])
def test_ranks_that_are_none(text):
    with pytest.raises(UserError, match="must be numbers of ranks from 1"):
        read_ranks(text)


def test_ranks_by_default(monkeypatch):
    monkeypatch.setattr(study, "num_cores", lambda: 6)
    assert read_ranks("") == [1, 2, 4]
    assert read_ranks("8,2,2") == [2, 8]


def test_the_law_is_fitted_to_ranks_with_a_core_each():
    def step(n, samples):
        return 1e-3 * (0.1 + 0.9 / min(n, 4)) * samples / 64

    found = made_study(step, ranks=(1, 2, 4, 8), drift=0.001)  # 4 cores
    assert [one.case.ranks for one in found.fitted] == [1, 2, 4]
    assert found.fit.serial == pytest.approx(0.1, abs=0.01)
    assert found.further() == [16, 32, 64]
    assert found.further(20) == [16, 20]
    assert found.efficiency(found.scaling[2]) == pytest.approx(1 / (0.1 * 4 + 0.9), rel=0.01)
    crowded = made_study(step, ranks=(4, 8))
    assert [one.case.ranks for one in crowded.fitted] == [4, 8]


def test_weak_scaling_counts_samples():
    found = made_study(lambda n, samples: samples / 64 / (0.2 + 0.8 * n), weak=True)
    assert found.speedup(found.scaling[2]) == pytest.approx(0.2 + 0.8 * 4)
    assert found.fit.law == "Gustafson"
    assert found.fit.serial == pytest.approx(0.2, abs=1e-6)
    assert found.fit.seconds(16) == pytest.approx(16 / (0.2 + 0.8 * 16), rel=1e-6)


def test_waits_are_those_of_the_largest_of_some():
    rng = np.random.default_rng(2)
    own = (1 + rng.exponential(0.1, 4000)).tolist()
    for ranks in (2, 4, 8):
        drawn = np.median(rng.choice(own, (4000, ranks)).max(axis=1)) - np.median(own)
        assert wait_for_last(own, ranks) == pytest.approx(drawn, rel=0.1)
    assert wait_for_last([1.0] * 50, 8) == wait_for_last([1.0], 8) == 0.0


def test_what_backward_hides():
    assert exposed([2.0, 2.0], [1.0, 3.0], backward=8.0) == 2.0  # only the last bucket, ready at the end
    assert exposed([8.0, 2.0], [1.0, 3.0], backward=8.0) == 4.0  # the first begins at 2 and lasts until 10
    assert exposed([1.0], [1.0], backward=0.0) == 1.0


def test_a_step_is_predicted_from_one_rank_and_prices():
    machine = Calibration.line(alpha=1e-5, beta=1e-9, gamma=0.0)
    found = made_study(lambda n, samples: 1e-3 * samples / 64, ranks=(1, 2, 4), calibration=machine)
    case = found.plan.scaling[2]
    parts = found.predictions[case].parts
    assert parts.compute == pytest.approx(1e-3 / 4)
    assert parts.messages == pytest.approx(6 * (1e-5 + (1 << 18) * 1e-9), rel=0.01)  # a ring has 2 (P - 1) steps
    assert found.predictions[case].reason == ""


def test_sums_of_batch_statistics_have_a_price():
    machine = Calibration.line(alpha=1e-5, beta=0.0, gamma=0.0)
    made = [
        made_study(lambda n, samples: 1e-3, ranks=(1, 2), calibration=machine, statistics=lengths)
        for lengths in ([], [136, 136, 136])
    ]
    without, with_them = (one.predictions[one.plan.scaling[1]].parts.messages for one in made)
    assert with_them - without == pytest.approx(3e-5)


def test_the_update_is_divided_where_it_is_sharded():
    found = made_study(
        lambda n, samples: 1e-3 * samples / 64, ranks=(1, 2), sharded=True, algorithms=["shared"], update=1e-4,
        calibration=Calibration.line(0.0, 0.0, 0.0),
    )  # fmt: skip
    parts = found.predictions[found.plan.scaling[1]].parts
    assert parts.compute == pytest.approx(5e-4 - 1e-4)
    assert parts.messages == pytest.approx(5e-5)


def test_the_price_of_shared_memory():
    machine = Calibration.line(alpha=1e-6, beta=0.0, gamma=1e-9)
    bare = price_shared(4, 4e6, machine)
    assert bare == pytest.approx(3 * 1e6 * 1e-9 + 2e-6 + 2e-6, rel=0.1)  # sums, barriers, a small all-reduce
    assert price_shared(8, 4e6, machine) > bare


def test_no_price_where_ranks_outnumber_cores():
    found = made_study(lambda n, samples: 1e-3 * samples / 64, ranks=(2, 8), calibration=load_calibration())
    prediction = found.predictions[found.plan.scaling[1]]
    assert "outnumber cores" in prediction.reason
    assert prediction.parts.compute == pytest.approx(2 * 1e-3 / 8)  # they take turns on 4 cores
    assert prediction.parts.messages == 0.0


def test_threads_count_as_ranks_do():
    found = made_study(lambda n, samples: 1e-3 * samples / 64, ranks=(1, 2, 4), threads=2)  # on 4 cores
    assert [one.oversubscribed for one in found.scaling] == [False, False, True]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"unpriced": "messages with --sync local have no price"}, "--sync local"),
        ({"algorithms": ["no_such.py:ring"]}, "no_such.py:ring has no price"),
    ],
)
def test_exchanges_without_a_price(facts, reason):
    found = made_study(lambda n, samples: 1e-3, ranks=(1, 2), calibration=load_calibration(), **facts)
    seconds, said = price_messages(found.scaling[1], found.calibration, 1e-3)
    assert (seconds, reason in said) == (0.0, True)


@pytest.mark.parametrize(
    ("parts", "words_of_it"),
    [
        (Parts(1.0, 0.0, 0.05, 0.1), "as predicted, to 1%"),
        (Parts(1.5, 0.0, 0.05, 0.1), "computing takes 1.5 s, and one rank alone predicts 1 s (ranks share"),
        (
            Parts(1.0, 0.0, 0.55, 0.1),
            "wait for each other for 550 ms a step, predicted are 50 ms (some ranks are slower",
        ),
        (Parts(1.0, 0.0, 0.05, 0.6), "messages take 600 ms, and their price is 100 ms (ranks may lose their cores"),
        (Parts(1.0, 0.0, 0.05, 0.28), "messages take 280 ms, and their price is 100 ms"),
        (Parts(1.0, 0.5, 0.05, 0.1), "is a wait for input"),
        (Parts(0.5, 0.0, 0.05, 0.1), "computing takes 500 ms, and one rank alone predicts 1 s"),
    ],
)
def test_differences_in_words(parts, words_of_it):
    one = made_study(lambda n, samples: 1.0, ranks=(2,)).scaling[0]
    one = measured.Measured(one.case, parts, one.seconds, one.own, one.facts)
    said = explain(one, predict.Prediction(Parts(1.0, 0.0, 0.05, 0.1)))
    assert said.startswith("2 ranks: ")
    assert words_of_it in said


def test_fits_in_words():
    assert say_fit(fit("Amdahl", [1, 2, 4], [1.0, 0.6, 0.4])) == (
        "Amdahl's law: serial fraction 20.0% ± 0.0%: at most 5 times as fast on any number of ranks"
    )
    assert "each further rank adds 80% of the first" in say_fit(fit("Gustafson", [1, 2, 4], [1.0, 2 / 1.8, 4 / 3.4]))
    assert "of unknown error" in say_fit(fit("Amdahl", [1, 2], [1.0, 0.6]))
    assert "or more" in say_fit(fit("Amdahl", [1, 2, 4], [1.0, 0.4, 0.19]))
