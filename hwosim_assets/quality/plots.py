"""Small plots as inline SVG: no script, no file of their own, readable by a screen reader.

Holds: a line of numbers over runs, and a series with its level and its alarms. Keep out pictures of
products (``quality.pictures``) and what is plotted (``quality.pages``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwosim_assets.quality.markup import Markup, block

__all__ = ["series_plot", "trend"]

#: Most points of a plot; of a longer series every n-th is drawn, the last always.
_MOST = 600
_EDGE = 3.0


def trend(values: Sequence[float], broken: Sequence[bool], title: str) -> Markup:
    """Return numbers over runs as a small line, a dot for each run, those that broke a rule marked.

    Parameters
    ----------
    values : sequence of float
        One per run, the oldest first; finite.
    broken : sequence of bool
        Which of them broke something.
    title : str
        What is shown, for the tooltip and for who cannot see it.
    """
    width, height = 120.0, 26.0
    places = _places(values, width, height)
    dots = [
        block("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="2", class_="off" if off else "dot")
        for (x, y), off in zip(places, broken, strict=True)
    ]
    return _plot(width, height, title, _line(places, "line"), *dots)


def series_plot(values: Sequence[float], level: Sequence[float], marks: Sequence[int], title: str) -> Markup:
    """Return a series as dots with its running mean, and a line at each place where an alarm says it began to move.

    Parameters
    ----------
    values, level : sequence of float
        As long as each other; a level that is NaN is left out.
    marks : sequence of int
        Indices into them.
    title : str
        What is shown.
    """
    width, height = 640.0, 90.0
    step = max(1, -(-len(values) // _MOST))
    kept = sorted({*range(0, len(values), step), len(values) - 1, *marks}) if values else []
    drawn = [values[place] for place in kept]
    low, high = min(drawn, default=0.0), max(drawn, default=1.0)
    places = _places(drawn, width, height)
    means = [
        (x, _height(level[place], low, high, height))
        for (x, _), place in zip(places, kept, strict=True)
        if math.isfinite(level[place])
    ]
    off = {place: places[number][0] for number, place in enumerate(kept) if place in set(marks)}
    return _plot(
        width,
        height,
        title,
        # one stroke of no length with round ends for each: a page of 60 series has 36 000 dots
        block("path", d="".join(f"M{x:.1f} {y:.1f}h0" for x, y in places), class_="dots"),
        _line(means, "level"),
        *(block("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1="0", y2=f"{height:g}", class_="mark") for x in off.values()),
    )


def _places(values: Sequence[float], width: float, height: float) -> list[tuple[float, float]]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    gap = (width - 2 * _EDGE) / max(1, len(values) - 1)
    return [(_EDGE + number * gap, _height(value, low, high, height)) for number, value in enumerate(values)]


def _height(value: float, low: float, high: float, height: float) -> float:
    part = (value - low) / (high - low) if high > low else 0.5
    return height - _EDGE - min(max(part, 0.0), 1.0) * (height - 2 * _EDGE)


def _line(places: Sequence[tuple[float, float]], kind: str) -> Markup:
    return block("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_=kind)


def _plot(width: float, height: float, title: str, *parts: Markup) -> Markup:
    size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    return block("svg", block("title", title), *parts, role="img", **size)
