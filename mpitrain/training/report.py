"""Final report of a run: report.json, and the table that rank 0 prints at the end."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..comm.world import World
from ..parallel.sync.base import LocalSteps
from ..plain_text import binary_size, count
from ..run_rules import EVERY_STEP
from .directory.run_directory import CURVES, LAST, METRICS, REPORT, TASKS, TRACE
from .display.curves import draw_curves
from .display.score_text import show_scores
from .display.tables import print_tables
from .executors import DynamicExecutor
from .hooks import Hooks
from .hooks.balance import Balance
from .hooks.checkpoints import Checkpoints
from .hooks.evaluation import Evaluation
from .hooks.profiler import Profiler
from .hooks.recorder import Recorder
from .loop import TrainingLoop
from .run import TrainingRun
from .run_length import counts_steps
from .scoring.examples import examine
from .step_timer import Times, blame

if TYPE_CHECKING:
    from .display.console import PlainConsole

EXAMPLE_SECONDS = 10.0
NOTHING_TO_SUM = "each part of the model is on one rank, nothing to sum"
SUMMING = {"data", "space", "context", "expert"}  # axes over which gradients are summed
"""Time of training in which as many samples pass as are examined for examples.json at most."""


def write_results(loop: TrainingLoop, path: Path, seconds: float, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write what is left at the end of a run into its directory; return the report. All ranks call it together.

    These are report.json, examples.json, curves.svg and, with ``--profile``, trace.json; metrics.jsonl is closed.

    Parameters
    ----------
    more : dict, optional
        Further entries of the report.

    Raises
    ------
    AgreedError
        If they cannot be written.
    """
    run, results = loop.run, loop.run.results
    profiler, directory = loop.hooks.one(Profiler), loop.hooks[Recorder].directory
    if profiler is not None:
        profiler.save(run.world, path / TRACE)
        if run.setup.pipeline is not None:
            profiler.save_tasks(run.setup.pipeline.pipe, run.setup.pipeline.stages.program, path / TASKS)
    report = make_report(loop, seconds) | (more or {})
    with run.world.together(asleep=True):
        if directory is not None:
            directory.write_report(report)
            title = f"{run.config.model.name} on {run.setup.dataset.name}, {count(run.world.size, 'rank')}"
            by_step = counts_steps(run.config.run)
            draw_curves(results.evaluations, results.metric, title, path / CURVES, results.best, by_step=by_step)
    speed = run.world.all_gather(report["samples_per_second"])[0]  # measured by each rank, but one number for all
    most = int(EXAMPLE_SECONDS * speed)
    examples = examine(loop.hooks[Evaluation].evaluator, run.setup.dataset, run.scoring, most)
    with run.world.together(asleep=True):
        if directory is not None:
            directory.write_examples({"step": run.step, **examples})
            directory.close()
    return report


