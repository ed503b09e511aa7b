"""Adapters and frozen parameters on any number of ranks: the losses, weights and files of one rank."""

import numpy as np
import pytest
import safetensors.numpy

from mpitrain import Hook, Trainer
from mpitrain.errors import AgreedError

pytestmark = pytest.mark.mpi

STEPS = 4
COMMON = {
    "model": "gpt:depth=3,width=8,heads=2,dropout=0.1",
    "steps": STEPS,
    "batch_size": 12,
    "optimizer": "adamw:weight_decay=0.1",
    "clip_norm": 0.5,
    "lr": 0.02,
    "threads": 1,
    "progress": "none",
    "accumulate": 3,
    "bucket_mb": 0.001,
}
CASES = {
    "adapters": {"lora": "rank=2,alpha=4,dropout=0.2,on=*.qkv.q+*.qkv.v+*.mlp"},
    "adapters of the last block": {"lora": "rank=2,on=4.attention,train=5"},
    "frozen layers": {"freeze": "0,2,3.attention,*.norm2"},
    "a frozen head": {"freeze": "0.weight", "model": "llama:depth=3,width=8,heads=2,hidden=10"},
}
HOW = {
    "auto": {},
    "messages": {"all_reduce": "ring", "shard": "none"},
    "zero": {"all_reduce": "ring", "shard": "optimizer"},
    "zero 2": {"shard": "gradients"},
    "zero 3": {"shard": "weights", "gather_weights": "twice", "recompute": "blocks"},
    "pipe": {"mesh": "pipe", "shard": "none"},
    "pipe, zb_h1, zero": {"mesh": "pipe", "pipeline": "zb_h1", "shard": "optimizer", "recompute": "stage"},
    "pipe, blocks": {"mesh": "pipe", "pipeline": "interleaved:chunks=2", "recompute": "blocks"},
}


class Watch(Hook):
    """Keep the mean loss and the gradient's norm of each step; after ``last``, ask for an end with a checkpoint."""

    def __init__(self, last=0):
        self.losses, self.norms, self.last = [], [], last

    def step_begin(self, info):
        if info.step == self.last:
            info.run.requests.preempt = True

    def step_end(self, info):
        self.losses.append(info.loss)
        self.norms.append(info.run.data_parallel.norm())


@pytest.fixture
def text(world, directory):
    if world.rank == 0:
        words = np.random.default_rng(4).integers(0, 4, 300)
        (directory / "novel.txt").write_text(", ".join(("one", "fish", "two", "red fish")[k] for k in words))
    world.barrier()
    return f"text:{directory / 'novel.txt'},window=8"


def train(world, text, *, watch=None, **options):
    """Return (losses of the steps, trainer, first values by name)."""
    watch = watch or Watch()
    trainer = Trainer(data=text, hooks=[watch], world=world, **(COMMON | options))
    first = {name: view.copy() for name, view in trainer.setup.arena.named_tensors().items()}
    trainer.fit()
    return watch.losses, trainer, first


def meshes(size, options):
    """Return the options on meshes of ``size`` ranks, if they ask for one with several stages."""
    if "mesh" not in options:
        return [options]
    sizes = [pipe for pipe in (2, 3) if size % pipe == 0]
    return [options | {"mesh": f"data={size // pipe},pipe={pipe}"} for pipe in sizes]


