"""Text report on image files: kinds, sizes, and files that are damaged or left out."""

from collections.abc import Iterator

from ..media.store import Findings
from .decode import Shape
from .parts import image_parts

MOST = 10  # files that are named


def describe_images(place: str) -> Iterator[str]:
    """Yield lines on the files of each split of ``images:place``, which are decoded for it."""
    parts = image_parts(place)
    shape = parts.form()
    assert isinstance(shape, Shape)
    how = "the size of the first" if shape.fit == "same" else f"fit={shape.fit}"
    color = "gray" if shape.channels == 1 else "RGB"
    yield f"{parts.where}: all images become {shape.height}x{shape.width} pixels ({how}), {color}"
    for part, store in parts.stores().items():
        _, found = store.open()
        yield f"  {'training' if part == 'train' else part:<10} {len(store.files):,} files: {_kinds(found)}"
        if found.kinds:
            yield f"  {'':<10} height {_range(found, 'height')}, width {_range(found, 'width')} pixels"
        for number in sorted(found.bad)[:MOST]:
            yield f"! {store.files[number]}: {found.bad[number]}"
        if len(found.bad) > MOST:
            yield f"! and {len(found.bad) - MOST:,} more files that cannot be decoded"
        gray = {kind for kind in found.kinds if kind.split()[-1] in ("L", "1", "I;16")}
        if found.kinds and gray == found.kinds.keys() and shape.channels == 3:
            yield "! all of them are gray: channels=1 takes a third of the memory"


def _kinds(found: Findings) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.most_common()) or "none of them an image"


def _range(found: Findings, name: str) -> str:
    low, high = found.ranges[name]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