def make_report(loop: TrainingLoop, seconds: float) -> dict[str, Any]:
    """Return the report of a run (collective, since it holds the times of all ranks).

    ``test`` and ``validation`` hold the scores of the last weights, ``best`` and ``best_validation`` those of the best
    epoch: that with the best validation score. Without a validation split the choice is made by the test samples, so
    that ``best`` is then too good as an estimate for new samples.
    """
    run, results, world = loop.run, loop.run.results, loop.run.world
    rank_times = world.all_gather(run.times)
    mean = Times()
    for times in rank_times:
        mean.add(times)
    sync, setup = run.data_parallel, run.setup
    samples = sum(r.samples_per_second * r.seconds for r in results.evaluations)
    last, best = results.evaluations[-1], results[results.best]
    return {
        "test": last.test,
        "best": {"epoch": best.epoch, "step": best.step, **best.test},
        **({"validation": last.validation, "best_validation": best.validation} if last.validation else {}),
        "train": last.train,
        "tables": results.tables,
        "by_step": counts_steps(run.config.run),
        "class_names": list(setup.dataset.class_names),
        "epochs": last.epoch if run.stopped else run.step // len(run.loader),
        "steps": run.step,
        "stopped": run.stopped,
        "early_stop": {"rule": run.config.run.early_stop, "reason": run.finished} if run.finished else None,
        "seconds": round(seconds, 3),
        "samples_per_second": round(samples / sum(r.seconds for r in results.evaluations), 1),
        "ranks": world.size,
        "devices": run.devices,
        "precision": run.config.compute.precision,
        "losses": run.losses,
        "mpi": world.mpi_version,
        "all_reduce": " and ".join(sorted(set(sync.algorithms))),
        "all_reduce_reason": "; ".join(sync.reasons),
        "sharded": sync.sync.sharded,
        "buckets": len(sync.buckets),
        "bytes_per_step": int(mean_over_ranks(world, sync.bytes_per_step)),
        "messages_per_step": mean_over_ranks(world, sync.messages_per_step),
        "exchanges": [
            {"algorithm": name, "bytes": sent, "messages": messages} for name, sent, messages in sync.sync.exchanges
        ],
        "parameters": setup.num_parameters,
        "trained_parameters": setup.num_trained,
        "resumed_at": run.resumed_at,
        "skipped_steps": results.skipped,
        "checkpoints": _checkpoints(loop.hooks),
        "slowest": blame(rank_times, _hint(run)) if world.size > 1 else "",
        **_mesh(loop),
        **_pipeline(loop),
        **_balance(loop),
        **_meetings(loop),
        "time_share": mean.shares(),
        "time_share_of_rank": [times.shares() for times in rank_times],
    }


def mean_over_ranks(world: World, number: float) -> float:
    """Return the mean of ``number`` over the ranks, rounded down to a whole one above 1 (collective)."""
    mean: float = sum(world.all_gather(number)) / world.size
    return int(mean) if mean >= 1 or not mean else round(mean, 2)


def _meetings(loop: TrainingLoop) -> dict[str, Any]:
    """Return what was sent with --sync, and what sums in every step would have sent (collective)."""
    sync, world = loop.run.data_parallel.sync, loop.run.world
    if not isinstance(sync, LocalSteps):
        return {}
    return {
        "sync": {
            "method": loop.run.config.parallel.sync,
            "steps": sync.num_steps,
            "meetings": sync.num_meetings,
            "bytes_sent": int(mean_over_ranks(world, sync.bytes_sent)),
            "bytes_every_step": int(mean_over_ranks(world, sync.num_steps * sync.bytes_per_meeting)),
        }
    }


def _mesh(loop: TrainingLoop) -> dict[str, Any]:
    """Return the axes of the mesh with several ranks; empty where each rank has the whole model."""
    roles = loop.run.setup.roles
    return {} if roles is None else {"mesh": {axis: size for axis, size in roles.mesh.sizes.items() if size > 1}}


def _pipeline(loop: TrainingLoop) -> dict[str, Any]:
    """Return the schedule, the stages and the idle time of a pipeline; empty without one (collective)."""
    pipeline, runner = loop.run.setup.pipeline, loop.run.runner
    if pipeline is None or runner is None:
        return {}
    cut = pipeline.cut
    idle = runner.times.idle
    ranks = loop.run.world.all_gather((None if idle is None else round(idle, 4), list(pipeline.stages.own)))
    return {
        "pipeline": {
            "schedule": loop.run.config.parallel.pipeline,
            "microbatches": pipeline.microbatches,
            "units_of_stage": [cut.span(stage) for stage in range(pipeline.stages.num_stages)],
            "parameters_of_stage": list(cut.parameters),
            "stages_of_rank": [stages for _, stages in ranks],
            "idle_of_rank": [idle for idle, _ in ranks],
            "predicted_idle": round(pipeline.predict().price.bubble, 4),
        },
    }


