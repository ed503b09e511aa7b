"""Continuation of a run from a checkpoint: its metadata next to the tensors, and their restoration."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...comm.world import World
from ...config import Config
from ...config_file import SPLIT_BEFORE
from ...data.matching.signature import Signature
from ...data.normalize import Normalizer
from ...data.sampler import num_steps
from ...errors import UserError
from ...json_text import WORDS
from ...registry import short_name
from ...run_rules import EVERY_STEP
from ..checkpoint import Checkpoint
from ..checkpoint.folder import newest_first
from ..checkpoint.state import SYNC
from ..position import Position
from ..results import EpochResult
from ..run import TrainingRun
from ..setup import TrainingSetup, normalizer_from
from ..step_timer import Times
from .changes import changes, normalizer_changes

FORMAT = 1
SUMS = 3  # of a position's totals


class CheckpointHistory(NamedTuple):
    """Metadata of a run in a checkpoint."""

    step: int
    optimizer_steps: int
    position: Position
    results: list[EpochResult]
    best: int
    skipped: int
    num_samples: int
    steps_per_epoch: int
    config: dict[str, Any]
    signature: Signature
    normalizer: Normalizer | None
    target_normalizer: Normalizer | None


# what must be as it was, and the option that sets it; all else may change from one part of a run to the next
FIXED = {
    ("model", "name"): "--model",
    ("model", "widths"): "--widths",
    ("model", "activation"): "--activation",
    ("model", "freeze"): "--freeze",
    ("model", "lora"): "--lora",
    ("data", "task"): "--task",
    ("data", "batch_tokens"): "--batch-tokens",
    ("data", "batch_size"): "--batch-size",
    ("data", "split"): "--draw-test",
    ("data", "validation"): "--validation",
    ("data", "fold"): "--fold",
    ("optimizer", "name"): "--optimizer",
    ("parallel", "sync"): "--sync",
    ("run", "seed"): "--seed",
}

# what checkpoints did not say before there was a choice
BEFORE = {
    "split": SPLIT_BEFORE,
    "validation": 0.0,
    "fold": "",
    "batch_tokens": 0,
    "freeze": "",
    "lora": "",
    "sync": EVERY_STEP,
}
BY_NAME = ("--optimizer", "--sync")  # their options may change


def metadata_of(run: TrainingRun) -> dict[str, Any]:
    """Return the metadata of a checkpoint (JSON-able)."""
    here, config = run.position, run.config
    return run.setup.metadata(config) | {
        "format": FORMAT,
        "config": dataclasses.asdict(config),
        "ranks": run.world.size,
        "num_samples": len(run.setup.dataset.train),
        "steps_per_epoch": len(run.loader),
        "step": run.step,
        "optimizer_steps": run.optimizer.step_count,
        "position": {**dataclasses.asdict(here), "totals": here.totals.tolist()},
        "results": [dataclasses.asdict(result) for result in run.results.evaluations],
        "best_epoch": run.results.best,  # the number of an evaluation; by default there is one for each epoch
        "skipped": run.results.skipped,
    }


def find_checkpoint(world: World, path: Path, note: Callable[[str], None]) -> Checkpoint | None:
    """Return the checkpoint at ``path``, or the newest in that directory that is whole; None if there is none.

    All ranks call it together and share the work of comparing checksums.

    Parameters
    ----------
    note : callable(str)
        Told, on rank 0, which files of a directory were passed over, and why.

    Raises
    ------
    AgreedError
        If ``path`` is a file and not a whole checkpoint.
    """
    is_file, paths = world.all_gather((path.is_file(), newest_first(path)))[0]
    for candidate in [path] if is_file else paths:
        checkpoint, error, digest = None, None, ""
        try:
            checkpoint = Checkpoint(candidate)
            checkpoint.verify(world.rank, world.size)
            history_of(checkpoint)
            digest = checkpoint.digest
        except UserError as problem:
            error = str(problem)
        answers = world.all_gather((error, digest))
        errors = [text for text, _ in answers if text]
        if not errors and len({digest for _, digest in answers}) > 1:
            errors = [f"{candidate} is another file on other ranks: a run needs a directory that all nodes see"]
        if not errors:
            return checkpoint
        with world.together():
            if is_file:
                raise UserError(errors[0])
        if world.rank == 0:
            note(f"passed over: {errors[0]}")
    return None


def history_of(checkpoint: Checkpoint) -> CheckpointHistory:
    """Return the metadata of the run in a checkpoint; raise UserError without any."""
    facts = checkpoint.metadata
    try:
        if facts["format"] != FORMAT:
            raise ValueError("another format")
        position = Position(**{**facts["position"], "totals": np.array(facts["position"]["totals"], np.float64)})
        if "samples" not in facts["position"]:  # older versions evaluated after each epoch
            position.samples = position.steps * int(facts["config"]["data"]["batch_size"])
        results = [_result_of(r) for r in facts["results"]]
        numbers = [facts[name] for name in ("step", "optimizer_steps", "best_epoch", "skipped", "num_samples")]
        step, optimizer_steps, best, skipped, num_samples = (_whole(number) for number in numbers)
        _whole(position.epoch - 1), _whole(position.steps), _whole(position.samples), float(position.seconds)
        if position.totals.shape != (SUMS,) or best > len(results):
            raise ValueError("an evaluation that is not there")
        for result in results:
            _check_result(result)
        if results and results[-1].step > step:
            raise ValueError("an evaluation after the last step")
        config = {branch: dict(table) for branch, table in facts["config"].items()}
        before = num_steps(num_samples, int(facts["config"]["data"]["batch_size"]))  # older versions do not say
        steps = max(1, _whole(facts.get("steps_per_epoch", before)))
        signature, normalizer = Signature.from_facts(facts), normalizer_from(facts["normalizer"])
        targets = facts["target_normalizer"]
        target_normalizer = None if targets is None else normalizer_from(targets)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise UserError(f"{checkpoint.path} holds no run that this version of mpitrain can resume") from None
    figures = (step, optimizer_steps, position, results, best, skipped, num_samples, steps)
    return CheckpointHistory(*figures, config, signature, normalizer, target_normalizer)


def _result_of(facts: dict[str, Any]) -> EpochResult:
    """Return the figures of an epoch, with non-finite numbers converted from text."""
    kinds = ("train", "test", *(["validation"] if "validation" in facts else []))
    scores = {name: {key: _number(value) for key, value in facts[name].items()} for name in kinds}
    return EpochResult(**{**facts, **scores, "times": Times(**facts["times"])})


def _number(value: Any) -> Any:
    return float(value) if value in WORDS.values() else value


def _check_result(result: EpochResult) -> None:
    for number in (result.lr, result.samples_per_second, result.seconds, *dataclasses.astuple(result.times)):
        float(number)
    for scores in (result.train, result.test, result.validation):
        if not all(isinstance(value, float | int) for value in scores.values()):
            raise ValueError("a score that is not a number")
    _whole(result.epoch), _whole(result.step)


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(number)
    return number


def check_fit(
    config: Config, checkpoint: Checkpoint, setup: TrainingSetup, allow_changed_data: bool = False
) -> list[str]:
    """Raise a UserError if the run of ``checkpoint`` cannot continue with ``config`` and the data of ``setup``.

    Returns
    -------
    list of str
        Changes of the data, if they are allowed; otherwise they are an error.
    """
    past = history_of(checkpoint)
    for (branch, key), option in FIXED.items():
        now, then = getattr(getattr(config, branch), key), past.config.get(branch, {}).get(key, BEFORE.get(key))
        then = tuple(then) if isinstance(then, list) else then
        same = short_name(str(now)) == short_name(str(then)) if option in BY_NAME else now == then
        if not same:
            raise UserError(
                f"{option} is {_say(now)}, but {checkpoint.path} was written with {_say(then)}: "
                "a run can only be resumed as it was begun"
            )
    here, epochs, steps = past.position, config.run.epochs, config.run.steps
    if steps and past.step > steps:
        raise UserError(
            f"--steps is {steps}, but {checkpoint.path} was written after step {past.step}: "
            "what is done cannot be resumed with fewer"
        )
    if not steps and here.epoch - 1 + (here.steps > 0) > epochs:
        raise UserError(
            f"--epochs is {epochs}, but {checkpoint.path} was written in epoch {here.epoch - (here.steps == 0)}: "
            "what is done cannot be resumed with fewer"
        )
    found = list(_changes(past, setup))
    if found and not allow_changed_data:
        raise UserError(
            f"the data are not those that {checkpoint.path} was written with: {found[0]}; "
            "--allow-changed-data continues with other data"
        )
    return found


def _changes(past: CheckpointHistory, setup: TrainingSetup) -> Iterator[str]:
    now = setup.signature or Signature.of(setup.dataset)
    num_samples = len(setup.dataset.train)
    if num_samples != past.num_samples:
        yield f"there were {past.num_samples:,} training samples and are now {num_samples:,}"
    yield from changes(past.signature, now)
    exact, targets = bool(past.signature.contents), (now.target_name,) if now.target_name else ()
    yield from normalizer_changes(past.normalizer, setup.normalizer, now.feature_names, "samples", exact=exact)
    yield from normalizer_changes(past.target_normalizer, setup.target_normalizer, targets, "targets", exact=exact)


def earlier_signature(world: World, path: Path) -> Signature | None:
    """Return the signature in the newest readable checkpoint of a directory, or in the file ``path``; None without one.

    All ranks call it together, and rank 0 reads.
    """
    found: Signature | None = None
    if world.rank == 0:
        for candidate in [path] if path.is_file() else newest_first(path):
            with contextlib.suppress(UserError):
                found = history_of(Checkpoint(candidate)).signature
                break
    found = world.all_gather(found)[0]
    return found


def with_normalizers_of(checkpoint: Checkpoint, setup: TrainingSetup) -> TrainingSetup:
    """Return ``setup`` with the normalizers that the weights of ``checkpoint`` were trained with."""
    past = history_of(checkpoint)
    return dataclasses.replace(setup, normalizer=past.normalizer, target_normalizer=past.target_normalizer)


def restore(run: TrainingRun, checkpoint: Checkpoint) -> None:
    """Restore ``run`` from ``checkpoint``; raise UserError if it does not fit."""
    past, group = history_of(checkpoint), run.group
    odd = checkpoint.sync_slots ^ {prefix for prefix in run.tensors.slots if prefix.startswith(SYNC)}
    if odd:
        names = ", ".join(sorted(odd))
        run.display.note(f"the exchange of gradients is another than before: its state begins anew ({names[:-1]})")
    checkpoint.load(run.tensors, run.data_parallel.sync.own, row=(group.rank, group.size))
    run.optimizer.step_count = past.optimizer_steps
    run.step = run.resumed_at = past.step
    run.position = past.position
    run.results.restore(past.results, past.best, past.skipped)


def _say(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value) or "empty"
