"""SVG documents that are legible on light and dark pages, alone as an image and as a part of a page.

As an image they follow the system's colour scheme. In a page, where `docs/conf.py` puts them, they follow the page's
own switch too: Furo tells it by `data-theme` at the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

LIGHT = {
    "ground": "#fff",
    "ink": "#1f2328",
    "faint": "#59636e",
    "rule": "#ccd2d8",
    "box": "#f3f5f8",
    "good": "#1a7f37",
    "warn": "#9a6700",
    "bad": "#b3261e",
    "s0": "#0063b1",
    "s1": "#c24e00",
    "s2": "#00795c",
    "s3": "#8a3a8f",
    "s4": "#7a5c00",
    "s5": "#b3266b",
    "s6": "#3a5f73",
    "s7": "#566600",
}
DARK = {
    "ground": "#131416",
    "ink": "#e6edf3",
    "faint": "#9aa4af",
    "rule": "#444c56",
    "box": "#1f242b",
    "good": "#3fb950",
    "warn": "#d9a514",
    "bad": "#ff7b72",
    "s0": "#58a6ff",
    "s1": "#ff9d4d",
    "s2": "#3fc9a0",
    "s3": "#d58be0",
    "s4": "#e3c04d",
    "s5": "#ff86b8",
    "s6": "#8fb8cc",
    "s7": "#b6c95a",
}
SERIES = 8
"""Colours that lines have."""


def _variables(selector: str, colours: Mapping[str, str]) -> str:
    return f"{selector} {{ {' '.join(f'--{name}: {colour};' for name, colour in colours.items())} }}"


STYLE = "\n".join(
    (
        _variables(".picture", LIGHT),
        f"@media (prefers-color-scheme: dark) {{ {_variables('.picture', DARK)} }}",
        _variables('body[data-theme="light"] .picture', LIGHT),
        _variables('body[data-theme="dark"] .picture', DARK),
        *(f".picture .s{number} {{ --colour: var(--s{number}); }}" for number in range(SERIES)),
        *(f".picture .{name} {{ --colour: var(--{name}); }}" for name in ("good", "warn", "bad", "faint", "ink")),
        ".picture text { font: 12px system-ui, sans-serif; fill: var(--colour, var(--ink)); }",
        ".picture .title { font-weight: bold; } .picture .small { font-size: 11px; }",
        ".picture .ground { fill: var(--ground); }",
        ".picture .grid { stroke: var(--rule); stroke-width: 1; fill: none; }",
        ".picture .line { fill: none; stroke: var(--colour, var(--ink)); stroke-width: 2; }",
        ".picture .thin { stroke-width: 1.5; } .picture .dot { stroke: none; fill: var(--colour, var(--ink)); }",
        ".picture .box { fill: var(--box); stroke: var(--rule); }",
        ".picture .number { fill: var(--ground); font-weight: bold; }",
        ".picture .area { stroke: none; fill: var(--colour); fill-opacity: 0.2; }",
    )
)


def document(width: int, height: int, title: str, parts: Iterable[str], *, description: str = "") -> str:
    """A document with these elements; screen readers have its title and description, not the words drawn."""
    return "\n".join(
        (
            f'<svg class="picture" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
            f' height="{height}" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            *([f"<desc>{escape(description)}</desc>"] if description else []),
            f"<style>\n{STYLE}\n</style>",
            f'<rect class="ground" width="{width}" height="{height}"/>',
            *parts,
            "</svg>\n",
        )
    )


def words(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text whose base line begins (or has its middle, or ends) there."""
    classes = f' class="{kind}"' if kind else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text{classes} x="{x:g}" y="{y:g}"{place}>{escape(text)}</text>'


def lines(x: float, y: float, texts: Sequence[str], kind: str = "", anchor: str = "start") -> list[str]:
    """Lines of text below each other, 16 pixels apart."""
    return [words(x, y + 16 * number, text, kind, anchor) for number, text in enumerate(texts)]


def box(x: float, y: float, width: float, height: float, kind: str = "box") -> str:
    """A rectangle with round corners."""
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def arrow(*points: tuple[float, float], kind: str = "", both: bool = False) -> str:
    """A line through these points, with a head at its end, or at both."""
    path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
    heads = [_head(points[-2], points[-1])] + ([_head(points[1], points[0])] if both else [])
    drawn = f'<path class="line thin {kind}" d="{path}"/>'
    return drawn + "".join(f'<path class="dot {kind}" d="{head}"/>' for head in heads)


def _head(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x0, y0), (x, y) = start, end
    length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
    dx, dy = (x - x0) / length, (y - y0) / length
    left, right = (x - 8 * dx - 4 * dy, y - 8 * dy + 4 * dx), (x - 8 * dx + 4 * dy, y - 8 * dy - 4 * dx)
    return f"M{x:.1f} {y:.1f} L{left[0]:.1f} {left[1]:.1f} L{right[0]:.1f} {right[1]:.1f}Z"


def step(x: float, y: float, number: int) -> str:
    """A number in a circle, which the text beside the picture explains."""
    return f'<circle class="dot s0" cx="{x:g}" cy="{y:g}" r="9"/>' + words(x, y + 4, str(number), "number", "middle")
