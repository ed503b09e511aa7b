"""Settings as keyword arguments."""

import pytest

from mpitrain.config import Config, option_values
from mpitrain.config_keywords import config_from, setting_places
from mpitrain.errors import UserError


def test_the_keywords_are_the_options_of_the_command_line():
    options = {name.removeprefix("--").replace("-", "_") for name, _ in option_values(Config())}
    assert set(setting_places()) == options


def test_settings():
    config = config_from(epochs=3, model="mlp", widths=[8, 4], lr=1, checkpoint_every=100, shard="none", profile=True)
    assert (config.run.epochs, config.model.name, config.model.widths, config.optimizer.lr) == (3, "mlp", (8, 4), 1.0)
    assert (config.checkpoint.every, config.parallel.shard, config.run.profile) == ("100", "none", True)
    assert config_from(lr=None) == config_from() == Config()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"epoch": 3}, "there is no setting epoch; did you mean 'epochs'?"),
        ({"zzz": 3}, "there is no setting zzz; there are accumulate, "),
        ({"epochs": 2.5}, "epochs is 2.5, but must be a whole number"),
        ({"epochs": True}, "epochs is True, but must be a whole number"),
        ({"shard": "all"}, "shard is 'all', but must be one of auto, none, optimizer"),
        ({"lr": "high"}, "lr is 'high', but must be a number or None"),
        ({"widths": 3}, "widths is 3, but must be a list of whole numbers"),
        ({"widths": [8, "4"]}, "widths is [8, '4'], but must be a list of whole numbers"),
        ({"batch_size": 0}, "--batch-size is 0, but must be at least 1"),
    ],
)
def test_mistakes(settings, text):
    with pytest.raises(UserError) as error:
        config_from(**settings)
    assert str(error.value).startswith(text)
