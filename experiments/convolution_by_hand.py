"""Look at convolution and pooling, done by hand: what each filter, stride, padding or window does.

    python experiments/convolution_by_hand.py --out runs/convolution_by_hand

Draws six figures with the plain loops of `cnn_jax.reference`, on a chessboard and on
scikit-learn's photograph of a Chinese temple (427x640, made grey).

Measured, 10 s of CPU time: 4x4 pooling turns 427x640 into 106x160; a 3x3 filter turns the
photograph, halved to 213x320, into 211x318, with stride 2 into 106x159, with dilation 8 into
197x304. To see: an edge filter answers only to its own direction; zero padding darkens the border
of a blur, wrap brings in the opposite side, reflect and edge hardly show.
"""

import time
from itertools import product
from pathlib import Path

import click
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_sample_image

from cnn_jax.reference import (
    FILTERS,
    average_pool,
    convolution,
    convolution2d,
    gaussian_blur,
    max_pool,
    pad,
)

STRIDES = (1, 2, 4, 8)
DILATIONS = (1, 2, 4, 8)
WINDOWS = (2, 4, 8, 16)
MODES = ("zero", "reflect", "edge", "wrap")


def read_photograph() -> np.ndarray:
    """Read the photograph in grey, float64 [427, 640] from 0 (black) to 1 (white)."""
    colours = load_sample_image("china.jpg") / 255
    return colours @ [0.299, 0.587, 0.114]  # how bright the eye sees red, green and blue


def make_chessboard(field: int = 8) -> np.ndarray:
    """Make a chessboard of 8 x 8 fields of `field` pixels, bright in the top left corner.

    In light and dark grey: on black and white, sharpening would have nowhere to go.
    """
    rows, columns = np.indices((8 * field, 8 * field)) // field
    return np.where((rows + columns) % 2, 0.25, 0.75)


def size(image: np.ndarray) -> str:
    """Say how large an image is, height first."""
    return f"{image.shape[0]}x{image.shape[1]}"


def show(axes: Axes, image: np.ndarray, title: str, *, signed: bool = False) -> None:
    """Show an image in grey, or answers in blue (negative), white (zero) and red (positive)."""
    if signed:
        # A few very strong answers would leave all others pale.
        strong = np.abs(image[image != 0])
        limit = np.percentile(strong, 98) if strong.size else 1.0
        axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    else:
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def describe(kernel: np.ndarray) -> str:
    """Write a kernel as rows of numbers, or by its range where the numbers are no integers."""
    if (kernel % 1 == 0).all():
        return "\n".join(" ".join(f"{int(entry):2d}" for entry in row) for row in kernel)
    low, high = f"{kernel.min():.3f}", f"{kernel.max():.3f}"
    values = f"all {low}" if low == high else f"{low} (corners) to {high} (centre)"
    return f"{size(kernel)} weights,\n{values},\nthat add up to 1"


