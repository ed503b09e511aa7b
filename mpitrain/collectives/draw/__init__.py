"""Drawings of schedules: state tables for the terminal, a space-time diagram (SVG), and a page that plays them."""

from .ascii import draw_ascii
from .page import Costs, draw_page
from .play import Message, Play, play
from .trace import Trace, TraceEvent, format_trace, parse_trace, read_trace

__all__ = [
    "Costs",
    "Message",
    "Play",
    "Trace",
    "TraceEvent",
    "draw_ascii",
    "draw_page",
    "format_trace",
    "parse_trace",
    "play",
    "read_trace",
]
