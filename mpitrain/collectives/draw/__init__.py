"""Drawings of schedules: state tables for the terminal, a space-time diagram (SVG), and a page that plays them."""

from .ascii import draw_ascii
from .page import Costs, draw_page
from .play import Message, Play, play
from .svg import draw_svg
from .trace import MAX_TRACED, Trace, TraceEvent, format_trace, parse_trace, read_trace

__all__ = [
    "MAX_TRACED",
    "Costs",
    "Message",
    "Play",
    "Trace",
    "TraceEvent",
    "draw_ascii",
    "draw_page",
    "draw_svg",
    "format_trace",
    "parse_trace",
    "play",
    "read_trace",
]
