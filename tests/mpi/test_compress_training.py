"""Training with compressed gradients: checkpoints, another codec from there on, and what is learned."""

import numpy as np
import pytest

from mpitrain import Hook, Trainer
from mpitrain.errors import AgreedError

pytestmark = pytest.mark.mpi

OPTIONS = {"epochs": 2, "progress": "none", "batch_size": 100, "check_every": 1}
MODEL = "mlp:widths=16"
STEP = 7


class Requests(Hook):
    """Asks for a checkpoint after a step, and perhaps for the end of the run."""

    def __init__(self, *, ends):
        self._ends = ends

    def step_begin(self, info):
        if info.step == STEP:
            info.run.requests.save = True
            info.run.requests.preempt = self._ends


@pytest.mark.parametrize("compress", ["sign", "topk:fraction=0.1", "randomk:fraction=0.1", "powersgd:rank=2"])
def test_a_run_is_continued_to_the_bit(world, directory, compress):
    """With the same checkpoints: each gives all ranks the mean of their errors."""
    if world.size > 4 and compress != "sign":
        pytest.skip("runs on fewer ranks")
    settings = OPTIONS | {"compress": compress, "world": world}
    whole = Trainer(MODEL, "digits", out=str(directory / "whole"), hooks=[Requests(ends=False)], **settings)
    expected = whole.fit()
    out = str(directory / "run")
    first = Trainer(MODEL, "digits", out=out, hooks=[Requests(ends=True)], **settings).fit()
    assert (first.steps, first.stopped) == (STEP, True)
    trainer = Trainer(MODEL, "digits", out=out, **settings)
    result = trainer.fit(resume=True)
    assert result.steps == expected.steps
    np.testing.assert_array_equal(trainer.setup.arena.values, whole.setup.arena.values)


@pytest.mark.parametrize(("before", "after"), [("int8", "none"), ("none", "sign"), ("powersgd:rank=2", "bf16")])
def test_a_run_is_continued_with_another_codec(world, directory, before, after, capfd):
    if world.size > 4:
        pytest.skip("runs on fewer ranks")
    settings, out = OPTIONS | {"world": world}, str(directory / "run")
    Trainer(MODEL, "digits", out=out, hooks=[Requests(ends=True)], compress=before, **settings).fit()
    result = Trainer(MODEL, "digits", out=out, compress=after, **settings).fit(resume=True)
    assert not result.stopped
    assert result.test["accuracy"] > 0.5
    if world.rank == 0:
        assert (
            "the exchange of gradients is another than before: its state begins anew (sync." in capfd.readouterr().err
        )


def test_settings_that_do_not_go_together(world):
    pipe = [({"mesh": "pipe=2"}, "--compress does not go with a pipeline yet: only its last stage knows the weight")]
    for more, message in (
        *(pipe if world.size == 2 else []),
        ({"reproducible": 4}, "--compress does not go with --reproducible"),
        ({"shard": "optimizer"}, "--shard optimizer does not go with --compress"),
        ({"all_reduce": "native"}, "--compress int8 does not go with --all-reduce native"),
    ):
        with pytest.raises(AgreedError, match=message):
            Trainer(MODEL, "digits", compress="int8", world=world, **OPTIONS | more).fit()
