"""Optimizers and schedules by text, beside the older options for single settings."""

import pytest

from mpitrain.arena import Arena
from mpitrain.config import Config, Optimizer
from mpitrain.config_check import check
from mpitrain.config_file import read_config, write_config
from mpitrain.errors import UserError
from mpitrain.layers import Linear
from mpitrain.optim import LARS, SGD, Adam, AdamW
from mpitrain.training.recipe import check_recipe, make_optimizer, make_schedule, peak_lr

FILE = """
from mpitrain.optim import SGD

class Slow(SGD):
    default_lr = 0.001
    def __init__(self, arena, *, momentum=0.1, weight_decay=0.0, factor=2.0):
        super().__init__(arena, momentum=momentum, weight_decay=weight_decay)
        self.factor = factor

def sawtooth(lr, total_steps, warmup_steps, period=3):
    return lambda step: lr * (1 + step % period) / period
"""


def made(*arguments, **settings):
    return make_optimizer(Optimizer(*arguments, **settings), Arena(Linear(2, 2).named_parameters()))


def test_options_of_adam():
    adam = made(name="adam:beta1=0.8,beta2=0.95,eps=1e-6", weight_decay=0.1)
    assert type(adam) is Adam
    assert (adam.betas, adam.eps, adam.weight_decay) == ((0.8, 0.95), 1e-6, 0.1)
    assert made(name="adamw").betas == (0.9, 0.999)


def test_settings_in_the_text_are_the_settings():
    settings = Optimizer(name="sgd:lr=0.3,momentum=0.5,nesterov=true,weight_decay=0.01")
    assert settings == Optimizer(name="sgd", lr=0.3, momentum=0.5, nesterov=True, weight_decay=0.01)
    assert Optimizer(name="adam:lr=0.003,eps=1e-6") == Optimizer(name="adam:eps=1e-6", lr=0.003)
    sgd = make_optimizer(settings, Arena(Linear(2, 2).named_parameters()))
    assert (type(sgd), sgd.momentum, sgd.nesterov, sgd.weight_decay) == (SGD, 0.5, True, 0.01)


def test_older_options_are_defaults():
    assert made().momentum == 0.9
    assert made(momentum=0.2).momentum == 0.2
    assert made(name="lars:eta=0.01", momentum=0.5).eta == 0.01
    assert type(made(name="lars")) is LARS
    assert type(made(name="adamw", momentum=0.3)) is AdamW  # which has none


def test_an_optimizer_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    slow = made(name=f"{path}:Slow:factor=3")
    assert (slow.momentum, slow.factor, slow.weight_decay) == (0.1, 3.0, 0.0)  # its own defaults
    assert made(name=f"{path}:Slow", momentum=0.7, weight_decay=0.2).momentum == 0.7
    assert peak_lr(Optimizer(name=f"{path}:Slow")) == 0.001
    assert Optimizer(name=f"{path}:Slow:lr=0.5,momentum=0.4") == Optimizer(name=f"{path}:Slow:momentum=0.4", lr=0.5)
    rate = make_schedule(Optimizer(lr=3.0, schedule=f"{path}:sawtooth"), 5, 10)
    assert [rate(step) for step in range(4)] == [1, 2, 3, 1]


def test_a_minimum_of_the_learning_rate():
    rate = make_schedule(Optimizer(lr=1.0, schedule="cosine:min_lr=0.25"), 5, 20)
    assert rate(0) == 1
    assert rate(20) == 0.25
    drops = Optimizer(lr=1.0, schedule="step:min_lr=0.05", decay_every=1, decay_factor=0.1)
    assert [make_schedule(drops, 5, 20)(step) for step in (0, 5, 10, 15)] == pytest.approx([1, 0.1, 0.05, 0.05])


def test_options_of_the_step_schedule_come_before_those_beside_it():
    settings = Optimizer(lr=1.0, schedule="step:milestones=2+4,gamma=0.5", decay_every=1, decay_factor=0.1)
    assert [make_schedule(settings, 5, 20)(step) for step in (0, 2, 4, 19)] == [1, 0.5, 0.25, 0.25]
    settings = Optimizer(lr=1.0, schedule="step:every=3", decay_factor=0.5)
    assert [make_schedule(settings, 5, 20)(step) for step in (0, 3, 6)] == [1, 0.5, 0.25]
    assert make_schedule(Optimizer(schedule="one-cycle"), 5, 20)(6) == 0.05  # in names, - and _ are the same


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Optimizer(name="adma"), "no optimizer 'adma'; did you mean 'adam'\\?"),
        (Optimizer(name="adam:beta=0.9"), "no option 'beta'; did you mean 'beta2'\\?"),
        (Optimizer(name="adam:beta1=1"), "beta1 must lie in \\[0, 1\\), but it is 1.0"),
        (Optimizer(name="adam:eps=0"), "eps must be above 0"),
        (Optimizer(name="adam:eps=tiny"), "eps is 'tiny', but must be a number"),
        (Optimizer(name="sgd:momentum=much"), "momentum is 'much', but must be a number"),
        (Optimizer(name="adam:eps=1e-6,eps=1e-7"), "is given eps twice"),
        (Optimizer(name="nosuch.py:Lion"), "there is no file nosuch.py"),
        (Optimizer(schedule="linear"), "no schedule 'linear'"),
        (Optimizer(schedule="cosine:min_lr=0.1"), "between 0 and the learning rate 0.05, but it is 0.1"),
        (Optimizer(schedule="constant:min_lr=0.1"), "no option 'min_lr'; it has none"),
    ],
)
def test_mistakes_are_explained(settings, message):
    with pytest.raises(UserError, match=message):
        check_recipe(settings, 10, 100)


def test_a_learning_rate_that_is_no_number():
    with pytest.raises(UserError, match="lr in --optimizer is 'fast', but must be a number"):
        check(Config(optimizer=Optimizer(name="adam:lr=fast")))


def test_toml_there_and_back(tmp_path):
    config = Config(optimizer=Optimizer(name="adam:lr=0.1,beta2=0.5", schedule="cosine:min_lr=0.01"))
    path = tmp_path / "config.toml"
    path.write_text(write_config(config))
    assert read_config(path) == config
