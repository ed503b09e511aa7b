"""Settings beyond the size of the data or the machine: limited with a note, or refused."""

import os

from ..comm.world import World
from ..config import Config
from ..errors import UserError
from ..layers import Layer

GIB = 2**30


def num_microbatches(config: Config, num_samples: int, num_ranks: int) -> int:
    """Return the microbatches of a rank's part of a step: --accumulate, but no more than it has samples."""
    samples = _samples_of_a_step(config, num_samples)
    return min(config.optimizer.accumulate, max(1, -(-samples // num_ranks)))


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
    parts = num_microbatches(config, num_samples, num_ranks)
    if parts < config.optimizer.accumulate:
        found.append(
            f"--accumulate {config.optimizer.accumulate} is more than the {parts:,} samples that a rank has of a step: "
            f"it takes {parts:,}"
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


def check_memory(config: Config, model: Layer, world: World) -> None:
    """Raise a UserError if the weights and gradients of ``model`` need more memory than the machine has.

    Counted is the least that any way of training needs: the weights once on a node, gradients on each of its ranks.
    """
    parameters = sum(p.size for p in {id(p): p for _, p in model.named_parameters()}.values())
    needed = 4 * parameters * (1 + world.node_size)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise UserError(
            f"{config.model.name} has {parameters:,} parameters: weights and gradients of {world.node_size} "
            f"rank{'s' * (world.node_size > 1)} take {needed / GIB:,.1f} GiB, and this machine has {there / GIB:,.1f}"
        )


def _samples_of_a_step(config: Config, num_samples: int) -> int:
    return min(config.data.batch_size, num_samples)