@pytest.mark.parametrize("name", CASES)
def test_losses_and_weights_of_one_rank(world, alone, text, directory, name):
    expected, one, first = train(alone, text, shard="none", **CASES[name])
    one.save(directory / f"one{world.rank}.safetensors")
    whole = safetensors.numpy.load_file(directory / f"one{world.rank}.safetensors")
    assert any("--lora without --weights" in note for note in one.setup.dataset.notes) == ("lora" in CASES[name])
    frozen = [p.name for p in one.setup.arena.frozen]
    assert frozen
    assert all(np.array_equal(whole[key], first[key]) for key in frozen)
    assert not any(np.array_equal(whole[p.name], first[p.name]) for p in one.setup.arena.parameters)
    for how in [how for place, how in enumerate(HOW) if (place + list(CASES).index(name)) % 3 == 0]:
        for options in meshes(world.size, HOW[how]):
            losses, trainer, _ = train(world, text, **(CASES[name] | options))
            np.testing.assert_allclose(losses, expected, rtol=2e-5, err_msg=how)
            trainer.save(directory / "all.safetensors")
            world.barrier()
            found = safetensors.numpy.load_file(directory / "all.safetensors")
            assert list(found) == list(whole)
            assert all(np.array_equal(found[key], first[key]) for key in frozen), how
            for key, array in whole.items():
                np.testing.assert_allclose(found[key], array, rtol=0, atol=2e-3, err_msg=f"{key}, {how}")
            assert trainer.evaluate()["loss"] == pytest.approx(one.evaluate()["loss"], rel=1e-4)
            assert trainer.setup.num_trained == one.setup.num_trained < one.setup.num_parameters
            world.barrier()


def test_the_same_bits_on_any_number_of_ranks(world, alone, text):
    if world.size & (world.size - 1):
        pytest.skip("shards divide among 1, 2, 4 ranks")
    options = CASES["adapters"] | {"reproducible": 4, "accumulate": 0}
    _, one, _ = train(alone, text, **options)
    _, trainer, _ = train(world, text, **options)
    assert np.array_equal(trainer.setup.arena.values, one.setup.arena.values)


def test_one_copy_of_frozen_weights_on_a_node(world, text):
    trainer = Trainer(data=text, world=world, **(COMMON | CASES["adapters"] | {"steps": 1}))
    arena = trainer.setup.arena
    assert arena.gradients.nbytes < arena.values.nbytes
    seen = []

    class Look(Hook):
        def step_end(self, info):
            sync = info.run.data_parallel.sync
            seen.append((sync.describe(), len(arena.values), len(arena.gradients)))

    trainer._hooks = [Look()]
    trainer.fit()
    assert seen[0][1:] == (arena.num_values, arena.size)
    assert world.size == 1 or "in shared memory" in seen[0][0]


@pytest.mark.parametrize("how", ["auto", "zero"])
def test_a_run_is_continued_to_the_bit(world, text, directory, how):
    options = CASES["adapters"] | HOW[how]
    _, whole, _ = train(world, text, **options)
    run = {**options, "out": str(directory / "run"), "checkpoint_every": "100"}
    for last in (3, 0):
        trainer = Trainer(data=text, hooks=[Watch(last)], world=world, **(COMMON | run))
        trainer.fit(resume=True)
        world.barrier()
    assert np.array_equal(trainer.setup.arena.values, whole.setup.arena.values)
    again = Trainer.load(directory / "run", world=world)
    assert again.evaluate() == trainer.evaluate()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora": ""}, "--lora is empty, but .* was written with rank=2,alpha=4,dropout=0.2,on="),
        ({"freeze": "*.lora*.a"}, r"--freeze is \*.lora\*.a, but .* was written with empty"),
    ],
)
def test_a_run_is_continued_as_it_was_begun(world, text, directory, change, message):
    options = COMMON | CASES["adapters"] | {"out": str(directory / "run"), "checkpoint_every": "100"}
    Trainer(data=text, hooks=[Watch(2)], world=world, **options).fit(resume=True)
    world.barrier()
    with pytest.raises(AgreedError, match=message):
        Trainer(data=text, world=world, **(options | change)).fit(resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": "0.wieght"}, "matches no parameter of the model; did you mean '0.weight'"),
        ({"freeze": "*"}, "leaves no parameter of the model to train"),
        ({"lora": "rank=2,on=*.qvk"}, "matches no Linear of the model; did you mean '.*.qkv'"),
        ({"lora_weights": "dir"}, "--lora-weights is peft:DIR"),
    ],
)
def test_wrong_options_are_one_sentence_on_all_ranks(world, text, options, message):
    with pytest.raises(AgreedError, match=message):
        Trainer(data=text, world=world, **(COMMON | options))
