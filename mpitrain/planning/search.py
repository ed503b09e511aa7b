"""The best strategies for a number of ranks.

All meshes with so many ranks that the model allows are taken, each with some numbers of microbatches and schedules. Few
of them are followed exactly:

1. Axes are bounded by heads, layers, experts, tokens and rows. Tensor, context and space stay where their messages are
   near: ``MOST`` ranks.
2. Microbatches: as many as fill the pipeline in powers of two, down to one sample.
3. Sharding and recomputation only where they are needed: for each mesh, the fastest of them that fits (by formulas).
4. The ``EXACT`` fastest by formulas are followed: collectives and pipelines by their own schedules.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from .estimate import Estimate, Estimator
from .strategy import Again, Strategy

MOST = {"tensor": 64, "context": 64, "space": 64, "expert": 512}
EXACT = 24
OTHERS = 300
NEAR = 8
SCHEDULES: tuple[tuple[str, int], ...] = (("1f1b", 1), ("interleaved", 2), ("interleaved", 4), ("zb_h1", 1))
MOST_MICROBATCHES = 16  # for each rank of a pipeline: then the bubble is below a sixteenth
SIMPLER = 0.003  # part of the time that is worth an axis or a stage of ZeRO less


@dataclass(frozen=True)
class Wish:
    """Choices of a plan.

    Attributes
    ----------
    axes : tuple of str
    schedules : tuple of (str, int)
        Names with chunks.
    shards : tuple of int
    agains : tuple of str
    microbatches : int
        Fixed number of them; 0 for any.
    mesh : dict of str to int
        Sizes that are fixed.
    sequence : bool
        Axis tensor divides tokens, too.
    allows : callable(Strategy) -> bool, optional
        False for what the training cannot do.
    """

    axes: tuple[str, ...] = ("data", "pipe", "tensor", "context", "expert", "space")
    schedules: tuple[tuple[str, int], ...] = SCHEDULES
    shards: tuple[int, ...] = (0, 1, 2, 3)
    agains: tuple[Again, ...] = ("off", "blocks", "stage")
    microbatches: int = 0
    mesh: dict[str, int] = field(default_factory=dict)
    sequence: bool = False
    allows: Callable[[Strategy], bool] | None = None


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Attributes
    ----------
    best : list of Estimate
        Those that fit, the fastest first, one for each mesh.
    faster : Estimate or None
        The leanest of those that are faster than the best, and do not fit.
    leanest : Estimate or None
        The one that needs the least memory, if none fits.
    num_meshes, num_strategies, num_exact : int
        Meshes and strategies that were priced by formulas, and those that were followed.
    candidates : list of Estimate
        All that fit and were followed.
    others : list of Strategy
        The next by formulas, which other facts may favor.
    """

    best: list[Estimate]
    faster: Estimate | None
    leanest: Estimate | None
    num_meshes: int
    num_strategies: int
    num_exact: int
    candidates: list[Estimate]
    others: list[Strategy] = field(default_factory=list)


def search(quick: Estimator, exact: Estimator, ranks: int, wish: Wish | None = None) -> Found:
    """Return the best strategies.

    Parameters
    ----------
    quick, exact : Estimator
        Of the same model, machine and work.
    ranks : int
    wish : Wish, optional
    """
    wish = wish or Wish()
    memory = quick.machine.memory
    fitting: list[Estimate] = []
    too_big: list[Estimate] = []
    meshes: set[str] = set()
    number = 0
    for strategy in strategies(quick, ranks, wish):
        meshes.add(strategy.mesh_text)
        variants = list(_variants(strategy, wish))
        if wish.allows is not None:
            variants = [
                (shard, again) for shard, again in variants if wish.allows(replace(strategy, shard=shard, again=again))
            ]
        found = quick.estimate_all(strategy, variants)
        number += len(found)
        inside = [one for one in found if one.memory.all <= memory]
        if inside:
            fitting.append(min(inside, key=seconds))
        outside = [one for one in found if one.memory.all > memory]
        if outside:
            too_big.append(min(outside, key=seconds))
            if not inside:
                too_big.append(min(outside, key=lambda one: one.memory.all))
    chosen = [exact.estimate(one.strategy) for one in _few(fitting, EXACT)]
    best = _by_mesh(sorted((one for one in chosen if one.memory.all <= memory), key=seconds))
    faster, leanest = _outside(quick, exact, too_big, best, memory)
    followed = chosen + [one for one in (faster, leanest) if one is not None]
    others = [one.strategy for one in sorted(fitting, key=seconds)[:OTHERS]]
    return Found(best, faster, leanest, len(meshes), number, len(followed), chosen, others)