def _hint(run: TrainingRun) -> str:
    """Return what would help where a rank is slow; empty where it would not."""
    p, sums = run.config.parallel, run.config.parallel.sync == EVERY_STEP and not run.config.parallel.reproducible
    can = p.balance == "off" and sums and run.setup.pipeline is None and not run.world.oversubscribed
    return "--balance auto gives it fewer samples" if can else ""


def _balance(loop: TrainingLoop) -> dict[str, Any]:
    """Return the shares of the ranks at the end, and what their changes brought; empty where shares are equal."""
    run, hook = loop.run, loop.hooks.one(Balance)
    names = [run.group.name_of(rank) for rank in range(run.group.size)]
    if isinstance(loop.executor, DynamicExecutor):
        taken = run.group.all_gather(loop.executor.taken)
        shares = [round(number / max(1, sum(taken)), 5) for number in taken]
        return {"balance": {"mode": "dynamic", "shares": shares, "ranks": names}}
    weights = run.loader.weights_at((run.position.epoch, run.position.steps))
    if hook is None and not weights:
        return {}
    shares = [weight / sum(weights) for weight in weights] or [1 / run.group.size] * run.group.size
    found = {"shares": [round(share, 5) for share in shares], "ranks": names}
    return {"balance": {"mode": run.config.parallel.balance, **found, **({} if hook is None else hook.summary())}}


def _checkpoints(hooks: Hooks) -> dict[str, Any]:
    """Return the number of checkpoints, and the time that training waited for each (on rank 0)."""
    writer = hooks[Checkpoints].writer
    stalls = np.array(writer.stalls if writer is not None else []) * 1e3
    return {
        "written": writer.written if writer is not None else 0,
        "failed": writer.failed if writer is not None else 0,
        "bytes": writer.num_bytes if writer is not None else 0,
        "stall_ms": round(float(np.median(stalls)), 2) if stalls.size else 0.0,
        "longest_stall_ms": round(float(stalls.max(initial=0)), 2),
    }


def print_report(report: dict[str, Any], directory: Path, console: "PlainConsole") -> None:
    """Print the summary and where the files are."""
    from .display.text_table import Column, print_table

    best = {k: v for k, v in report["best"].items() if k not in ("epoch", "step")}
    when = f"(step {report['best']['step']:,})" if report["by_step"] else f"(epoch {report['best']['epoch']})"
    rows = [("test", show_scores(report["test"]))]
    if "validation" in report:
        rows.append(("validation", show_scores(report["validation"])))
        rows.append(("best validation", f"{show_scores(report['best_validation'])} {when}"))
        rows.append(("its test", show_scores(best)))
    else:
        rows.append(("best test", f"{show_scores(best)} {when}"))
    rows += [
        ("speed", f"{report['samples_per_second']:,.0f} samples/s on {count(report['ranks'], 'rank')}"),
        ("gradients", _say_exchange(report)),
    ]
    if "pipeline" in report:
        rows.append(("pipeline", _say_pipeline(report["pipeline"])))
    if "balance" in report:
        rows.append(("shares", _say_shares(report["balance"])))
    if report["early_stop"]:
        rows.append(("early stop", report["early_stop"]["reason"]))
    if report["skipped_steps"]:
        rows.append(("skipped", count(report["skipped_steps"], "step")))
    saved = report["checkpoints"]
    if saved["written"] or saved["failed"]:
        failed = f", {saved['failed']} failed" if saved["failed"] else ""
        stalls = f"training stood still for {saved['stall_ms']:.1f} ms each, {saved['longest_stall_ms']:.1f} at most"
        rows.append(("checkpoints", f"{saved['written']} of {saved['bytes'] / 2**20:.1f} MiB{failed}; {stalls}"))
    if report["slowest"]:
        rows.append(("slowest", report["slowest"]))
    for loss in report["losses"]:
        ranks = count(loss["ranks_left"], "rank")
        who = ", ".join(map(str, loss["ranks"]))
        rows.append(("lost", f"rank {who} in step {loss['step']}; {ranks} continued after {loss['seconds']:.1f} s"))
    print_table(console, [Column("", "word", "bold"), Column("", "text")], rows, head=False)
    _print_times(console, report)
    print_tables(console, report["tables"], report["class_names"])
    verb = "stopped early; the last weights are in" if report["stopped"] else "weights in"
    console.say(f"{verb} {directory / LAST}; also {REPORT}, {METRICS}, {CURVES}")
    if report["stopped"] and saved["written"]:
        console.say(f"continue with --resume {directory}")


