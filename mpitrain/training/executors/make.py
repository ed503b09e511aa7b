"""The step executor of a run."""

from ...head_loss import split_head
from ...parallel.virtual_shards import VirtualShards
from ..mesh.rules import check_dynamic
from ..run import TrainingRun
from .base import StepExecutor
from .dynamic import DynamicExecutor
from .eager import EagerExecutor
from .graphed import GraphedExecutor, StepGraphs, reason_against_graphs
from .pipelined import PipelineExecutor
from .virtual_shards import VirtualShardsExecutor


def make_executor(run: TrainingRun, num_shards: int) -> StepExecutor:
    """Return the executor of the config; a note gives the reason if another one is used.

    Parameters
    ----------
    num_shards : int
        Virtual shards over all ranks; 0 for none.
    """
    setup, ctx, arena, sync = run.setup, run.ctx, run.setup.arena, run.data_parallel
    if run.runner is not None:
        shards = VirtualShards(setup.model, arena, run.group, num_shards, ctx) if num_shards else None
        return PipelineExecutor(run.runner, arena, shards)
    if num_shards:
        shards = VirtualShards(setup.model, arena, run.group, num_shards, ctx)
        return VirtualShardsExecutor(setup.model, setup.loss, shards)
    eager = EagerExecutor(*split_head(setup.model, setup.training_loss), arena, ctx)
    if run.config.parallel.balance == "dynamic":
        with run.world.together():
            check_dynamic(setup.model, run.group)
        return DynamicExecutor(eager, run.group.tickets)
    if run.config.compute.cuda_graph == "off" or not arena.device.captures:
        return eager
    if reason := reason_against_graphs(setup.model):
        if run.world.rank == 0:
            run.display.note(f"no CUDA graph of the step: {reason}")
        return eager
    buckets = sync.buckets if run.group.size > 1 else []
    graphs = StepGraphs(arena, ctx, run.loader.microbatches, buckets, run.display.note)
    run.on_new_shares = graphs.forget
    return GraphedExecutor(eager, graphs)
