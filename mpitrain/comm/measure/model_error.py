"""Prediction errors of the price model, measured together with the all-reduces.

A machine's speed may change from one second to the next (other guests, frequency, placement of cores), by more than the
model's error. So messages are measured right before and after the all-reduces of one length, in a fraction of a second,
predictions are made from those, and errors are computed within such a trial: the result is the median over the trials.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...collectives.price import Calibration, predict
from ..world import World
from .bench import Row, SizeBenchmark, rows_of
from .calibrate import Calibrator
from .stages import Silent, Stages

PASSES = 9
SHORTEST = 4  # bytes
FRACTIONS = (32, 16, 8, 4, 2, 1)  # of a buffer: lengths of messages
MEDIAN = 0.5
REPEATS = 3
LONG = 1 << 20  # bytes from which one repeat is enough
UNPRICED = ("native", "auto", "shared")


@dataclass(frozen=True)
class PredictionError:
    """Prediction for one algorithm and length in microseconds, and its relative error (0.1: 10 % too long)."""

    us: float
    error: float


Predictions = dict[tuple[str, int], PredictionError]


def bench_with_predictions(
    world: World, algorithms: Sequence[str], sizes: Sequence[int], *, stages: Stages | None = None
) -> tuple[list[Row], Predictions]:
    """Measure like ``bench`` and predict at the same time; the predictions are on rank 0 only.

    There are no predictions where ranks outnumber cores, since the model does not apply.
    """
    calibrator = Calibrator(world)
    benchmarks = [SizeBenchmark(world, algorithms, n) for n in sizes]
    trials: list[tuple[int, Calibration, dict[str, float]]] = []
    stages = stages or Silent()
    stages.begin(f"{len(benchmarks)} lengths in {PASSES} passes, messages in between", PASSES * len(benchmarks))
    for _ in range(PASSES):
        for benchmark in benchmarks:
            n = benchmark.num_bytes
            calibrator.restart(messages_of(n))
            _repeat(calibrator, n)
            seconds = benchmark.measure()
            _repeat(calibrator, n)
            trials.append((n, calibrator.result(MEDIAN), seconds))
            stages.step()
    if world.oversubscribed or world.rank:
        return rows_of(world, benchmarks), {}
    return rows_of(world, benchmarks), _predictions(world.size, trials)


def messages_of(num_bytes: int) -> tuple[int, ...]:
    """Return the lengths of messages that algorithms send for a buffer."""
    lengths = {max(SHORTEST, num_bytes // part // 4 * 4) for part in FRACTIONS}
    return tuple(sorted(lengths | {SHORTEST}))


def _repeat(calibrator: Calibrator, num_bytes: int) -> None:
    for _ in range(REPEATS if num_bytes < LONG else 1):
        calibrator.measure()


def _predictions(size: int, trials: list[tuple[int, Calibration, dict[str, float]]]) -> Predictions:
    guesses: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for n, calibration, seconds in trials:
        names = [name for name in seconds if name not in UNPRICED]
        for name, guess in predict(size, n, calibration, algorithms=names).items():
            if name in names:
                guesses.setdefault((name, n), []).append((guess, guess / seconds[name] - 1.0))
    return {cell: PredictionError(1e6 * us, error) for cell, (us, error) in _medians(guesses).items()}


def _medians(values: dict[tuple[str, int], list[tuple[float, float]]]) -> dict[tuple[str, int], tuple[float, float]]:
    medians = {cell: np.median(np.array(pairs), axis=0) for cell, pairs in values.items()}
    return {cell: (float(pair[0]), float(pair[1])) for cell, pair in medians.items()}
