"""Charts for a page: SVG that follows the reader's choice of a light or a dark screen."""

import base64
import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Told apart for every kind of colour vision (Okabe and Ito), and on white and on black.
COLORS = ("#0a84c6", "#e0682a", "#1d9e75", "#c566a4", "#b8860b", "#6f6fd0", "#8a8a8a")
_GRID = {"color": "#808080", "alpha": 0.3}
# Text is written, not drawn, in a font that every system has something like.
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "cnn_jax", "font.size": 9}
_SCREENS = (
    "<style>svg{color:#1b1f24}text{fill:currentColor;font-family:Verdana,DejaVu Sans,sans-serif}"
    "@media (prefers-color-scheme:dark){svg{color:#e6e9ec}}</style>"
)


def curves(
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    *,
    ylabel: str,
    from_zero: bool = False,
) -> str:
    """Draw lines over epochs.

    Args:
        lines: (name, x, y) of each.
        ylabel: what y is.
        from_zero: whether y begins at 0.

    Returns:
        The chart as a `data:` address.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 3.1))
        # Margins set by hand: to have them worked out takes as long as the rest.
        margins = {"left": 0.145, "right": 0.985, "bottom": 0.155, "top": 0.925}
        axes = figure.subplots(gridspec_kw=margins)
        for (name, x, y), color in zip(lines, _colors(len(lines)), strict=True):
            axes.plot(x, y, color=color, marker="o" if len(x) == 1 else None, label=name)
        axes.set_xlabel("epoch")
        axes.set_ylabel(ylabel)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if from_zero:
            axes.set_ylim(bottom=0)
        axes.grid(**_GRID)
        if len(lines) > 1:
            axes.legend(frameon=False)
        return _address(figure)


def reliability(record: Sequence[dict]) -> str:
    """Draw how often the network is right against how sure it is.

    Guo et al. 2017, figure 1.

    Args:
        record: the bins of an assessment.

    Returns:
        The chart as a `data:` address.
    """
    bins = [row for row in record if row["images"]]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.2, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#808080", linestyle="--", label="calibrated")
        middles = [(row["low"] + row["high"]) / 2 for row in bins]
        widths = [row["high"] - row["low"] for row in bins]
        shares = np.array([row["images"] for row in bins], float)
        shares = 0.25 + 0.75 * shares / max(shares.max(initial=1), 1)
        bars = axes.bar(middles, [row["accuracy"] for row in bins], widths, color=COLORS[0])
        for bar, share in zip(bars, shares, strict=True):
            bar.set_alpha(share)
        confidences = [row["confidence"] for row in bins]
        accuracies = [row["accuracy"] for row in bins]
        axes.plot(confidences, accuracies, "o", color=COLORS[1], markersize=4, label="measured")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        axes.grid(**_GRID)
        axes.legend(frameon=False, loc="upper left")
        return _address(figure)


def confusion(matrix: np.ndarray, class_names: Sequence[str]) -> str:
    """Draw a confusion matrix: counts, shaded by the fraction of the true class.

    Args:
        matrix: int [classes, classes]; row: true class, column: predicted class.
        class_names: the classes.

    Returns:
        The chart as a `data:` address.
    """
    classes = len(class_names)
    fractions = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    blue = np.array(matplotlib.colors.to_rgb(COLORS[0]))
    shades = np.concatenate([np.broadcast_to(blue, (*matrix.shape, 3)), fractions[..., None]], -1)
    size = float(np.clip(0.42 * classes, 3, 8))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(size + 1.4, size + 0.6), layout="constrained")
        axes = figure.subplots()
        if classes <= 30:  # with more, numbers and names would run into each other
            axes.pcolormesh(shades, edgecolors="none")
            for (row, column), count in np.ndenumerate(matrix):
                if count:
                    shade = "white" if fractions[row, column] > 0.5 else "black"
                    axes.text(
                        column + 0.5, row + 0.5, f"{count}",
                        ha="center", va="center", color=shade, fontsize=8,
                    )  # fmt: skip
            middles = np.arange(classes) + 0.5
            axes.set_xticks(middles, class_names, rotation=45, ha="right")
            axes.set_yticks(middles, class_names)
        else:
            axes.imshow(shades, extent=(0, classes, classes, 0), interpolation="none")
        axes.set(xlim=(0, classes), ylim=(classes, 0), xlabel="predicted", ylabel="true")
        return _address(figure)


def _colors(count: int) -> list[str]:
    return [COLORS[index % len(COLORS)] for index in range(count)]


def _address(figure: Figure) -> str:
    """Write a figure as an SVG whose black is the colour of the page's text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace("#000000", "currentColor")
    drawn = re.sub(r"(<svg[^>]*>)", lambda match: match[1] + _SCREENS, drawn, count=1)
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.encode()).decode()
