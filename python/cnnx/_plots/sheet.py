"""A figure without a window, and a sheet of paper on which things are placed to the pixel.

Nothing here uses pyplot, so no figure stays in its list, no backend is chosen and no setting of the user's changes.
What a picture needs is given to matplotlib in each call, because the user's own settings may be for dark paper.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import NDArray

MARGIN, HEAD = 32, 84  # pixels: around a sheet, and for its heading
DPI = 144  # dots per inch: a sheet's pixel is a dot of a PNG, and half a point of type

INK, HIGH, LOW, PAPER = "#172554", "#1d4ed8", "#c2410c", "#ffffff"  # HIGH for numbers above 0, LOW for those below
GREY, BAR, LINE, FAINT = "#64748b", "#94a3b8", "#cbd5e1", "#edf1f6"

Pixels = NDArray[np.float64]
"""(height, width, 3), the shares of red, green and blue from 0 to 1."""


class Picture(Figure):  # type: ignore[misc]
    """A figure that notebooks show although pyplot does not know it."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER, edgecolor=PAPER, layout="none")

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the picture, and how wide it is to be shown."""
        return bytes_of(self, "png"), {"width": round(96 * self.get_size_inches()[0])}  # a screen has 96 dots per inch


def bytes_of(figure: Figure, kind: str) -> bytes:
    """Return a figure as the bytes of a file: "png", "svg" or "pdf"."""
    file = BytesIO()
    figure.savefig(file, format=kind, dpi=figure.dpi, facecolor=PAPER, bbox_inches=None, transparent=False)
    return file.getvalue()


def rgb(colour: str) -> Pixels:
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def mixed(share: NDArray[Any], colour: str, ground: str = PAPER) -> Pixels:
    """Return `colour` where the share (height, width) is 1, and `ground` where it is 0."""
    return np.asarray(rgb(ground) + np.asarray(share, np.float64)[..., np.newaxis] * (rgb(colour) - rgb(ground)))


def signed(values: NDArray[Any], largest: float) -> Pixels:
    """Return numbers (height, width) as colours: HIGH above 0, LOW below, PAPER at 0. The root shows small ones too."""
    share = np.clip(np.asarray(values, np.float64) / (largest or 1.0), -1, 1)
    return np.where(share[..., np.newaxis] > 0, mixed(share.clip(0) ** 0.5, HIGH), mixed((-share).clip(0) ** 0.5, LOW))


def resized(picture: Pixels, height: int, width: int) -> Pixels:
    """Repeat or leave out whole pixels."""
    rows, columns = (np.arange(size) * old // size for size, old in zip((height, width), picture.shape, strict=False))
    return np.asarray(picture[rows[:, np.newaxis], columns])


def image_pixels(image: NDArray[Any]) -> Pixels:
    """Return an image (height, width) as ink on paper, or (height, width, 3) in its colours."""
    if image.dtype == np.uint8:
        shares = image / 255
    else:
        least, most = float(image.min()), float(image.max())
        shares = (image - least) / ((most - least) or 1.0)
    if shares.ndim == 3 and shares.shape[2] == 3:
        return np.asarray(shares, np.float64)
    return mixed(shares if shares.ndim == 2 else shares.mean(axis=2), INK)


def framed(pixels: Pixels) -> Pixels:
    """Draw a line over the outermost pixels."""
    pixels = pixels.copy()
    pixels[[0, -1]] = pixels[:, [0, -1]] = rgb(LINE)
    return pixels


def tiled(tiles: list[Pixels], columns: int, gap: int) -> Pixels:
    """Return pictures of one size in rows, each in a frame."""
    height, width = (size + gap for size in tiles[0].shape[:2])
    picture = mixed(np.zeros((-(-len(tiles) // columns) * height - gap, columns * width - gap)), PAPER)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height, i % columns * width
        picture[top : top + height - gap, left : left + width - gap] = framed(tile)
    return picture


class Sheet:
    """Paper of `width` x `height` pixels, whose pixel (0, 0) is at the top left."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Picture(width, height)
        self._axes = self.figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)

    @classmethod
    def around(cls, picture: Pixels, title: str, below: str) -> Sheet:
        """Return a sheet with a heading and a picture."""
        height, width = picture.shape[:2]
        sheet = cls(2 * MARGIN + max(width, 17 * len(title), 11 * len(below)), 2 * MARGIN + HEAD + height)
        sheet.title(title, below)
        sheet.image(picture, MARGIN, MARGIN + HEAD)
        return sheet

    def image(self, pixels: Pixels, left: float, top: float) -> None:
        """Draw an image, one pixel on each of the sheet's."""
        height, width = pixels.shape[:2]
        extent = (left, left + width, top + height, top)
        self._axes.imshow(
            pixels, extent=extent, origin="upper", aspect="auto", interpolation="nearest", resample=False, zorder=1
        )

    def box(self, left: float, top: float, width: float, height: float, colour: Any) -> None:
        """Fill a rectangle."""
        self._axes.add_patch(Rectangle((left, top), width, height, facecolor=colour, edgecolor="none", zorder=2))

    def text(self, text: str, x: float, y: float, size: float = 9, colour: Any = INK, **settings: Any) -> None:
        """Write text, from x on and on the line y unless `ha` and `va` say something else. The size is in points."""
        settings = {"ha": "left", "va": "baseline", "parse_math": False, "usetex": False, "zorder": 3} | settings
        self._axes.text(x, y, text, fontsize=size, color=colour, **settings)

    def title(self, title: str, below: str) -> None:
        """Write a heading, and a line in grey below it."""
        self.text(title, MARGIN, MARGIN + 20, 13, fontweight="bold")
        self.text(below, MARGIN, MARGIN + 48, 9, GREY)

    def arrow(self, x: float, y: float) -> None:
        """Draw a small arrow to the right around a point."""
        corners = [(x - 7, y - 11), (x + 7, y), (x - 7, y + 11)]
        self._axes.add_patch(Polygon(corners, facecolor=LINE, edgecolor="none", zorder=2))
