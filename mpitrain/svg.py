"""SVG documents: frame, text and escaping, shared by all pictures."""

import re
from html import escape  # that of xml.sax imports a web client

from .plain_text import visible

_FORBIDDEN = re.compile("[\ufffe\uffff]")  # by XML, and not control characters


def document(
    width: float, height: float, *, title: str, description: str, style: str, body: str, background: str = ""
) -> str:
    """Return an SVG file.

    Parameters
    ----------
    width, height : float
        In pixels; also the coordinates of ``body``.
    title, description : str
        Description of the picture, for screen readers.
    style : str
        CSS.
    body : str
        Elements.
    background : str, optional
        Class of the rectangle behind everything; white without it.
    """
    paint = f'class="{background}"' if background else 'fill="#fff"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img" aria-labelledby="title desc">',
            f'<title id="title">{quote(title)}</title>',
            f'<desc id="desc">{quote(description)}</desc>',
            f"<style>{style}</style>",
            f'<rect width="{width:g}" height="{height:g}" {paint}/>',
            body,
            "</svg>\n",
        ]
    )


def text(content: str, x: float, y: float, kind: str = "") -> str:
    """Return a text element of class ``kind`` whose baseline is at ``y``."""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}">{quote(content)}</text>'


def quote(content: str) -> str:
    """Return ``content`` escaped for XML, including characters that XML forbids."""
    return escape(_FORBIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", visible(content)), quote=False)
