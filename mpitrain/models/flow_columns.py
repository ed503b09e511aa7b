"""Rules for the costs of layers of tables with categories (``flow``)."""

from ..layers import ColumnEmbeddings, OnNumbers
from .flow import Costs, Value, flow


@flow.register
def _(layer: ColumnEmbeddings, x: Value, costs: Costs) -> Value:
    y = Value((layer.num_outputs,), costs)
    for number, table in enumerate(layer.tables):
        is_large = number in layer.large  # axis expert divides its rows
        costs.add("parameters_rows" if is_large else "parameters", table.weight.size)
        costs.add("tables", table.weight.size)
        if is_large:
            costs.add("routed", table.size)
            costs.largest("experts", table.num_embeddings)
    costs.move(2 * y.size, False)
    return y


@flow.register
def _(layer: OnNumbers, x: Value, costs: Costs) -> Value:
    z = flow(layer.layer, Value((layer.num_numbers,), costs), costs)
    y = Value((z.size + x.size - layer.num_numbers,), costs)
    costs.move(2 * (x.size + y.size), False)
    return y
