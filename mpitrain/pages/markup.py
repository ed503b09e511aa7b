"""HTML elements: text is escaped wherever it is not ``Html`` already."""

import html
from collections.abc import Iterable, Sequence

from ..plain_text import visible

MANY_ROWS = 200


class Html(str):
    """Text that is HTML, and not escaped again."""


Text = str | Html


def escape(text: Text) -> Html:
    """Return a text as HTML, for elements and attributes; control characters are written as escapes.

    >>> escape("<b>&\\x1b"), escape(Html("<b>"))
    ('&lt;b&gt;&amp;\\\\x1b', '<b>')
    """
    return text if isinstance(text, Html) else Html(html.escape(visible(text)))


def join(parts: Iterable[Text], between: str = "\n") -> Html:
    """Return parts as one piece of HTML."""
    return Html(between.join(escape(part) for part in parts if part))


def element(name: str, content: Text = "", **attributes: str) -> Html:
    """Return an element; a trailing underscore of an attribute is dropped, others are hyphens.

    >>> element("a", "x < y", href="#top", class_="link")
    '<a href="#top" class="link">x &lt; y</a>'
    """
    given = "".join(f' {_attribute(key)}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{escape(content)}</{name}>")


def _attribute(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")


def section(title: str, *parts: Text) -> Html:
    """Return a section with its heading; empty where it has no content."""
    body = join(parts)
    return element("section", join([element("h2", title), body])) if body else Html()


def paragraph(text: Text, kind: str = "") -> Html:
    """Return a paragraph; empty for an empty text."""
    return element("p", text, **({"class_": kind} if kind else {})) if text else Html()


def folded(title: str, body: Html) -> Html:
    """Return content that is shown when its title is clicked."""
    return element("details", join([element("summary", title), body])) if body else Html()


def table(caption: str, head: Sequence[Text], rows: Sequence[Sequence[Text]], *, kind: str = "") -> Html:
    """Return a table whose first column names the rows; wider than the page, it scrolls by itself.

    Of more than ``MANY_ROWS`` rows the last ones are shown, and the caption says so.
    """
    if not rows:
        return Html()
    if len(rows) > MANY_ROWS:
        caption, rows = f"{caption} (the last {MANY_ROWS} of {len(rows):,})", rows[-MANY_ROWS:]
    lines = [element("caption", caption)]
    if any(head):
        cells = [element("th", cell, scope="col") if cell else element("td") for cell in head]
        lines.append(element("thead", element("tr", join(cells, ""))))
    body = [
        element("tr", join([element("th", first, scope="row"), *(_cell(cell) for cell in rest)], ""))
        for first, *rest in rows
    ]
    lines.append(element("tbody", join(body)))
    return scrolling(caption, element("table", join(lines), **({"class_": kind} if kind else {})))


def scrolling(label: str, body: Html) -> Html:
    """Return content in a box that scrolls sideways, also by the keyboard."""
    return element("div", body, class_="scroll", role="group", aria_label=label, tabindex="0")


def _cell(content: Text) -> Html:
    return content if content.startswith("<td") and isinstance(content, Html) else element("td", content)


def code(text: str) -> Html:
    """Return a command to copy."""
    return scrolling("command", element("pre", element("code", text)))