def new_figure(title: str, *, rows: int, columns: int, panel: np.ndarray, text: float) -> Figure:
    """Make a figure that fits panels of an image's proportions, with `text` inches around each."""
    width = 15 / columns
    height = width * panel.shape[0] / panel.shape[1] + text
    figure = Figure(figsize=(15, rows * height + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=13)
    return figure


def draw_filters(image: np.ndarray, name: str) -> Figure:
    """Draw an image under every filter, with the filter's numbers below."""
    figure = new_figure(
        f"{name} under every filter, stride 1, no padding. Edge filters: red where the answer is "
        "positive, blue negative, white zero. The others keep the brightness: grey",
        rows=3,
        columns=5,
        panel=image,
        text=1.0,
    )
    panels = figure.subplots(3, 5).ravel()
    show(panels[0], image, f"the image\n{size(image)}")
    for axes, (label, kernel) in zip(panels[1:], FILTERS.items(), strict=True):
        answers = convolution2d(image, kernel)
        is_edge_filter = abs(kernel.sum()) < 1e-9
        show(axes, answers, f"{label.replace('_', ' ')}\n{size(answers)}", signed=is_edge_filter)
        axes.set_xlabel(describe(kernel), family="monospace", fontsize=9)
    return figure


def draw_strides(image: np.ndarray) -> Figure:
    """Draw the answers to one filter at several strides."""
    figure = new_figure(
        "Stride: a 3x3 filter for vertical edges (Sobel) that moves by more pixels at a time "
        "answers with a smaller map (red: brighter on the left; blue: on the right)",
        rows=1,
        columns=5,
        panel=image,
        text=0.4,
    )
    panels = figure.subplots(1, 1 + len(STRIDES))
    show(panels[0], image, f"the image: {size(image)}")
    for axes, stride in zip(panels[1:], STRIDES, strict=True):
        answers = convolution2d(image, FILTERS["sobel_vertical"], stride=stride)
        show(axes, answers, f"stride {stride}: {size(answers)}", signed=True)
    return figure


def draw_padding(image: np.ndarray, width: int) -> Figure:
    """Draw what each padding mode puts around the image, and what a blur makes of it."""
    kernel = gaussian_blur(2 * width + 1, sigma=width / 2)
    figure = new_figure(
        f"Padding: {width} pixels around an image of {size(image)} (dashed) let a {size(kernel)} "
        "blur keep the size. What they hold leaks into the border: zeros darken it",
        rows=2,
        columns=4,
        panel=image,
        text=0.4,
    )
    for column, mode in zip(figure.subplots(2, len(MODES)).T, MODES, strict=True):
        padded = pad(image, width, mode=mode)
        show(column[0], padded, f"{mode}: {size(padded)}")
        border = (width - 0.5, width - 0.5), image.shape[1], image.shape[0]
        column[0].add_patch(Rectangle(*border, fill=False, color="red", linestyle="--"))
        answers = convolution2d(image, kernel, padding=width, padding_mode=mode)
        show(column[1], answers, f"blurred, {mode} padding: {size(answers)}")
    return figure


def draw_dilation(image: np.ndarray) -> Figure:
    """Draw a kernel spread more and more, and its answers."""
    kernel = FILTERS["sobel_vertical"]
    reach = 2 * max(DILATIONS) + 1
    figure = new_figure(
        "Dilation: the same nine numbers, spread over more pixels, answer to coarser edges; "
        "without padding, the answers shrink by one less than the kernel covers",
        rows=2,
        columns=4,
        panel=np.ones((4, 5)),
        text=0.1,
    )
    for column, dilation in zip(figure.subplots(2, len(DILATIONS)).T, DILATIONS, strict=True):
        covered = 2 * dilation + 1
        start = (reach - covered) // 2
        spots = slice(start, start + covered, dilation)
        spread = np.zeros((reach, reach))
        spread[spots, spots] = kernel
        show(column[0], spread, f"dilation {dilation}: covers {covered}x{covered}", signed=True)
        for i, j in product(range(reach)[spots], repeat=2):
            colour = "white" if abs(spread[i, j]) == 2 else "black"
            column[0].text(
                j, i, f"{spread[i, j]:.0f}", color=colour, ha="center", va="center", fontsize=8
            )
        answers = convolution(image[:, :, None], kernel[:, :, None, None], dilation=dilation)
        show(column[1], answers[:, :, 0], f"{size(image)} becomes {size(answers)}", signed=True)
    return figure


def draw_pooling(image: np.ndarray) -> Figure:
    """Draw the image under maximum and average pooling with several windows."""
    figure = new_figure(
        "Pooling keeps one number for each window, the largest or the mean; "
        "rows and columns that do not fill a window are dropped",
        rows=2,
        columns=5,
        panel=image,
        text=0.4,
    )
    panels = figure.subplots(2, 1 + len(WINDOWS))
    for row, (name, pool) in zip(
        panels, [("max", max_pool), ("average", average_pool)], strict=True
    ):
        show(row[0], image, f"the image: {size(image)}")
        for axes, window in zip(row[1:], WINDOWS, strict=True):
            pooled = pool(image, window=window)
            show(axes, pooled, f"{name} {window}x{window}: {size(pooled)}")
    return figure


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default="runs/convolution_by_hand")
@click.option("--shrink", default=2, help="Average this many pixels into one, except for pooling.")
def main(out: Path, shrink: int) -> None:
    """Draw the figures and print their sizes."""
    photograph = read_photograph()
    small = average_pool(photograph, window=shrink)
    chessboard = make_chessboard()
    drawings = {
        "filters_chessboard": lambda: draw_filters(chessboard, "Chessboard"),
        "filters_photograph": lambda: draw_filters(small, "Photograph"),
        "strides": lambda: draw_strides(small),
        "padding": lambda: draw_padding(small, width=max(2, small.shape[0] // 14)),
        "dilation": lambda: draw_dilation(small),
        "pooling": lambda: draw_pooling(photograph),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in drawings.items():
        start = time.perf_counter()
        figure = draw()
        figure.savefig(out / f"{name}.png", dpi=110)
        titles = [axes.get_title() for axes in figure.axes]
        print(f"{name}.png, {time.perf_counter() - start:.1f} s")
        for title in titles:
            print("   ", title.replace("\n", ": "))


if __name__ == "__main__":
    main()
