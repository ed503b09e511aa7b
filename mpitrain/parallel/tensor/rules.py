"""Rules of axis tensor: how its ranks divide the layers of a model.

Attention is divided by heads, pairs of products (Linear, Conv2d) as column and row with what lies between them, a large
vocabulary by its tokens. All other layers stay whole: they compute the same on all ranks of the axis.
"""

from ...comm.group import Group
from ...errors import UserError
from ...layers import Layer, Linear, MultiHeadAttention
from ...parameter import Parameter
from ..division import Division
from .attention import attention
from .chains import divide_run, find_runs, is_product, widest
from .places import is_known, places, rows
from .products import Ends
from .sequence import divide_tokens, has_blocks, row_length
from .vocabulary import divide_vocabulary, find_vocabulary


def check(model: Layer, size: int, input_shape: tuple[int, ...], *, sequence: bool = False) -> None:
    """Raise a UserError if ``size`` ranks cannot divide ``model``, with ``sequence`` its tokens; it is not changed."""
    if sequence and not has_blocks(model, size):
        raise UserError("--sequence-parallel divides tokens in blocks of transformers, and the model has none")
    found = False
    for name, layer, _ in places(model):
        if type(layer) is MultiHeadAttention:
            found = True
            if layer.num_kv_heads < size:
                shared = "" if layer.num_kv_heads == layer.num_heads else " of keys and values"
                raise UserError(
                    f"the attention {name} has {layer.num_kv_heads} heads{shared}, which {size} ranks cannot divide: "
                    f"the nearest number is --mesh tensor={layer.num_kv_heads}"
                )
    found_rows = [[place.layer for place in row] for row in rows(model)]
    if found or any(find_runs(row, size) for row in found_rows) or find_vocabulary(model, size):
        return
    most = max((widest(row) for row in found_rows), default=0)
    if most < 2:
        raise UserError(
            "axis tensor divides attention and pairs of Linear or Conv2d layers, and the model has none: use axis data"
        )
    raise UserError(
        f"the widest layer that ranks can divide has {most} outputs, which {size} ranks cannot divide: "
        f"the nearest number is --mesh tensor={most}"
    )


def divide(model: Layer, group: Group, input_shape: tuple[int, ...], *, sequence: bool = False) -> Division:
    """Return this rank's part of a prepared model without memory, of which layers are replaced; all ranks call it.

    The outputs are whole, the same on all ranks. A note says which layers with many weights stay whole. With
    ``sequence`` the tokens between the layers of transformer blocks are divided, too.
    """
    needed = model.needs_dx
    divide_vocabulary(model, group)
    if sequence:
        divide_tokens(model, group, row_length(model, input_shape))
    shared, ends = _shared(model), Ends.of_whole(group)
    for row in list(rows(model)):
        layers = [place.layer for place in row]
        for run in find_runs(layers, group.size):
            if any(id(layers[i]) in shared for i in range(run.first, run.last + 1)):
                continue
            for i, layer in divide_run(layers, run, group, ends):
                row[i].put(layer)
    for place in list(places(model)):
        if _is_whole_attention(place.layer) and id(place.layer) not in shared:
            assert isinstance(place.layer, MultiHeadAttention)
            place.put(attention(place.layer, group, ends))
    model.ask_dx(needed)
    group.job.note(say_whole(model))
    return Division(model)


def say_whole(model: Layer) -> str:
    """Return the sentence about layers that stay whole, with most of the weights; "" if there are none of account."""
    total = sum(p.size for p in {id(p): p for _, p in model.named_parameters()}.values())
    whole = {
        f"{place.name} ({place.layer.kind})": sum(p.size for _, p in place.layer.named_parameters())
        for place in places(model)
        if (is_product(place.layer) or not is_known(place.layer))
        and all(p.shard is None for _, p in place.layer.named_parameters())
    }
    large = [name for name, size in whole.items() if 20 * size >= total]
    return "" if not large else f"axis tensor leaves whole, on each of its ranks: {', '.join(large)}"


def _is_whole_attention(layer: Layer) -> bool:
    return type(layer) is MultiHeadAttention and isinstance(layer.qkv, Linear)


def _shared(model: Layer) -> set[int]:
    """Return the ids of layers that the model has twice, and of those that share a parameter with another one."""
    users: dict[int, list[int]] = {}
    for layer in model.layers():
        own = [id(value) for value in vars(layer).values() if isinstance(value, Parameter)]
        for user in (id(layer), *own):
            users.setdefault(user, []).append(id(layer))
    return {layer for found in users.values() if len(found) > 1 for layer in found}
