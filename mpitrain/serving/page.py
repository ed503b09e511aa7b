"""The page on which a model is tried in a browser."""

import json
import secrets
from functools import cache
from pathlib import Path
from typing import Any

from .. import __version__
from ..pages.markup import Html, element, escape, join
from ..pages.page import style

HERE = Path(__file__).parent


def try_page(facts: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return the page and its Content-Security-Policy.

    Parameters
    ----------
    facts : dict
        As ``describe`` gives them.
    """
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    return _document(facts, nonce).encode(), policy.encode()


def _document(facts: dict[str, Any], nonce: str) -> str:
    title, about = f"{facts['run']}", f"{facts['model']}, {facts['task']}"
    told = json.dumps(facts).replace("<", "\\u003c")
    main = join([element("section", "", id="ask"), element("section", "", id="answer", aria_live="polite")])
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            element("title", f"{title} - mpitrain serve"),
            f'<style nonce="{nonce}">\n{style()}{_read("try.css")}</style>',
            "</head>",
            "<body>",
            element("header", join([element("h1", title), element("p", about, class_="soft")])),
            element("main", main),
            element("footer", element("p", Html(f"mpitrain {escape(__version__)} serve"))),
            f'<script nonce="{nonce}">\nconst MODEL = {told};\n{_read("try.js")}</script>',
            "</body>",
            "</html>",
            "",
        ]
    )


@cache
def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
