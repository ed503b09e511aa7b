"""Findings of the doctor from made-up facts."""

import dataclasses

import pytest

from mpitrain.comm.launch import misfit
from mpitrain.comm.measure.doctor import diagnose, diagnose_mesh
from mpitrain.comm.measure.link_survey import Link, Speeds, odd_ones, rounds
from mpitrain.comm.measure.probe import Facts
from mpitrain.comm.measure.stage_links import StageLinks
from mpitrain.device import VisibleGpus

WELL = Facts(
    host="h0",
    node=0,
    cores=frozenset(range(8)),
    machine_cores=8,
    quota=float("inf"),
    versions={"mpitrain": "0.1.0", "MPI": "MPICH 5.0.2"},
    no_thread=None,
    no_window=None,
    shm_free=1 << 34,
    fatal="a lost rank ends this job",
    wrong_sum=False,
    clock=100.0,
    gpus=VisibleGpus(0, (), "no driver"),
    cpu_kernels="avx2, the fastest that this machine has",
)


def ranks(count, **changes):
    """Return the facts of ``count`` healthy ranks, where ``changes`` says what is other on the last."""
    return [WELL] * (count - 1) + [dataclasses.replace(WELL, **changes)]


def speeds(count, slow=(), factor=10.0, product=None):
    links = [
        Link(pair, True, 1e-6 * (factor if set(pair) & set(slow) else 1), 1e10)
        for one_round in rounds(count)
        for pair in one_round
    ]
    return Speeds(links, product or [1e-4] * count)


def findings(facts, measured=None, level=None):
    found = diagnose(facts, measured or speeds(len(facts)))
    return {finding.about: finding for finding in found if level is None or finding.level == level}


def test_nothing_is_wrong_with_the_healthy():
    assert {finding.level for finding in findings(ranks(4)).values()} == {"ok"}
    assert findings(ranks(4))["ranks"].text == "ranks 0-3 on h0"
    assert findings(ranks(4))["cores"].text == "8 cores on h0 for 4 ranks, 2 BLAS threads each"


@pytest.mark.parametrize(
    ("changes", "level", "about", "says"),
    [
        ({"versions": {"mpitrain": "0.2.0", "MPI": "MPICH 5.0.2"}}, "bad", "mpitrain", "0.2.0 on rank 3"),
        ({"wrong_sum": True}, "bad", "sums", "wrong sums on rank 3"),
        ({"clock": 160.0}, "warn", "clocks", "(rank 3) is 60 s off"),
        ({"no_window": "MPI makes no shared window"}, "warn", "shared memory", "rank 3: MPI makes no shared window"),
        ({"shm_free": 1 << 20}, "warn", "shared memory", "/dev/shm has 1 MiB free for 4 ranks"),
        ({"cpu_kernels": "NumPy (not built)"}, "warn", "kernels", "rank 3 computes with NumPy (not built)"),
        ({"gpus": VisibleGpus(0, ("GPU-a",))}, "warn", "GPUs", "ranks 0-2 sees none"),
        ({"node": 9, "host": "h9"}, "warn", "nodes", "between 1 and 3 ranks"),
    ],
)
def test_a_rank_that_is_not_like_the_others(changes, level, about, says):
    found = findings(ranks(4, **changes), level=level)
    assert says in found[about].text
    assert found[about].fix


def test_shared_gpus_are_known_by_their_uuid():
    both = [dataclasses.replace(WELL, gpus=VisibleGpus(0, ("GPU-a",)))] * 2
    assert "share GPUs" in findings(both)["GPUs"].text
    own = [dataclasses.replace(WELL, gpus=VisibleGpus(0, (uuid,))) for uuid in ("GPU-a", "GPU-b")]
    assert findings(own)["GPUs"].text == "each rank has its own"


def test_more_ranks_than_cores():
    few = [dataclasses.replace(WELL, cores=frozenset({0, 1}), machine_cores=2)] * 4
    assert findings(few)["cores"].fix.endswith("mpirun -n 2")
    bound = [dataclasses.replace(WELL, cores=frozenset({0}))] * 4
    assert "4 ranks on h0 may use 1 of its 8 cores" in findings(bound)["cores"].text
    limited = [dataclasses.replace(WELL, quota=2.0)] * 4
    assert "(a quota of 2)" in findings(limited)["cores"].text


def test_slow_links_and_ranks_are_named():
    found = findings(ranks(5), speeds(5, slow=[3]))["links inside nodes"]
    assert (found.level, found.text.split(" (")[0]) == ("warn", "rank 3")
    found = findings(ranks(5), speeds(5, product=[1e-4, 1e-4, 3e-4, 1e-4, 1e-4]))["computing"]
    assert found.text.startswith("rank 2 (h0) computes 3.0 times slower")


@pytest.mark.parametrize("size", range(2, 10))
def test_everybody_meets_everybody_once(size):
    pairs = [pair for one_round in rounds(size) for pair in one_round]
    assert sorted(pairs) == [(a, b) for a in range(size) for b in range(a + 1, size)]
    for one_round in rounds(size):
        ends = [rank for pair in one_round for rank in pair]
        assert len(set(ends)) == len(ends)


def test_odd_ones():
    assert odd_ones([], 2) == []
    assert odd_ones([1.0, 1.0, 2.5], 2) == [2]


def test_launchers_that_do_not_fit():
    hydra = {"PMI_RANK": "0", "PMI_SIZE": "3"}
    prte = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3"}
    assert misfit("MPICH 5.0.2", hydra) is None
    assert misfit("Open MPI v5.0.11", prte) is None
    assert misfit("Open MPI v5.0.11", {}) is None
    assert "the launcher is MPICH's" in misfit("Open MPI v5.0.11", hydra)
    assert "the launcher is Open MPI's" in misfit("MPICH 5.0.2", prte)
    assert misfit("Open MPI v5.0.11", {"PMIX_RANK": "1", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3"}) is None


@pytest.mark.parametrize(
    ("links", "level", "text"),
    [
        (None, "ok", "data=2,pipe=2: all ranks are on one node"),
        (StageLinks(0.0004, 0.0005, 0), "ok", "1 MiB takes 0.4 ms from stage to stage, also while the sender computes"),
        (StageLinks(0.0004, 0.021, 0), "warn", "1 MiB takes 0.4 ms from stage to stage, but not while"),
        (StageLinks(0.0004, 0.0005, 3), "bad", "3 messages between stages arrived wrong"),
    ],
)
def test_messages_between_stages(links, level, text):
    *_, last = diagnose_mesh("mesh data=2,pipe=2: all ranks are on one node", links)
    assert last.level == level
    assert last.text.startswith(text)