def _say_pipeline(report: dict[str, Any]) -> str:
    stages, idle = len(report["units_of_stage"]), [share for share in report["idle_of_rank"] if share is not None]
    parts = f"{count(stages, 'stage')}, {count(report['microbatches'], 'microbatch')}"
    predicted = f"predicted {report['predicted_idle']:.0%}"
    if not idle:
        return f"{report['schedule']}: {parts}; {predicted} of a step idle"
    return f"{report['schedule']}: {parts}; ranks were idle for {sum(idle) / len(idle):.0%} of a step ({predicted})"


def _say_shares(report: dict[str, Any]) -> str:
    shares, changes, gain = report["shares"], report.get("changes", 0), report.get("measured_gain")
    (low, slow), (high, fast) = (pick(zip(shares, report["ranks"], strict=True)) for pick in (min, max))
    text = "equal" if f"{low:.0%}" == f"{high:.0%}" else f"of a batch from {low:.0%} ({slow}) to {high:.0%} ({fast})"
    if report["mode"] != "auto":
        return text
    how = f"changed {'once' if changes == 1 else f'{changes} times'}" if changes else "never changed"
    effect = "" if gain is None else f"; steps became {abs(gain):.0%} {'shorter' if gain >= 0 else 'longer'}"
    return f"{text}, {how}{effect}"


def _say_rank(rank: int, report: dict[str, Any]) -> str:
    """Return the name of a rank for a table, with the stages that it has in a pipeline."""
    stages = report["pipeline"]["stages_of_rank"][rank] if "pipeline" in report else []
    name = f", stage{'s' if len(stages) > 1 else ''} {' and '.join(map(str, stages))}" if stages else ""
    return f"rank {rank}{name}"


def _say_exchange(report: dict[str, Any]) -> str:
    if report["ranks"] == 1:
        return "one rank, nothing to sum"
    if "mesh" in report and not SUMMING & report["mesh"].keys():
        return NOTHING_TO_SUM
    if "sync" in report:
        return _say_meetings(report["sync"])
    if report["sharded"] and not report["messages_per_step"]:
        return f"{report['all_reduce']}: no messages, each rank updates its share of the weights in common memory"
    sent = f"{binary_size(report['bytes_per_step'])} in {count(report['messages_per_step'], 'message')}"
    return f"{report['all_reduce']}: {sent} a step and rank, {count(report['buckets'], 'bucket')}"


def _say_meetings(report: dict[str, Any]) -> str:
    sent, every = report["bytes_sent"], report["bytes_every_step"]
    meetings = f"{report['method']}: {count(report['meetings'], 'meeting')} in {count(report['steps'], 'step')}"
    if not every:
        return f"{meetings}, in shared memory"
    saved = 1 - sent / every
    than = f"{abs(saved):.0%} {'less' if saved >= 0 else 'more'} than sums in every step"
    return f"{meetings}, {binary_size(sent)} a rank in all, {than}"


def _print_times(console: "PlainConsole", report: dict[str, Any], most: int = 16) -> None:
    from .display.text_table import Column, print_table

    shares = report["time_share_of_rank"]
    rows = [
        [_say_rank(rank, report), *(f"{v:.0%}" for v in share.values())] for rank, share in enumerate(shares[:most])
    ]
    if len(shares) > most:
        rows.append([f"mean of {len(shares)}", *(f"{v:.0%}" for v in report["time_share"].values())])
    print_table(console, [Column("time", "word"), *(Column(name) for name in shares[0])], rows)
