"""A plan as one page of text, 80 columns wide, and as JSON."""

import textwrap
from dataclasses import asdict
from typing import Any

from ..collectives.price.units import say_seconds
from ..plain_text import count
from .changes import Change
from .estimate import Estimate, Estimator
from .search import Found
from .strategy import Strategy

WIDTH = 80
SHOWN = 5
LEAST = 0.005
PARTS_INDENT = 8
PREFIXES = (("Z", 1e21), ("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
NAMES = {"tensor": "tensor messages", "context": "context messages", "space": "halos", "weights": "gathered weights"}


def say_page(estimator: Estimator, found: Found, changes: list[Change], seconds: float) -> list[str]:
    """Return the lines of the page."""
    lines = [*_head(estimator, found, seconds), ""]
    if not found.best:
        return lines + _none_fits(estimator, found)
    lines.append(f"    {'step':>8} {rate_name(estimator):>10} {'memory':>8}  mesh, schedule, sharding")
    for number, one in enumerate(found.best[:SHOWN], 1):
        lines += _row(str(number), one, estimator)
    if found.faster is not None:
        over = found.faster.memory.all - estimator.machine.memory
        lines += ["", f"faster, but does not fit: {say_size(over)} more than the {_memory(estimator)} of a rank"]
        lines += _row("", found.faster, estimator)
    lines += ["", *_why(found)]
    said = [_say_change(change, estimator) for change in changes if change.fact != "memory" or not found.faster]
    if said:
        lines += ["", "another choice:"]
        lines += [line for text in said for line in _wrap(text, "  ")]
    return lines


def rate_name(estimator: Estimator) -> str:
    """Return what a step has many of."""
    return "tokens/s" if estimator.model.tokens else "samples/s"


def rate(one: Estimate, estimator: Estimator) -> float:
    """Return tokens or samples a second."""
    return estimator.work.batch * (estimator.model.tokens or 1) / one.seconds


def _head(estimator: Estimator, found: Found, seconds: float) -> list[str]:
    model, work, machine = estimator.model, estimator.work, estimator.machine
    ranks = (found.best or [found.leanest or Estimate(Strategy(), 0.0)])[0].strategy.ranks
    rows = f" of {model.tokens:,} tokens" if model.tokens else ""
    step = model.flops * work.batch
    lines = _wrap(
        f"{model.name}: {say_number(model.parameters)} parameters, on {count(ranks, 'rank')} of {machine.name}"
    )
    lines += _wrap(
        f"{count(work.batch, 'sample')}{rows} a step in {work.precision.name}: {say_number(step)}FLOP, and "
        f"{say_number(step / ranks)}FLOP a rank"
    )
    if found.num_strategies:
        lines += _wrap(
            f"{found.num_strategies:,} strategies on {found.num_meshes:,} meshes priced by formulas, "
            f"{found.num_exact} by their schedules, in {say_seconds(seconds)}"
        )
    return lines


def _row(number: str, one: Estimate, estimator: Estimator) -> list[str]:
    head = f"{number:>3} {say_seconds(one.seconds):>8} {say_number(rate(one, estimator)):>10} "
    head += f"{say_size(one.memory.all):>8}  "
    text = " ".join(filter(None, [one.strategy.mesh_text, say_how(one.strategy)]))
    lines = textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)
    return lines + _wrap(say_parts(one), " " * PARTS_INDENT)


def say_how(strategy: Strategy) -> str:
    """Return schedule, microbatches, sharding and recomputation in a few words.

    >>> say_how(Strategy(pipe=4, microbatches=8, schedule="zb_h1", shard=1, data=2))
    'zb_h1 of 8, ZeRO 1'
    """
    words = []
    if strategy.pipe > 1:
        words.append(f"{strategy.schedule_text} of {strategy.microbatches}")
    elif strategy.microbatches > 1:
        words.append(f"{strategy.microbatches} microbatches")
    words += ["sequence parallel"] if strategy.sequence else []
    words += [f"ZeRO {strategy.shard}"] if strategy.shard else []
    words += [f"recompute {strategy.again}"] if strategy.again != "off" else []
    return ", ".join(words)


def say_parts(one: Estimate) -> str:
    """Return where the time goes, the largest part first."""
    parts = sorted(one.parts.items(), key=lambda item: -item[1])
    said = [f"{NAMES.get(name, name)} {part / one.seconds:.0%}" for name, part in parts if part / one.seconds >= LEAST]
    return ", ".join(said)


def _why(found: Found) -> list[str]:
    """Return how the best differs from the next, by what takes most of the difference."""
    if len(found.best) < 2:
        return []
    best, other = found.best[:2]
    gains = {name: other.parts.get(name, 0.0) - best.parts.get(name, 0.0) for name in best.parts}
    name = max(gains, key=gains.__getitem__)
    lost = min(gains, key=gains.__getitem__)
    text = f"1 before 2: {say_seconds(max(0.0, gains[name]))} less for {NAMES.get(name, name)}"
    if gains[lost] < 0:
        text += f", {say_seconds(-gains[lost])} more for {NAMES.get(lost, lost)}"
    return _wrap(text)


def _none_fits(estimator: Estimator, found: Found) -> list[str]:
    least = found.leanest
    if least is None:
        return ["no mesh has so many ranks for this model and batch"]
    over = least.memory.all - estimator.machine.memory
    text = (
        f"nothing fits into the {_memory(estimator)} of a rank; the nearest needs {say_size(least.memory.all)}, "
        f"{say_size(over)} more, for {say_memory(least)}:"
    )
    return [*_wrap(text), *_row("", least, estimator)]


def say_memory(one: Estimate) -> str:
    """Return the parts of the memory of the heaviest rank, the largest first."""
    parts = sorted(asdict(one.memory).items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name.replace('_', ' ')} {say_size(part)}" for name, part in parts if part / one.memory.all > 0.02
    )


