"""Opening of a training: threads, device, data and network, from its settings and a run that it continues."""

import dataclasses

from ..comm.world import World
from ..config import Config
from ..data.sources import inherit_options
from ..device import CPU
from .devices import take_device
from .directory.open_run import find_earlier
from .limits import num_threads
from .pretrained.with_weights import with_weights
from .setup import TrainingSetup, open_setup, resolved


def open_training(
    config: Config, world: World, resume: str = "", *, divide: bool = False
) -> tuple[Config, TrainingSetup, int]:
    """Return the resolved config, the setup and the number of BLAS threads of a run; ``divide`` is the setup's."""
    if config.parallel.elastic:
        world.be_elastic()
    world.watch(config.parallel.timeout)
    threads = num_threads(config, world)
    CPU.use_threads(threads)
    with world.together():
        world.check_name(config.parallel.all_reduce)
    earlier = find_earlier(config, world, resume)
    if earlier is not None:
        with world.together():
            source = inherit_options(config.data.source, earlier.source)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=source))
    else:
        with world.together():
            config = with_weights(config)
    device = take_device(config, world)
    if config.parallel.mesh == "auto":
        from .mesh.auto import with_mesh

        config = with_mesh(config, world, device)
    setup = open_setup(config, world, device, earlier, divided=divide)
    return resolved(config, setup), setup, threads
