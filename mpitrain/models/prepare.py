"""Settings of layers that depend on the whole network."""

from ..layers import Dropout, Layer, LoRALinear, MultiHeadAttention


def prepare(model: Layer) -> Layer:
    """Return ``model`` after the settings that depend on the whole network (also for a user's own).

    The layers up to the first with a parameter that is trained compute no dx, and each layer that drops something gets
    its own number, so that no two draw the same masks; those of adapters come last, so that the others drop the same
    with adapters and without. Parts of the model (``Sequential.part``) are taken after that.
    """
    model.ask_dx(False)
    of_adapters = [layer.dropout for layer in model.layers() if isinstance(layer, LoRALinear)]
    dropping = [layer for layer in model.layers() if isinstance(layer, Dropout | MultiHeadAttention)]
    for number, layer in enumerate(sorted(dropping, key=lambda each: any(each is one for one in of_adapters))):
        layer.number = number
    return model
