"""The model of a service on one rank: a whole one, or its part of one that several ranks have together.

Shapes: n samples of a batch, K classes or targets.
"""

import timeit
from collections.abc import Callable
from typing import Any

import numpy as np

from ..comm.mesh import Mesh
from ..comm.world import World
from ..data.dataset import CLASSIFICATION, LANGUAGE_MODELING, SEGMENTATION
from ..device import Device
from ..errors import UserError
from ..generation import Sampling
from ..generation.writer import TextWriter, make_prompt
from ..training.directory.trained_model import TrainedModel, softmax
from ..training.scoring.evaluation import best_of
from .jobs import Continuation

WARM_UP = (1, 8)  # samples: what is made for the first batches of a shape is made before requests come


class Cancelled(Exception):
    """Raised in ``ServedModel.write`` when no client waits for the text any more."""


class ServedModel:
    """A trained model with its weights, ready to predict or to write (made by all ranks together).

    Parameters
    ----------
    run : TrainedModel
    world : World
    device : Device
    mesh : str
        As in ``train --mesh``: ranks with the same place on axis data have one model together.

    Attributes
    ----------
    run : TrainedModel
    device : Device
    replicas : list of tuple of int
        The ranks of each model.
    writes : bool
        True for a language model: it continues texts, and predicts nothing.
    whole : bool
        True if each rank has all of a model.
    replies : bool
        True if this rank gets the results of its replica.

    Raises
    ------
    AgreedError
        On all ranks, if the model cannot be served, or divided as asked for.
    """

    def __init__(self, run: TrainedModel, world: World, device: Device, mesh: str = ""):
        self.run, self.device, then = run, device, run.signature
        self.writes = then.task == LANGUAGE_MODELING
        placed = Mesh(world, mesh or {"data": world.size})
        self.whole = placed.sizes["data"] == world.size
        with world.together():
            _check(run, placed.sizes, self.whole)
        places = world.all_gather(placed.coordinates["data"])
        self.replicas = [
            tuple(rank for rank in range(world.size) if places[rank] == place) for place in sorted(set(places))
        ]
        self.replies = True
        if self.writes:
            run.load(world, device)
            with world.together():
                assert run.tokenizer is not None
                self._writer = TextWriter(run.next_token(0, device), run.tokenizer)
            return
        self._evaluator = run.evaluator(world, device, mesh)
        for size in WARM_UP:
            first = self.predict(np.zeros((size, *then.input_shape), then.dtype or np.float32))
            self.replies = first is not None

    def predict(self, x: np.ndarray) -> Any:
        """Return the results for samples; None on ranks that do not get them. The ranks of a replica call it together.

        Returns
        -------
        (n, K) array of float32
            Probabilities of the classes.
        (n, K) array of float64
            Values of the targets, in regression.
        tuple of (n, H, W) arrays
            The class of each pixel and its probability, in segmentation.
        """
        outputs = self._evaluator.own_outputs(x)
        if outputs is None:
            return None
        match self.run.signature.task:
            case "classification":
                return softmax(outputs)
            case "segmentation":
                return best_of(outputs)
        normalizer = self.run.target_normalizer
        return outputs if normalizer is None else normalizer.inverse(outputs)

    def seconds_of(self, samples: int) -> float:
        """Return the time that a batch takes on this rank, which has a whole model."""
        then = self.run.signature
        x = np.zeros((samples, *then.input_shape), then.dtype or np.float32)
        return min(timeit.repeat(lambda: self.predict(x), number=1, repeat=3))

    def write(
        self, asked: Continuation, say: Callable[[str], Any], cancelled: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Continue a text, and pass each piece to ``say``; return the facts about it.

        Raises
        ------
        UserError
            If the prompt or a number cannot be taken.
        Cancelled
            As soon as ``cancelled`` returns True.
        """
        assert self.run.tokenizer is not None

        def heard(piece: str) -> None:
            if cancelled():
                raise Cancelled
            say(piece)

        sampling = Sampling(asked.temperature, asked.top_k, asked.top_p, asked.seed)
        prompt = make_prompt(asked.prompt, self.run.tokenizer)
        return self._writer.write(prompt, asked.tokens, sampling, 0, heard)


def _check(run: TrainedModel, sizes: dict[str, int], whole: bool) -> None:
    """Raise a UserError if there is no way to serve the model."""
    then = run.signature
    if then.task not in (CLASSIFICATION, SEGMENTATION, LANGUAGE_MODELING, "regression"):
        raise UserError(f"a model for {then.task} cannot be served yet")
    if then.task == LANGUAGE_MODELING:
        if then.masked:
            raise UserError("the model predicts hidden words, and serve continues texts: it cannot serve this one yet")
        if run.tokenizer is None:
            raise UserError("the model was trained on tokens without a tokenizer, so it cannot read or write text")
        if not whole:
            raise UserError("a language model writes on one rank: leave out --mesh, and each rank has a whole one")
    if sizes["expert"] > 1:
        raise UserError("--mesh: serve does not divide experts over ranks; pipe and tensor divide the model, too")