def seconds(estimate: Estimate) -> float:
    """Return the time of a step, by which estimates are compared: of two that are alike the simpler one is less."""
    return estimate.seconds * (1.0 + SIMPLER * estimate.strategy.complexity)


def strategies(estimator: Estimator, ranks: int, wish: Wish) -> Iterator[Strategy]:
    """Yield all meshes, each with its schedules and microbatches, without sharding and recomputation."""
    for mesh in meshes_of(estimator, ranks, wish):
        share = math.ceil(estimator.work.batch / (mesh.data * mesh.expert))
        for schedule, chunks in wish.schedules if mesh.pipe > 1 else (("1f1b", 1),):
            if mesh.pipe * chunks > len(estimator.model.units) or (chunks > 1 and mesh.pipe < 2):
                continue
            for m in _microbatches(mesh.pipe, share, wish):
                if chunks > 1 and m % mesh.pipe:
                    continue
                yield replace(mesh, schedule=schedule, chunks=chunks, microbatches=m)


def meshes_of(estimator: Estimator, ranks: int, wish: Wish) -> Iterator[Strategy]:
    """Yield the meshes of so many ranks that the model allows."""
    model, batch = estimator.model, estimator.work.batch
    most = {
        "pipe": len(model.units),
        **{axis: min(bound, model.most(axis)) for axis, bound in MOST.items()},
    }

    def sizes(axis: str, left: int) -> Sequence[int]:
        if axis not in wish.axes:
            return (1,)
        if axis in wish.mesh:
            return (wish.mesh[axis],) if left % wish.mesh[axis] == 0 else ()
        return [size for size in divisors(left) if size <= most[axis] and model.divides(axis, size)]

    for tensor in sizes("tensor", ranks):
        for context in sizes("context", ranks // tensor):
            for space in sizes("space", ranks // tensor // context):
                for pipe in sizes("pipe", ranks // tensor // context // space):
                    left = ranks // tensor // context // space // pipe
                    for expert in sizes("expert", left):
                        data = left // expert
                        if data * expert > batch or wish.mesh.get("data", data) != data:
                            continue
                        if "data" not in wish.axes and data > 1:
                            continue
                        yield Strategy(
                            data, pipe, space, context, tensor, expert, sequence=wish.sequence and tensor > 1
                        )


def divisors(number: int) -> list[int]:
    """Return the divisors of a number.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def _microbatches(pipe: int, share: int, wish: Wish) -> list[int]:
    """Return numbers of microbatches: multiples of the stages, by powers of two, down to one sample each."""
    if wish.microbatches:
        return [min(wish.microbatches, share)]
    if pipe == 1:
        return [m for m in (1 << k for k in range(13)) if m <= share]
    found = [m for m in (pipe << k for k in range(MOST_MICROBATCHES.bit_length())) if m <= share]
    return found if found and (found[-1] * 2 > share or len(found) > 4) else sorted({*found, share})


def _variants(strategy: Strategy, wish: Wish) -> Iterator[tuple[int, Again]]:
    """Yield sharding and recomputation that may be worth it."""
    shares = strategy.data * strategy.space * strategy.context
    for shard in wish.shards if shares > 1 else (0,):
        for again in wish.agains:
            yield shard, again


def _few(estimates: list[Estimate], number: int) -> list[Estimate]:
    """Return the fastest; of each mesh two at most, so that others are among them."""
    taken: dict[str, int] = {}
    found = []
    for one in sorted(estimates, key=seconds):
        mesh = one.strategy.mesh_text
        if taken.get(mesh, 0) < 2:
            taken[mesh] = taken.get(mesh, 0) + 1
            found.append(one)
        if len(found) == number:
            break
    return found


def _by_mesh(estimates: list[Estimate]) -> list[Estimate]:
    """Return the first of each mesh."""
    found: dict[str, Estimate] = {}
    for one in estimates:
        found.setdefault(one.strategy.mesh_text, one)
    return list(found.values())


def _outside(
    quick: Estimator, exact: Estimator, too_big: list[Estimate], best: list[Estimate], memory: float
) -> tuple[Estimate | None, Estimate | None]:
    """Return one that is faster and needs the least memory beyond what there is; and the leanest, if none fits."""
    if not too_big:
        return None, None
    if not best:
        least = exact.estimate(min(too_big, key=lambda one: one.memory.all).strategy)
        return None, least
    bound = seconds(quick.estimate(best[0].strategy))
    near = sorted((one for one in too_big if seconds(one) < bound), key=lambda one: one.memory.all)[:NEAR]
    candidates = [exact.estimate(one.strategy) for one in near]
    faster = [one for one in candidates if one.memory.all > memory and seconds(one) < seconds(best[0])]
    return min(faster, key=lambda one: one.memory.all, default=None), None
