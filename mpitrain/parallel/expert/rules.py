"""Division of a model by axis expert: its experts, and the rows of its large embedding tables."""

from collections.abc import Iterator

from ...comm.group import Group
from ...errors import UserError
from ...layers import ColumnEmbeddings, Experts, Layer, MixtureOfExperts
from ...layers.column_embeddings import LARGE
from ..division import Division
from .divided_columns import DividedColumns
from .divided_experts import DividedExperts


def check(model: Layer, size: int, input_shape: tuple[int, ...]) -> None:
    """Raise a UserError if ``model`` has nothing to divide among ``size`` ranks, or fewer experts than ranks."""
    numbers = [mixture.num_experts for mixture in _mixtures(model)]
    if not numbers and not list(_columns(model)):
        raise UserError(
            f"the model has no experts to divide among the {size} ranks of axis expert: --model gpt:experts=8 has, "
            f"and models of categories have embedding tables, which are divided from {LARGE} rows on"
        )
    if numbers and min(numbers) < size:
        raise UserError(
            f"a layer with {min(numbers)} experts cannot be divided among {size} ranks: take --mesh "
            f"expert={min(numbers)} or less"
        )


def divide(model: Layer, group: Group, input_shape: tuple[int, ...]) -> Division:
    """Return ``model``, of whose experts and rows of tables each rank of ``group`` keeps some."""
    for mixture in _mixtures(model):
        assert isinstance(mixture.experts, Experts)
        mixture.experts = DividedExperts(group, mixture.experts)
    for parent, name, columns in list(_columns(model)):
        parent.replace(name, DividedColumns(group, columns))
    return Division(model)


def _mixtures(model: Layer) -> Iterator[MixtureOfExperts]:
    return (layer for layer in model.layers() if isinstance(layer, MixtureOfExperts))


def _columns(model: Layer) -> Iterator[tuple[Layer, str, ColumnEmbeddings]]:
    """Yield the layers with large tables, with the layer that has each and its name there."""
    for layer in model.layers():
        for name, child in layer.children():
            if type(child) is ColumnEmbeddings and child.large:
                yield layer, name, child
