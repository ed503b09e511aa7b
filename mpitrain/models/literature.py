"""Image networks of the literature by name; they are imported when they are used (docs/image-models.md)."""

from typing import Any

from ..registry import Later


def _later(module: str, function: str = "", **options: Any) -> Later:
    return Later(f"{__package__}.{module}", function or module, **options)


LITERATURE: dict[str, Later] = {
    "alexnet": _later("alexnet"),
    "vgg11": _later("vgg", convolutions=(1, 1, 2, 2, 2)),
    "vgg13": _later("vgg", convolutions=(2, 2, 2, 2, 2)),
    "vgg16": _later("vgg", convolutions=(2, 2, 3, 3, 3)),
    "vgg19": _later("vgg", convolutions=(2, 2, 4, 4, 4)),
    "vgg": _later("vgg"),
    "googlenet": _later("googlenet"),
    "inception_v3": _later("inception_v3"),
    "mobilenet_v1": _later("mobilenet_v1"),
    "densenet121": _later("densenet", blocks=(6, 12, 24, 16)),
    "densenet169": _later("densenet", blocks=(6, 12, 32, 32)),
    "densenet201": _later("densenet", blocks=(6, 12, 48, 32)),
    "densenet161": _later("densenet", blocks=(6, 12, 36, 24), growth=48),
    "densenet": _later("densenet"),
}
