"""``mpitrain evaluate``: the scores of a finished run's weights, on any number of ranks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from .options import parse_options

if TYPE_CHECKING:
    from ..comm.world import World
    from .main import Job


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of evaluate."""

    directory: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run directory that train has written."""
    data: str = ""
    """Other data than the run's own, as in train --data."""
    weights: Literal["last", "best"] = "last"
    """Weights of the last epoch, or of the epoch with the best test score."""
    split: Literal["test", "train"] = "test"
    """Samples to score."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where, as in train --device."""
    json: bool = False
    """Print the scores as JSON."""


def parse(argv: list[str], speaks: bool) -> "Job":
    """Return the job that ``argv`` asks for."""
    text = "Score the weights of a finished run: mpirun -n 4 python -m mpitrain evaluate RUN."
    options = parse_options(EvaluateOptions, argv, command="evaluate", description=text, speaks=speaks)
    return lambda world: evaluate(options, world)


def evaluate(options: EvaluateOptions, world: "World") -> int:
    """Score one split with all ranks and print it (rank 0)."""
    from ..config import Compute, Config
    from ..device import CPU
    from ..training.devices import take_device
    from ..training.evaluation import Evaluator
    from ..training.finished import open_finished
    from ..training.progress import show_scores
    from ..training.scoring import make_scoring

    CPU.use_threads(world.cores)
    device = take_device(Config(compute=Compute(device=options.device)), world)
    with world.together():
        run = open_finished(options.directory, options.weights, device)
        dataset = run.open_dataset(options.data)
    split = getattr(dataset, options.split)
    evaluator = Evaluator(run.model, world, run.normalizer, device)
    scoring = make_scoring(run.loss, run.target_normalizer, run.num_outputs)
    scores = evaluator.scores(split, scoring)
    if world.rank == 0:
        if options.json:
            print(json.dumps({"samples": len(split), "split": options.split, **scores}))
        else:
            print(f"{dataset.name}, {len(split):,} {options.split} samples: {show_scores(scores)}")
    return 0
