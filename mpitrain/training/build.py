"""Assembly of a training loop from a config."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ..balance_options import parse_balance
from ..comm.group import Group
from ..comm.world import World
from ..config import Config
from ..context import Context
from ..data.loader import Loader
from ..parallel.data import DataParallel
from ..parallel.pipeline.runner import PipelineRunner
from ..parallel.virtual_shards import tree_all_reduce
from .control import ControlRequest, no_request
from .directory.run_directory import RunDirectory
from .display.progress_log import ProgressLog
from .executors import TimedExecutor, make_executor
from .hooks import Hook, Hooks
from .hooks.defaults import default_hooks
from .hooks.weight_average import WeightAverage
from .limits import num_microbatches, num_shards
from .loop import TrainingLoop
from .mesh.placement import bucket_bytes_of
from .recipe import make_optimizer, make_schedule
from .results import RunResults
from .run import TrainingRun
from .run_length import RunLength
from .scoring.scores import make_scoring
from .setup import TrainingSetup, augment_of, task_facts
from .work_meter import WorkMeter


def make_loop(
    config: Config,
    setup: TrainingSetup,
    world: World,
    display: ProgressLog,
    *,
    directory: RunDirectory | None = None,
    control: Callable[[], ControlRequest] = no_request,
    run_path: Path | None = None,
    hooks: Sequence[Hook] = (),
    observers: Sequence[Hook] = (),
) -> TrainingLoop:
    """Return the training loop for the model of ``setup`` (collective over all ranks).

    Parameters
    ----------
    display : ProgressLog
        Progress display; silent on other ranks than 0.
    directory : RunDirectory, optional
        Where results go; given on rank 0 only.
    control : callable() -> ControlRequest
        Called in every step; all ranks carry out the requests of any rank after that step.
    run_path : Path, optional
        Directory of the run, on all ranks, for checkpoints. Without it none are written.
    hooks : sequence of Hook
        Hooks of the user.
    observers : sequence of Hook
        Hooks that change nothing, called after all others.
    """
    shards = num_shards(config, len(setup.dataset.train), _samples(setup, world).size)
    run = make_run(config, setup, world, display, shards)
    run.path = run_path
    executor, meter = make_executor(run, shards), None
    if config.parallel.balance == "auto" and run.group.size > 1 and run.runner is None:
        meter = WorkMeter(run.loader, run.data_parallel, setup.arena.device)
        executor = TimedExecutor(executor, meter)
    with world.together():
        for hook in hooks:
            if isinstance(hook, WeightAverage):
                hook.attach(run)
    made = default_hooks(run, directory, control, run_path, hooks, meter, observers)
    return TrainingLoop(run, executor, Hooks(made, world.rank))


def make_run(config: Config, setup: TrainingSetup, world: World, display: ProgressLog, shards: int) -> TrainingRun:
    """Return the parts of a run with ``shards`` virtual shards; 0 for none."""
    sums = world.group("data") if setup.roles is None else setup.roles.sums
    sync = _make_data_parallel(config, setup, sums, shards)
    loader = _make_loader(config, setup, _samples(setup, world), shards)
    data = setup.dataset
    scoring = make_scoring(setup.loss, setup.target_normalizer, data.num_outputs, setup.metrics, **task_facts(data))
    length = RunLength.of(config.run, len(loader))
    sync.sync.passes = loader.microbatches
    ctx, pipeline = Context(seed=config.run.seed, device=setup.arena.device), setup.pipeline
    runner = None
    if pipeline is not None:
        runner = PipelineRunner(pipeline.stages, pipeline.channel, setup.training_loss, ctx, whole_outputs=shards > 0)
    optimizer = make_optimizer(config.optimizer, setup.arena)
    if setup.roles is not None:
        optimizer.sum_over_parts = setup.roles.sum_over_parts(setup.arena)
    if config.parallel.offload_optimizer:
        from ..optim.mapped_slots import map_slots

        with world.together():
            map_slots(optimizer, Path(config.parallel.offload_optimizer), sync.sync.own)
    return TrainingRun(
        config=config,
        setup=setup,
        world=world,
        data_parallel=sync,
        loader=loader,
        optimizer=optimizer,
        length=length,
        schedule=make_schedule(config.optimizer, len(loader), length.total_steps),
        ctx=ctx,
        scoring=scoring,
        display=display,
        results=RunResults(scoring),
        runner=runner,
        pipe=None if pipeline is None else pipeline.pipe,
        devices=sorted(set(world.all_gather(setup.arena.device.name))),
    )


def _samples(setup: TrainingSetup, world: World) -> Group:
    """Return the ranks among which the samples are divided."""
    return world.group("data") if setup.roles is None else setup.roles.samples


def _make_data_parallel(config: Config, setup: TrainingSetup, group: Group, shards: int) -> DataParallel:
    p, arena = config.parallel, setup.arena
    group.use_progress_thread(p.overlap == "thread")
    return DataParallel(
        setup.model,
        arena,
        group,
        all_reduce=tree_all_reduce(group, p.all_reduce, arena.gradients.nbytes) if shards else p.all_reduce,
        shard="none" if shards else p.shard,
        gather_weights=p.gather_weights,
        bucket_bytes=bucket_bytes_of(config, group),
        synchronize_batch_norm=config.model.batch_norm == "synchronized",
        sync=p.sync,
        compress=p.compress,
        gradient_hook=p.gradient_hook,
        roles=setup.roles,
        copies=() if setup.pipeline is None else setup.pipeline.stages.copies,
    )


def _make_loader(config: Config, setup: TrainingSetup, group: Group, shards: int) -> Loader:
    train, pipeline = setup.dataset.train, setup.pipeline
    stages = 1 if pipeline is None else pipeline.pipe.size
    rank, size = (
        (0, 1) if config.parallel.balance == "dynamic" else (group.rank, group.size)
    )  # 0, 1: whole microbatches
    return Loader(
        train,
        batch_size=config.data.batch_size,
        rank=rank,
        size=size,
        seed=config.run.seed,
        normalizer=setup.normalizer,
        target_normalizer=setup.target_normalizer,
        augment=augment_of(config, setup.dataset),
        microbatches=shards // group.size if shards else num_microbatches(config, len(train), stages),
        virtual_ranks=shards > 0,
        prefetch=config.data.prefetch,
        device=setup.arena.device,
        inputs=pipeline is None or pipeline.stages.takes_samples,
        targets=pipeline is None or pipeline.stages.has_last,
        whole_rows=setup.roles is not None,
        batch_tokens=config.data.batch_tokens,
        weights=parse_balance(config.parallel.balance),
    )
