"""Studies of scaling from times that are made up."""

import numpy as np

from mpitrain.scaling.measured import summarize
from mpitrain.scaling.study import Study, make_plan

CORES = 4
FACTS = {
    "update": 1e-5,
    "samples": 1000,
    "mpi": "MPICH 0.0",
    "devices": ["cpu"],
    "title": "mlp on <made-up> data",
    "sharded": False,
    "algorithms": ["ring"],
    "buckets": [1 << 20],
    "statistics": [],
    "calibration": None,
    "unpriced": "",
    "machine_cores": CORES,
}


def made_facts(case, seconds, *, noise=0.0, messages=0.0, rng=None, **more):
    """Return the facts of a training of ``case`` whose steps take ``seconds``, some of it for messages."""
    rng = rng or np.random.default_rng(case.ranks)
    times = np.zeros((case.ranks, 20, 4))
    times[:, :, 0] = (1 - messages) * seconds * (1 + noise * rng.standard_normal((1, 20)))
    times[:, :, 3] = messages * seconds
    return {**FACTS, "oversubscribed": case.ranks > CORES, "threads": case.threads, "steps": times.tolist(), **more}


def made_study(
    step,
    ranks=(1, 2, 4, 8),
    *,
    threads=1,
    weak=False,
    repeat=3,
    drift=0.0,
    compare_threads=False,
    calibration=None,
    **more,
):
    """Return a study in which a step takes ``step(ranks, samples)`` seconds, times a random factor in each training."""
    rng = np.random.default_rng(1)
    plan = make_plan(ranks, 64, threads=threads, cores=CORES, weak=weak, alone=True, compare_threads=compare_threads)

    def trainings(case):
        for _ in range(repeat):
            factor = 1 + drift * rng.standard_normal()
            yield made_facts(case, factor * step(case.ranks * case.threads, case.batch), rng=rng, **more)

    return Study(plan, {case: summarize(case, list(trainings(case))) for case in plan.cases}, calibration)
