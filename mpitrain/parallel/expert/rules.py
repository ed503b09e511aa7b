"""Division of a model by axis expert."""

from collections.abc import Iterator

from ...comm.group import Group
from ...errors import UserError
from ...layers import Experts, Layer, MixtureOfExperts
from ..division import Division
from .divided_experts import DividedExperts


def check(model: Layer, size: int, input_shape: tuple[int, ...]) -> None:
    """Raise a UserError if the experts of ``model`` cannot be divided among ``size`` ranks."""
    numbers = [mixture.num_experts for mixture in _mixtures(model)]
    if not numbers:
        raise UserError(
            f"the model has no experts to divide among the {size} ranks of axis expert: --model gpt:experts=8 has"
        )
    if min(numbers) < size:
        raise UserError(
            f"a layer with {min(numbers)} experts cannot be divided among {size} ranks: take --mesh "
            f"expert={min(numbers)} or less"
        )


def divide(model: Layer, group: Group, input_shape: tuple[int, ...]) -> Division:
    """Return ``model``, of whose experts each rank of ``group`` keeps some."""
    for mixture in _mixtures(model):
        assert isinstance(mixture.experts, Experts)
        mixture.experts = DividedExperts(group, mixture.experts)
    return Division(model)


def _mixtures(model: Layer) -> Iterator[MixtureOfExperts]:
    return (layer for layer in model.layers() if isinstance(layer, MixtureOfExperts))
