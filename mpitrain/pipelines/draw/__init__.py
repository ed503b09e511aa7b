"""Drawings of pipelines: text for the terminal, a diagram (SVG), and a page that plays them."""

from .ascii import draw_ascii, draw_tasks, is_drawable
from .page import draw_page
from .svg import draw_svg

__all__ = ["draw_ascii", "draw_page", "draw_svg", "draw_tasks", "is_drawable"]
