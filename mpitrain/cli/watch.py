"""``mpitrain watch``: a run while it trains, as a live page in a browser or as text in the terminal."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ..errors import UserError
from .options import parse_options
from .order import LocalJob
from .terminal import make_console

if TYPE_CHECKING:
    from ..pages.run import Run

DESCRIPTION = "Show a run while it trains: as a page that refreshes itself, or in the terminal."
REFRESH_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Options of watch."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run directory; it need not exist yet."""
    terminal: bool = False
    """Show curves, speed and time shares in the terminal, until the run ends; in a pipe, a line for each evaluation."""
    host: str = "localhost"
    """Address to serve the page at. Any other than that of this host itself asks for a token, which is printed."""
    port: int = 8765
    """Port of the page; 0 takes a free one."""
    token: bool = False
    """Ask for a token at localhost, too: other users of this host could read the page."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(WatchOptions, argv, command="watch", description=DESCRIPTION, speaks=speaks)
    if not 0 <= options.port <= 65535:
        raise UserError(f"--port is {options.port}, but must be from 0 to 65535")
    return LocalJob(lambda: watch(options))


def watch(options: WatchOptions) -> int:
    """Serve the page, or show the run in the terminal, until Ctrl-C."""
    from ..pages.run import Run

    if options.run.exists() and not options.run.is_dir():
        raise UserError(f"{options.run} is no run directory: it is a file")
    run = Run(options.run)
    try:
        return in_terminal(run) if options.terminal else serve(run, options)
    except KeyboardInterrupt:
        return 0


def serve(run: "Run", options: WatchOptions) -> int:
    """Serve the page."""
    from ..pages.serve import LivePage, LiveServer

    with LiveServer(LivePage(run), options.host, options.port, with_token=options.token) as server:
        make_console().say(f"{server.url} shows {options.run}; Ctrl-C ends")
        sys.stdout.flush()
        server.serve_forever()
    return 0


def in_terminal(run: "Run") -> int:
    """Show the run until it ends: a picture that is drawn again on a terminal, lines elsewhere."""
    console = make_console()
    if not console.is_terminal or console.is_dumb_terminal:
        return _print_lines(run)
    from rich.live import Live
    from rich.text import Text

    from ..pages.terminal import view

    braille = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"

    def picture() -> Text:
        return Text("\n".join(view(run, console.width, braille=braille)), no_wrap=True)

    run.update()
    with Live(picture(), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while not run.state.is_over:
            time.sleep(REFRESH_SECONDS)
            run.update()
            live.update(picture(), refresh=True)
    return 0


def _print_lines(run: "Run") -> int:
    """Print the state where it changes, and a line for each evaluation, until the run ends."""
    from ..pages.terminal import evaluation_line

    console = make_console()
    said, shown = "", 0
    while True:
        run.update()
        if len(run.evaluations) < shown:  # resumed before some of them
            shown = len(run.evaluations)
        if run.state.text != said and not run.state.is_over:
            said = run.state.text
            console.say(f"{run.name}: {said}")
        for number in range(shown, len(run.evaluations)):
            console.say(evaluation_line(run, number))
        shown = len(run.evaluations)
        if run.state.is_over:
            console.say(f"{run.name}: {run.state.text}")
            return 0
        sys.stdout.flush()
        time.sleep(REFRESH_SECONDS)
