"""Settings beyond the size of the data or the machine: limited with a note, or refused."""

import math
import os

from ..balance_options import parse_balance
from ..comm.world import World
from ..config import Config
from ..errors import UserError
from ..layers import ColumnEmbeddings, Layer
from ..model_table import ModelTable

GIB = 2**30
MICROBATCHES_OF_A_STAGE = 4  # the idle part of 1f1b is then below a fifth


def num_microbatches(config: Config, num_samples: int, num_stages: int = 1) -> int:
    """Return the microbatches of a step: --accumulate, but no more than it has samples.

    Parameters
    ----------
    num_stages : int
        Ranks of a pipeline, which decide where --accumulate does not.
    """
    wanted = config.optimizer.accumulate or (MICROBATCHES_OF_A_STAGE * num_stages if num_stages > 1 else 1)
    return min(wanted, max(1, _samples_of_a_step(config, num_samples)))


def largest_share(config: Config, samples: int, num_ranks: int) -> int:
    """Return the samples, of so many, of the rank that has the most (with --balance auto, at the start).

    With --balance dynamic any rank may take any of them.
    """
    weights = parse_balance(config.parallel.balance)
    if config.parallel.balance == "dynamic":
        return samples
    if not weights:
        return math.ceil(samples / num_ranks)
    return min(samples, math.ceil(samples * max(weights) / math.fsum(weights)))


def num_shards(config: Config, num_samples: int, num_ranks: int) -> int:
    """Return the virtual shards of a step: --reproducible, up to the largest number that changes any bits.

    Each shard beyond the samples of a step is empty, and adds zeros at the end of the tree: a tree of the next power of
    two has the same sums. There is one shard for each rank at least.
    """
    samples = _samples_of_a_step(config, num_samples)
    enough = max(1 << (samples - 1).bit_length(), num_ranks)
    return min(config.parallel.reproducible, enough)


def notes(config: Config, num_samples: int, num_ranks: int) -> tuple[str, ...]:
    """Return a note on each setting that is limited."""
    samples = _samples_of_a_step(config, num_samples)
    found = []
    if config.data.batch_size > max(num_samples, Config().data.batch_size):  # the default is not a request
        found.append(
            f"--batch-size {config.data.batch_size} is more than the {num_samples:,} training samples: "
            "each step takes all of them"
        )
    shards = num_shards(config, num_samples, num_ranks)
    if shards < config.parallel.reproducible:
        found.append(
            f"--reproducible {config.parallel.reproducible} is more than the {samples:,} samples of a step: "
            f"{shards} shards give the same bits"
        )
    count, shard = num_microbatches(config, num_samples), config.parallel.shard
    if count > 1 and num_ranks > 1 and shard in ("gradients", "weights"):
        found.append(
            f"--shard {shard} sums the gradients of each of the {count} microbatches over the ranks by themselves: "
            f"{count} times the bytes of one sum a step"
        )
    if samples < config.optimizer.accumulate:
        found.append(
            f"--accumulate {config.optimizer.accumulate} is more than the {samples:,} samples of a step: "
            f"it takes {samples:,}"
        )
    return tuple(found)


def num_threads(config: Config, world: World) -> int:
    """Return the BLAS threads of each rank: --threads, but no more than the machine has cores."""
    threads = config.parallel.threads or (1 if config.parallel.reproducible else world.cores)
    cores = os.cpu_count() or 1
    if config.parallel.threads > cores:
        world.notes.append(f"--threads {config.parallel.threads} is more than the cores of this machine: takes {cores}")
        return cores
    return threads


def check_memory(config: Config, model: Layer, world: World, num_parts: int = 1) -> None:
    """Raise a UserError if the weights and gradients of ``model`` need more memory than the machine has.

    Counted is the least that any way of training needs: the weights once on a node, gradients of those that are trained
    on each of its ranks that has them, of which ``num_parts`` have the model together. Those of large embedding tables
    may be a few rows.
    """
    whole = ModelTable.of(model)
    parameters, trained = (sum(entry.size for entry in some) for some in (whole.parameters, whole.trained))
    columns = [layer for layer in model.layers() if isinstance(layer, ColumnEmbeddings)]
    tables = [layer.tables[number].weight for layer in columns for number in layer.large]
    trained -= sum(p.size for p in tables if not p.frozen)
    copies = world.node_size / num_parts
    needed = int(4 * (parameters * min(1, copies) + trained * copies))
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise UserError(
            f"{config.model.name} has {parameters:,} parameters: weights and gradients of {world.node_size} "
            f"rank{'s' * (world.node_size > 1)} take {needed / GIB:,.1f} GiB, and this machine has {there / GIB:,.1f}"
        )


def _samples_of_a_step(config: Config, num_samples: int) -> int:
    return min(config.data.batch_size, num_samples)
