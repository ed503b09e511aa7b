"""One training of ``mpitrain scale``, on all ranks of a job: ``python -m mpitrain.cli.scale.worker CONFIG RESULT``."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ...config import Config, Run
from ...config_file import read_config
from ...data.files import write_atomically
from ...json_text import to_json
from ...run_rules import EVERY_STEP
from ..main import run
from ..order import Job
from ..streams import finish, prepare
from ..train import make_screen

if TYPE_CHECKING:
    from ...comm.world import World

WARM_UP = 5  # steps: buffers are made, caches are filled


def main(argv: list[str]) -> int:
    """Train as the file of settings ``argv[0]`` says, and write the times of the steps to ``argv[1]``."""
    prepare()
    config, result = read_config(Path(argv[0])), Path(argv[1])
    return finish(run(Job("scale", config, lambda world: measure(config, world, result))))


def measure(config: Config, world: "World", result: Path) -> int:
    """Time the steps with all ranks; rank 0 writes them."""
    from ...training.opening import open_training
    from ...training.time_steps import time_steps

    config, setup, threads = open_training(config, world)
    display = make_screen(dataclasses.replace(config, run=Run(progress="none")), world)[1]
    facts = time_steps(config, setup, world, display, WARM_UP) | {
        "threads": threads,
        "machine_cores": _cores_of(world),
        "unpriced": why_unpriced(config),
    }
    with world.together():
        if world.rank == 0:
            write_atomically(result, to_json(facts))
    return 0


def why_unpriced(config: Config) -> str:
    """Return why the exchange has no price, by its settings; empty if it may have one."""
    p = config.parallel
    settings = {
        f"--sync {p.sync}": p.sync != EVERY_STEP,
        f"--compress {p.compress}": p.compress != "none",
        f"--gradient-hook {p.gradient_hook}": bool(p.gradient_hook),
        f"--mesh {p.mesh}": bool(p.mesh),
        f"--reproducible {p.reproducible}": p.reproducible > 0,
    }
    found = next((text for text, given in settings.items() if given), "")
    return f"messages with {found} have no price" if found else ""


def _cores_of(world: "World") -> int:
    """Return the number of cores on which the ranks may run, of all nodes."""
    return len({(node, core) for node, cores in world.all_gather(world.affinity) for core in cores})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
