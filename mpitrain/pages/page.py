"""A page about runs: one file of HTML, without network access and, unless it is live, without a script."""

import time
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from .examples import mistakes, worst
from .history import checkpoints, environment, faults, repeat
from .markup import Html, element, escape, join
from .overview import curves, overview
from .run import Run
from .settings import settings
from .speed import messages, times
from .words import moment

HERE = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def title_of(runs: Sequence[Run]) -> str:
    """Return the title of a page about ``runs``."""
    names = [run.name for run in runs]
    if len(names) <= 3:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{len(names)} runs: {names[0]} to {names[-1]}"


def page(runs: Sequence[Run], made: float | None = None) -> str:
    """Return the page.

    Parameters
    ----------
    runs : one or more
    made : float, optional
        The time that the page says it is from; now by default.
    """
    moment_made = moment(time.time() if made is None else made)
    return document(title_of(runs), content(runs), f"mpitrain {__version__}, {moment_made}")


def content(runs: Sequence[Run]) -> Html:
    """Return the sections of the page."""
    parts = (overview, curves, settings, times, messages, faults, checkpoints, mistakes, worst, environment, repeat)
    return join(part(runs) for part in parts)


def document(title: str, body: Html, foot: str, script: str = "", nonce: str = "") -> str:
    """Return a whole page; ``script`` may run in it and fetch from where the page comes from."""
    policy = f"{POLICY}; script-src 'nonce-{nonce}'; connect-src 'self'" if script else POLICY
    live = element("p", "", id="live", role="status") if script else Html()
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            element("title", f"{title} - mpitrain"),
            f"<style>\n{style()}</style>",
            "</head>",
            "<body>",
            element("header", join([element("h1", title), live])),
            element("main", body, id="content"),
            element("footer", element("p", foot)),
            *([f'<script nonce="{escape(nonce)}">\n{script}</script>'] if script else []),
            "</body>",
            "</html>",
            "",
        ]
    )


def live_script() -> str:
    """Return the script of a page that refreshes itself."""
    return _read("live.js")


def style() -> str:
    """Return the style of all pages."""
    return _read("style.css")


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
