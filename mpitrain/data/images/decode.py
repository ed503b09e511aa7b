"""Decoding of image files by Pillow, an extra of the package (``images``), into bytes of one shape.

Shapes: H, W, C height, width and channels that all images get.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ...errors import UserError
from ..cache import Cache
from ..files import one_line
from ..media.form import Facts, Form, Medium, Undecodable

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112  # the tag of EXIF; from 5 on, height and width are exchanged
REDUCING_GAP = 2.0  # a JPEG is decoded at least so many times as large as it gets, so that details are averaged
DRAFTED = ("JPEG", "MPO")  # formats that can be decoded smaller
_SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
IMAGES = Medium("images", "image", frozenset(_SUFFIXES), Cache("images", "decoded images"))


@dataclass(frozen=True)
class Shape(Form):
    """The shape that images get, and how.

    Attributes
    ----------
    height, width, channels : int
    fit : str
        "crop", "stretch" or "pad"; "same" if images of another size are to be refused.
    resize : int
        For "crop": the shorter side of the scaled image; 0 for the least that covers height and width.
    """

    height: int
    width: int
    channels: int = 3
    fit: str = "crop"
    resize: int = 0

    medium = IMAGES
    dtype = np.dtype(np.uint8)

    @property
    def dims(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.height, self.width, self.channels

    def facts(self) -> tuple[object, ...]:
        """Return the version of Pillow and the options."""
        return import_pillow().__version__, self

    def decode(self, path: str) -> tuple[np.ndarray, Facts]:
        """Return an image of this shape, and facts about its file."""
        return decode(path, self)


def import_pillow() -> Any:
    """Return the module ``PIL.Image``, with the usual formats registered first: it tries them in this order.

    Raises
    ------
    UserError
        If Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UserError("images need Pillow, which is not installed: pip install 'mpitrain[images]'") from None
    Image.preinit()
    return Image


def decode(path: str | BinaryIO, shape: Shape) -> tuple[np.ndarray, Facts]:
    """Return an image as (H, W, C) uint8, upright, on white where it is transparent, and facts about its file.

    Parameters
    ----------
    path : str or binary file
    shape : Shape

    Notes
    -----
    A JPEG that is to become much smaller is decoded at 1/2, 1/4 or 1/8 of its size, which takes less time (Pillow's
    draft mode). The filter of the scaling is bilinear over all pixels that an output pixel covers.

    Raises
    ------
    Undecodable
        If the file is cut off or holds no image that can be read.
    UserError
        If it cannot be opened, or has another size where all are to be the same.
    """
    images = import_pillow()
    try:
        with images.open(path) as image:
            facts = Facts(f"{image.format} {image.mode}", {"width": image.width, "height": image.height})
            turned = _is_turned(image)
            size = image.size[::-1] if turned else image.size
            if shape.fit == "same" and size != (shape.width, shape.height):
                raise UserError(
                    f"{path} has {size[1]}x{size[0]} pixels, and others {shape.height}x{shape.width}: give all the "
                    "same height and width, as in size=224"
                )
            _draft(image, size, shape, turned)
            image.load()
            picture = _fit(_as_mode(_upright(image), shape.channels), shape)
    except UserError:
        raise
    except OSError as error:
        if error.errno is not None and error.strerror:  # of the system: another time it may go well
            raise UserError(f"{path} cannot be read ({error.strerror})") from None
        raise Undecodable(_reason(error)) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise SyntaxError, struct.error, KeyError and others
        raise Undecodable(_reason(error)) from None
    return np.asarray(picture).reshape(shape.height, shape.width, shape.channels), facts


def size_of_first(path: str) -> tuple[int, int]:
    """Return height and width of an upright image; raises UserError if it cannot be read."""
    images = import_pillow()
    try:
        with images.open(path) as image:
            width, height = image.size[::-1] if _is_turned(image) else image.size
    except Exception as error:
        raise UserError(f"{path} cannot be decoded ({_reason(error)}): size=224,bad=skip leaves it out") from None
    return height, width


def _reason(error: Exception) -> str:
    text = one_line(error)
    return "no image, or of an unknown kind" if text.startswith("cannot identify image file") else text


def _is_turned(image: "Image.Image") -> bool:
    if image.format not in DRAFTED:
        image.load()  # some formats have EXIF behind the pixels: if these are cut off, it is to be told here
    return _orientation(image) >= 5


def _orientation(image: "Image.Image") -> int:
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF: the image itself may be whole
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _upright(image: "Image.Image") -> "Image.Image":
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    turn = turns.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _draft(image: "Image.Image", size: tuple[int, int], shape: Shape, turned: bool) -> None:
    """Have a JPEG decoded smaller, as long as it stays larger than ``shape`` by ``REDUCING_GAP``."""
    scales = [own / given for own, given in zip(_scaled(size, shape), size)]
    least = tuple(int(np.ceil(own * scale * REDUCING_GAP)) for own, scale in zip(size, scales))
    image.draft("L" if shape.channels == 1 else "RGB", least[::-1] if turned else least)  # type: ignore[arg-type]


def _scaled(size: tuple[int, int], shape: Shape) -> tuple[float, float]:
    """Return width and height of the whole image after scaling, before what is cropped or padded."""
    width, height = size
    if shape.fit in ("stretch", "same"):
        return shape.width, shape.height
    across, down = shape.width / width, shape.height / height
    if shape.fit == "pad":
        scale = min(across, down)
    else:
        scale = shape.resize / min(size) if shape.resize else max(across, down)
    return width * scale, height * scale


def _as_mode(image: "Image.Image", channels: int) -> "Image.Image":
    """Return an image in gray or RGB; what is transparent is laid on white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _from_wide(image)
    if image.has_transparency_data:
        from PIL import Image

        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _from_wide(image: "Image.Image") -> "Image.Image":
    """Return gray of 16 bits as gray of 8; Pillow itself would cut off all that is above 255."""
    from PIL import Image

    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F" or low < 0 or high > 65535:
        raise Undecodable(f"its values are {values.dtype} from {low:g} to {high:g}, and no gray of 8 or 16 bits")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def _fit(image: "Image.Image", shape: Shape) -> "Image.Image":
    """Return an image of the height and width of ``shape``."""
    from PIL import Image

    wanted = (shape.width, shape.height)
    if image.size == wanted and not shape.resize:
        return image
    filter_ = Image.Resampling.BILINEAR
    width, height = _scaled(image.size, shape)
    if shape.fit in ("stretch", "same"):
        return image.resize(wanted, filter_)
    if shape.fit == "pad":
        inner = tuple(max(1, round(side)) for side in (width, height))
        whole = Image.new(image.mode, wanted, "white")
        whole.paste(image.resize(inner, filter_), ((wanted[0] - inner[0]) // 2, (wanted[1] - inner[1]) // 2))  # type: ignore[arg-type]
        return whole
    seen = image.width * shape.width / width, image.height * shape.height / height  # of the source, in the crop
    left, top = ((own - part) / 2 for own, part in zip(image.size, seen))
    box = (max(0.0, left), max(0.0, top), min(left + seen[0], image.width), min(top + seen[1], image.height))
    return image.resize(wanted, filter_, box=box)