def _memory(estimator: Estimator) -> str:
    return say_size(estimator.machine.memory)


def _say_change(change: Change, estimator: Estimator) -> str:
    other = f"{change.strategy.mesh_text} {say_how(change.strategy)}".strip()
    if change.fact == "memory":
        return f"from {say_size(change.value)} of memory on (now {say_size(change.now)}): {other}"
    where = f"a rank over {estimator.machine.levels[-1].name} (now {say_size(change.now)}/s)"
    way = "on" if change.value > change.now else "down"
    return f"from {say_size(change.value)}/s {where} {way}: {other}"


def say_number(number: float) -> str:
    """Return a number with a prefix.

    >>> say_number(124439808), say_number(12), say_number(3.2e15)
    ('124 M', '12', '3.2 P')
    """
    for prefix, value in PREFIXES:
        if number >= 0.9995 * value:
            return f"{_short(number / value)} {prefix}"
    return _short(number)


def say_size(num_bytes: float) -> str:
    """Return bytes in decimal units, as data sheets have them.

    >>> say_size(74e9), say_size(3.1e9), say_size(512)
    ('74 GB', '3.1 GB', '512 B')
    """
    text = say_number(num_bytes)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 9.95 else f"{value:.0f}"


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def to_tree(estimator: Estimator, found: Found, changes: list[Change]) -> dict[str, Any]:
    """Return the plan as a JSON value."""
    model, work, machine = estimator.model, estimator.work, estimator.machine
    return {
        "model": {"name": model.name, "parameters": model.parameters, "tokens": model.tokens, "flops": model.flops},
        "machine": {"name": machine.name, "memory": machine.memory},
        "work": {"batch": work.batch, "dtype": work.precision.name, "slots": work.slots},
        "searched": {"meshes": found.num_meshes, "strategies": found.num_strategies, "followed": found.num_exact},
        "best": [_tree(one, estimator) for one in found.best[:SHOWN]],
        "faster": None if found.faster is None else _tree(found.faster, estimator),
        "nearest": None if found.leanest is None else _tree(found.leanest, estimator),
        "changes": [
            {**asdict(change), "strategy": change.strategy.mesh_text, "how": say_how(change.strategy)}
            for change in changes
        ],
    }


def _tree(one: Estimate, estimator: Estimator) -> dict[str, Any]:
    s = one.strategy
    return {
        "mesh": s.mesh_text,
        "pipeline": s.schedule_text if s.pipe > 1 else "",
        "microbatches": s.microbatches,
        "sequence_parallel": s.sequence,
        "shard": s.shard,
        "recompute": s.again,
        "seconds": one.seconds,
        rate_name(estimator).replace("/s", "_per_second"): rate(one, estimator),
        "memory": {**asdict(one.memory), "all": one.memory.all},
        "heaviest": one.heaviest,
        "parts": one.parts,
        "starts": list(one.starts),
    }
