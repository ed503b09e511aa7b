"""Training with compressed gradients: checkpoints, another codec from there on, and what is learned."""

import numpy as np
import pytest

from mpitrain import Hook, Trainer
from mpitrain.errors import AgreedError, UserError

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


USERS = """
import numpy as np
from mpitrain.parallel.compress.owners import BlockCodec

class Whole(BlockCodec):
    block, block_bytes = 1, 4
    def __init__(self, *, wrong: int = 0):
        self._wrong = wrong
    def encode(self, x, error, message, factors):
        message[: x.nbytes].view(np.float32)[...] = x[: x.size - self._wrong]
    def decode(self, message, y, add):
        values = message[: y.nbytes].view(np.float32)
        y[...] = y + values if add else values

def nothing():
    return None
"""


def test_a_codec_of_the_user(world, directory):
    file = directory / "mine.py"
    if world.rank == 0:
        file.write_text(USERS)
    world.barrier()
    values = []
    for options in ({"compress": f"{file}:Whole"}, {"shard": "none", "all_reduce": "ring"}):
        trainer = Trainer(MODEL, "digits", world=world, **OPTIONS | options)
        trainer.fit()
        values.append(trainer.setup.arena.values.copy())
    np.testing.assert_allclose(*values, rtol=0, atol=1e-5)
    with pytest.raises(AgreedError, match="nothing must return a Codec, but it returned a NoneType"):
        Trainer(MODEL, "digits", compress=f"{file}:nothing", world=world, **OPTIONS).fit()
    if world.size > 1:
        with pytest.raises(UserError, match=r"the codec .*:Whole:wrong=3 failed: ValueError: .* \(line 10\)"):
            Trainer(MODEL, "digits", compress=f"{file}:Whole:wrong=3", world=world, **OPTIONS).fit()
