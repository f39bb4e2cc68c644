"""Plots as SVG text: for a page that may be light or dark, or as a picture of its own.

matplotlib is of the extra ``bench`` and imported when something is drawn. Colours are those of
Okabe and Ito, which people tell apart who do not see red or green; markers and dashes repeat what
they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from io import StringIO
from typing import Any, Final, TypeAlias

from vppd.errors import UserError

Draw: TypeAlias = Callable[[Any], None]
"""Draws on a matplotlib figure."""

INK: Final = "#1b1b1e"
FAINT: Final = "#d9d9de"
MUTED: Final = "#6f6f78"
SERIES: Final = ("#0072b2", "#d55e00", "#009e73", "#b0568a", "#56b4e9", "#e69f00", "#7a7a7a")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_VARIABLES: Final = {
    INK: "currentColor", FAINT: "var(--faint)", MUTED: "var(--muted)",
    **{colour: f"var(--s{i})" for i, colour in enumerate(SERIES)},
}  # fmt: skip
CSS_VARIABLES: Final = {
    "light": {"--faint": FAINT, "--muted": MUTED,
              **{f"--s{i}": colour for i, colour in enumerate(SERIES)}},
    "dark": {"--faint": "#3a3a42", "--muted": "#a2a2ad", "--s0": "#5db2ee", "--s1": "#ff8a3d",
             "--s2": "#2fc79b", "--s3": "#e08fbd", "--s4": "#9bd4f7", "--s5": "#f2bd4a",
             "--s6": "#b5b5b5"},
}  # fmt: skip
"""What the page has to define for :func:`inline`."""

_NAMED = re.compile(r' id="[a-zA-Z.]+_\d+"')
_HEADER = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)


def inline(draw: Draw, width: float, height: float, title: str) -> str:
    """An ``<svg>`` for a page that defines :data:`CSS_VARIABLES`; it takes the page's text colour.

    Args:
        draw: puts axes on the figure it is given.
        width: inches at 72 points; the page may shrink it.
        height: the same.
        title: what it shows, for who cannot see it.

    Raises:
        UserError: E430.
    """
    text = _METADATA.sub("", _HEADER.sub("", _rendered(draw, width, height, "none")))
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    text = _NAMED.sub("", text)
    text = re.sub(r' (width|height)="[0-9.]+pt"', "", text, count=2)
    return text.replace("<svg ", f'<svg role="img" aria-label="{_attribute(title)}" ', 1)


def standalone(draw: Draw, width: float, height: float) -> str:
    """An SVG file: on white, the same bytes each time.

    Args:
        draw: puts axes on the figure it is given.
        width: inches at 72 points.
        height: the same.

    Raises:
        UserError: E430.
    """
    return _rendered(draw, width, height, "white")


def plain(axes: Any, *, x: str = "", y: str = "", title: str = "", grid: str = "y") -> None:
    """Axes as all plots here have them: no frame, faint lines to read values off.

    Args:
        axes: of matplotlib.
        x: label with unit.
        y: the same.
        title: what is shown.
        grid: ``x``, ``y``, ``both`` or nothing.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title, loc="left", fontsize=10)
    if grid:
        axes.grid(axis=grid, color=FAINT, lw=0.7)
        axes.set_axisbelow(True)


def legend(axes: Any, columns: int = 3) -> None:
    """What the colours mean, above the plot."""
    axes.legend(
        frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8,
        borderaxespad=0.2, handlelength=1.6,
    )  # fmt: skip


def require() -> None:
    """That there is something to draw with, before anything takes long.

    Raises:
        UserError: E430.
    """
    if find_spec("matplotlib") is None:
        raise missing_extra("matplotlib")


def _rendered(draw: Draw, width: float, height: float, face: str) -> str:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as err:
        raise missing_extra("matplotlib") from err
    style: Any = {
        "svg.hashsalt": "vppd", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
        "text.color": INK, "axes.edgecolor": MUTED, "axes.labelcolor": INK, "xtick.color": INK,
        "ytick.color": INK, "xtick.major.width": 0.7, "ytick.major.width": 0.7,
        "axes.linewidth": 0.7, "axes.facecolor": "none", "savefig.facecolor": face,
    }  # fmt: skip
    out = StringIO()
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def missing_extra(library: str) -> UserError:
    """What is said where a library of the extra ``bench`` is not installed."""
    return UserError(
        "E430",
        f"{library} is not installed",
        hint="pip install 'vppd[bench]'",
    )


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
