"""Diagnosis of the facts about all ranks: findings, each with a remedy. Pure: without MPI."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...device import assign
from ..watch.hang_report import say_ranks
from .link_survey import Link, Speeds, odd_ones
from .probe import Facts
from .stage_links import BUSY, NUM_BYTES, StageLinks

SHM_EACH = 64 << 20  # bytes of shared memory per rank
SKEW = 2.0  # seconds
SLOW_LATENCY, SLOW_BANDWIDTH, SLOW_RANK = 4.0, 3.0, 1.5  # times the median


@dataclass(frozen=True)
class Finding:
    """Result of one examination: ``bad`` breaks training, ``warn`` costs speed or safety."""

    level: Literal["ok", "warn", "bad"]
    about: str
    text: str
    fix: str = ""


def diagnose(ranks: Sequence[Facts], speeds: Speeds) -> list[Finding]:
    """Return all findings in order of importance."""
    found = [*_launch(ranks), *_versions(ranks), *_cores(ranks), *_mpi(ranks), *_memory(ranks), *_clocks(ranks)]
    return [*found, *_compute(ranks), *_speed(ranks, speeds)]


def diagnose_mesh(placement: str, links: StageLinks | None) -> list[Finding]:
    """Return the findings about a mesh, given where its axes are, and messages between its stages if it has any."""
    found = [Finding("ok", "mesh", placement.removeprefix("mesh "))]
    if links is None:
        return found
    if links.wrong:
        fix = "another version of the MPI library; pip install 'mpitrain[mpich]' brings one that is tested"
        return [*found, Finding("bad", "stages", f"{links.wrong} messages between stages arrived wrong", fix)]
    usual = f"{NUM_BYTES >> 20} MiB takes {links.seconds * 1e3:.1f} ms from stage to stage"
    if links.while_busy < BUSY / 2:
        return [*found, Finding("ok", "stages", f"{usual}, also while the sender computes")]
    text = f"{usual}, but not while the sender computes: calls between its layers move it"
    return [
        *found,
        Finding("warn", "stages", text, "smaller microbatches, or an MPI library with asynchronous progress"),
    ]


def _launch(ranks: Sequence[Facts]) -> Iterator[Finding]:
    nodes: dict[int, list[int]] = {}
    for rank, facts in enumerate(ranks):
        nodes.setdefault(facts.node, []).append(rank)
    places = "; ".join(f"{say_ranks(members)} on {ranks[members[0]].host}" for members in list(nodes.values())[:8])
    more = f"; and {len(nodes) - 8} more nodes" if len(nodes) > 8 else ""
    if len(ranks) == 1:
        yield Finding("ok", "ranks", f"one rank on {ranks[0].host}; with mpirun -n 4 before the command, four")
    else:
        yield Finding("ok", "ranks", places + more)
    counts = {len(members) for members in nodes.values()}
    if len(counts) > 1:
        text = f"nodes have between {min(counts)} and {max(counts)} ranks"
        yield Finding(
            "warn", "nodes", text, "give each node as many: mpirun --map-by ppr:K:node, srun --ntasks-per-node=K"
        )


def _versions(ranks: Sequence[Facts]) -> Iterator[Finding]:
    for name in ranks[0].versions:
        by_version: dict[str, list[int]] = {}
        for rank, facts in enumerate(ranks):
            by_version.setdefault(facts.versions[name], []).append(rank)
        if len(by_version) > 1:
            text = ", ".join(f"{version} on {say_ranks(members)}" for version, members in by_version.items())
            fix = "install once in a place that all nodes see, and load the same modules on all of them"
            yield Finding("bad", name, text, fix)
    yield Finding("ok", "versions", ", ".join(f"{name} {v}" for name, v in ranks[0].versions.items()))


def _cores(ranks: Sequence[Facts]) -> Iterator[Finding]:
    for node in dict.fromkeys(facts.node for facts in ranks):
        near = [facts for facts in ranks if facts.node == node]
        cores, host = frozenset().union(*(facts.cores for facts in near)), near[0].host
        usable = min(len(cores), near[0].quota)
        masks = Counter(facts.cores for facts in near)
        crowded = [mask for mask, count in masks.items() if count > len(mask)]
        if len(near) > len(cores) and len(cores) < near[0].machine_cores:
            text = f"{len(near)} ranks on {host} may use {len(cores)} of its {near[0].machine_cores} cores"
            yield Finding("warn", "cores", text, "mpirun --bind-to none, or srun --cpus-per-task=K, or a larger job")
        elif crowded and len(cores) >= len(near):
            text = f"{masks[crowded[0]]} ranks on {host} share {_cores_of(crowded[0])}, others are free"
            yield Finding("warn", "cores", text, "mpirun --bind-to core (or none), or srun --cpu-bind=cores")
        elif len(near) > usable:
            quota = f" (a quota of {near[0].quota:g})" if near[0].quota < len(cores) else ""
            text = f"{len(near)} ranks on {host} share {len(cores)} cores{quota}: they take turns"
            yield Finding("warn", "cores", text, f"fine for trying things; for speed mpirun -n {max(1, int(usable))}")
        else:
            each = max(1, int(usable) // len(near))
            text = f"{len(cores)} cores on {host} for {len(near)} rank{'s'[: len(near) > 1]}"
            yield Finding("ok", "cores", f"{text}, {each} BLAS thread{'s'[: each > 1]} each")


def _mpi(ranks: Sequence[Facts]) -> Iterator[Finding]:
    wrong = [rank for rank, facts in enumerate(ranks) if facts.wrong_sum]
    if wrong:
        fix = "another version of the MPI library; pip install 'mpitrain[mpich]' brings one that is tested"
        yield Finding("bad", "sums", f"an all-reduce gave wrong sums on {say_ranks(wrong)}", fix)
    else:
        yield Finding("ok", "sums", "MPI_Allreduce and a schedule of messages both sum right")
    if ranks[0].no_thread:
        yield Finding("warn", "threads", ranks[0].no_thread, "an MPI library built with thread support")
    else:
        yield Finding(
            "ok", "threads", "MPI_THREAD_MULTIPLE: messages can move while a rank computes (--overlap thread)"
        )
    if ranks[0].fatal:
        text = "a lost rank ends the job: --checkpoint-every 10m, then --resume auto; or --elastic"
        yield Finding("ok", "losses", f"{text} with Open MPI's mpirun --with-ft ulfm")
    else:
        yield Finding("ok", "losses", "with --elastic, ranks that are lost do not end the job (ULFM)")


def _memory(ranks: Sequence[Facts]) -> Iterator[Finding]:
    reasons = {facts.no_window: rank for rank, facts in enumerate(ranks) if facts.no_window}
    for reason, rank in reasons.items():
        fix = "more shared memory (docker run --shm-size=1g or --ipc=host)" if "room" in str(reason) else ""
        yield Finding("warn", "shared memory", f"rank {rank}: {reason}", fix or "training goes by messages instead")
    if reasons:
        return
    least = min(facts.shm_free for facts in ranks)
    most = max(Counter(facts.node for facts in ranks).values())
    if 0 <= least < most * SHM_EACH:
        text = f"/dev/shm has {least >> 20} MiB free for {most} ranks"
        yield Finding("warn", "shared memory", text, "docker run --shm-size=1g, or mount -o remount,size=50% /dev/shm")
    else:
        free = f", {least >> 20:,} MiB free in /dev/shm" if least >= 0 else ""
        works = "windows work on all nodes" if ranks[0].fatal else "not used under ULFM"
        yield Finding("ok", "shared memory", works + free)


def _compute(ranks: Sequence[Facts]) -> Iterator[Finding]:
    kernels = Counter(facts.cpu_kernels for facts in ranks)
    usual = kernels.most_common(1)[0][0]
    others = [rank for rank, facts in enumerate(ranks) if facts.cpu_kernels != usual]
    if others:
        text = f"{say_ranks(others)} computes with {ranks[others[0]].cpu_kernels}, the others with {usual}"
        yield Finding("warn", "kernels", text, "the slowest decides: install with the same compiler on all nodes")
    elif usual.startswith("NumPy"):
        yield Finding("warn", "kernels", usual, "pip install again where there is a C compiler (apt install gcc)")
    else:
        yield Finding("ok", "kernels", f"in C: {usual}")
    places = assign([facts.gpus for facts in ranks])
    if all(place.number is None for place in places):
        yield Finding("ok", "GPUs", f"none: {ranks[0].gpus.reason or 'no rank sees one'}")
        return
    without = [rank for rank, place in enumerate(places) if place.number is None]
    shared = [rank for rank, place in enumerate(places) if place.ranks > 1]
    if without:
        text, fix = f"{say_ranks(without)} sees none, others do", "as many ranks on a node as it has GPUs"
        yield Finding("warn", "GPUs", text, f"{fix}: srun --gpus-per-task=1")
    elif shared:
        text = f"{say_ranks(shared)} share GPUs with others"
        yield Finding("warn", "GPUs", text, "as many ranks on a node as it has GPUs, or --device cpu")
    else:
        yield Finding("ok", "GPUs", "each rank has its own")


def _clocks(ranks: Sequence[Facts]) -> Iterator[Finding]:
    clocks = [facts.clock for facts in ranks]
    skew = max(clocks) - min(clocks)
    if skew > SKEW:
        rank = int(np.argmax(np.abs(np.array(clocks) - np.median(clocks))))
        text = f"the clock of {ranks[rank].host} (rank {rank}) is {skew:.0f} s off"
        yield Finding("warn", "clocks", text, "set it by NTP (chronyc makestep): logs and files are compared by time")
    else:
        yield Finding("ok", "clocks", f"within {max(0.1, skew):.1f} s of each other")


def _speed(ranks: Sequence[Facts], speeds: Speeds) -> Iterator[Finding]:
    for inside, name in ((True, "links inside nodes"), (False, "links between nodes")):
        links = [link for link in speeds.links if link.inside == inside]
        if links:
            yield _links(name, links, ranks)
    slow = odd_ones(speeds.products, SLOW_RANK)
    median = float(np.median(speeds.products))
    if slow:
        factor = max(speeds.products) / median
        text = f"{say_ranks(slow)} ({ranks[slow[0]].host}) computes {factor:.1f} times slower than the median"
        yield Finding(
            "warn", "computing", text, "look for other programs, heat, or a smaller core there; or leave it out"
        )
    else:
        yield Finding("ok", "computing", f"all ranks alike: {2 * 192**3 / median / 1e9:.0f} GFLOP/s in a small product")


def _links(name: str, links: Sequence[Link], ranks: Sequence[Facts]) -> Finding:
    late = odd_ones([link.latency for link in links], SLOW_LATENCY) if len(links) > 2 else []
    thin = odd_ones([1 / link.bandwidth for link in links], SLOW_BANDWIDTH) if len(links) > 2 else []
    latency = float(np.median([link.latency for link in links])) * 1e6
    bandwidth = float(np.median([link.bandwidth for link in links])) / 1e9
    usual = f"{latency:.1f} us, {bandwidth:.2g} GB/s each way"
    slow = [links[place] for place in dict.fromkeys([*late, *thin])]
    if not slow:
        return Finding("ok", name, f"{usual} (median of {len(links)})")
    ends = Counter(rank for link in slow for rank in link.ranks)
    rank, count = ends.most_common(1)[0]
    worst = max(slow, key=lambda link: (link.latency, -link.bandwidth))
    who = f"rank {rank}" if count > 1 and count == len(slow) else f"ranks {worst.ranks[0]} and {worst.ranks[1]}"
    hosts = " and ".join(dict.fromkeys(ranks[r].host for r in worst.ranks))
    text = (
        f"{who} ({hosts}): {worst.latency * 1e6:.1f} us, {worst.bandwidth / 1e9:.2g} GB/s, where the median is {usual}"
    )
    return Finding("warn", name, text, "look at that node's cable, port and load; or leave it out (--exclude, -x)")


def _cores_of(mask: frozenset[int]) -> str:
    return f"core {min(mask)}" if len(mask) == 1 else f"{len(mask)} cores"
