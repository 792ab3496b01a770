"""A picture of some images of each class."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cnn_jax.data.decoding import decode
from cnn_jax.data.listing import Listing
from cnn_jax.data.tree import reader

_SIDE, _GAP, _NAMES = 64, 4, 150
_MOST_CLASSES = 50


def contact_sheet(listing: Listing, usable: np.ndarray, *, columns: int = 10) -> Image.Image:
    """Draw some training images of each class, a row for each of the first 50 classes.

    Args:
        listing: the files.
        usable: bool [N], those that can be decoded.
        columns: images of each class, taken at equal distances.

    Returns:
        The picture: the name of a class, and its images cut to squares.
    """
    read, names = reader(listing.root), listing.class_names[:_MOST_CLASSES]
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (_NAMES + columns * step + _GAP, len(names) * step + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    train = usable & (listing.splits == 0)
    for row, name in enumerate(names):
        own = listing.labels[:, row] == 1 if listing.labels.ndim == 2 else listing.labels == row
        positions = np.flatnonzero(train & own)
        count = min(columns, len(positions))
        top = _GAP + row * step
        text = f"{name if len(name) < 22 else name[:20] + '…'}\n{len(positions):,} images"
        draw.multiline_text((_GAP, top + _SIDE // 2), text, "black", font, anchor="lm")
        for column, k in enumerate(np.linspace(0, len(positions) - 1, count).round().astype(int)):
            content = read(listing.paths[positions[k]])
            try:
                pixels = decode(content, channels=3, size=(_SIDE, _SIDE))
            except ValueError:  # too elongated to be cut to a square
                continue
            sheet.paste(Image.fromarray(pixels), (_NAMES + column * step, top))
    return sheet


def save_contact_sheet(path: Path, listing: Listing, usable: np.ndarray) -> None:
    """Write the contact sheet of a data set to a PNG file, which is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        contact_sheet(listing, usable).save(temporary, format="png")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
