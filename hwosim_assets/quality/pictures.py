"""A small picture of a product before and after: images side by side, columns as curves.

Holds: drawing with numpy and pillow, bounded to 100 kB, and the ``data:`` URI that Dagster's pages
render inside Markdown. Keep out choosing which product to show; that stands with the stage.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MOST_BYTES", "Picture", "data_uri", "image_png", "markdown", "png"]

#: Dagster keeps metadata for ever; a larger picture makes its pages slow.
MOST_BYTES = 100_000
#: Pixels of one panel's side: two panels of one byte per pixel stay below 100 kB even as pure noise.
_SIDE = 216
_GAP = 8
_POINTS = 2000  # most points of a curve
_NAN = (214, 39, 140)  # magenta: no grey level and no curve has it
_NAN_LEVEL, _WHITE_LEVEL = 255, 254
_BEFORE, _AFTER = (120, 120, 120), (31, 119, 180)
#: Lupton et al. (2004) use asinh so that faint sky and bright cores show at once.
_SOFTENING = 0.05

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Picture:
    """What to draw.

    Attributes
    ----------
    title : str
        Archive file name and array, for the text beside the picture.
    before, after : numpy.ndarray
        The same array of the product before and after, real numbers of one shape and unit. Two
        dimensions are drawn as an image with row 0 at the bottom, one as a curve over the index,
        more by their first plane.
    """

    title: str
    before: Array
    after: Array


def png(picture: Picture) -> bytes:
    """Draw a picture.

    Both sides share one scale: the 1st to 99.5th percentile of the finite values before, stretched
    by asinh. Values that are not finite are magenta.

    Returns
    -------
    bytes
        A PNG of at most 100 kB.

    Raises
    ------
    BadInputError
        If the arrays differ in shape, hold no values or are not real numbers.
    """
    before, after = (_real(array, picture.title) for array in (picture.before, picture.after))
    if before.shape != after.shape or before.size == 0:
        raise BadInputError(
            picture.title,
            f"shapes {before.shape} and {after.shape} cannot be compared",
            "draw the same array before and after",
        )
    buffer = io.BytesIO()
    (_curves(before, after) if before.ndim < 2 else _panels(before, after)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def image_png(title: str, image: Array) -> bytes:
    """Draw one image alone, in the same way.

    Parameters
    ----------
    title : str
        What it is, for the error.
    image : numpy.ndarray
        Real numbers of two dimensions or more, of which the first plane is drawn, row 0 at the bottom.

    Returns
    -------
    bytes
        A PNG of at most 100 kB.

    Raises
    ------
    BadInputError
        If there is nothing to draw.
    """
    values = _real(image, title)
    if np.ndim(image) < 2 or not values.size:
        raise BadInputError(title, "is no image", "draw an array of two dimensions or more")
    buffer = io.BytesIO()
    _paletted(_panel(values, *_scale(values, values))).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(content: bytes) -> str:
    """Return a PNG as a ``data:`` URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def markdown(picture: Picture) -> str:
    """Return a picture as Markdown, with a line that says what is drawn."""
    title = "".join(letter for letter in picture.title if letter.isalnum() or letter in "._-+[](), ")
    said = "grey before, blue after" if np.ndim(picture.before) < 2 else "left before, right after"
    return (
        f"{title}: {said}, one scale (asinh); magenta is not a number\n\n![before and after]({data_uri(png(picture))})"
    )


def _real(array: Array, title: str) -> npt.NDArray[np.float64]:
    values = np.asarray(array)
    if values.dtype.kind not in "fiub":
        raise BadInputError(title, f"{values.dtype} is not a real number", "draw an image or a numeric column")
    while values.ndim > 2:
        values = values[0]
    return np.atleast_1d(values.astype(np.float64))


def _scale(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the value range of the drawing; of the first array, unless that has no finite value."""
    for values in (before, after):
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = (float(level) for level in np.percentile(finite, (1.0, 99.5)))
            return (low, high) if high > low else (low - 0.5, high + 0.5)
    return (0.0, 1.0)


def _stretch(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):
        part = np.clip((values - low) / (high - low), 0.0, 1.0)
    stretched: npt.NDArray[np.float64] = np.arcsinh(part / _SOFTENING) / np.arcsinh(1.0 / _SOFTENING)
    return stretched


def _panels(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> Image:
    low, high = _scale(before, after)
    left, right = (_panel(values, low, high) for values in (before, after))
    gap = np.full((left.shape[0], _GAP), _WHITE_LEVEL, np.uint8)
    return _paletted(np.hstack([left, gap, right]))


def _paletted(levels: npt.NDArray[np.uint8]) -> Image:
    from PIL import Image as Drawing

    sheet = Drawing.fromarray(levels)
    greys = [grey * 255 // _WHITE_LEVEL for grey in range(_NAN_LEVEL) for _ in range(3)]
    sheet.putpalette([*greys, *_NAN])
    return sheet


def _panel(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Return palette indices of one image, row 0 at the bottom.

    Every n-th pixel of a large image is taken, not a mean, so that a NaN stays one; pixels of a
    small image are repeated. A strip such as a 64 x 2048 subarray keeps its full width.
    """
    rows, columns = (max(1, -(-length // _SIDE)) for length in values.shape)
    if min(values.shape) > _SIDE // 4:
        rows = columns = max(rows, columns)
    sampled = values[::rows, ::columns]
    levels = (np.nan_to_num(_stretch(sampled, low, high)) * _WHITE_LEVEL).astype(np.uint8)
    levels[~np.isfinite(sampled)] = _NAN_LEVEL
    up, along = (max(1, _SIDE // length) for length in sampled.shape)
    if min(sampled.shape) * 4 > max(sampled.shape):
        up = along = min(up, along)
    grown: npt.NDArray[np.uint8] = levels.repeat(min(up, 16), axis=0).repeat(min(along, 16), axis=1)[::-1]
    return grown


def _curves(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> Image:
    from PIL import Image as Drawing
    from PIL import ImageDraw

    step = -(-before.size // _POINTS)
    before, after = before[::step], after[::step]
    width, height = 2 * _SIDE + _GAP, _SIDE // 2
    sheet = Drawing.new("RGB", (width, height), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    low, high = _scale(before, after)
    columns = np.linspace(0, width - 1, before.size)
    for values, colour in ((before, _BEFORE), (after, _AFTER)):
        heights = (height - 1) * (1.0 - _stretch(values, low, high))
        finite = np.isfinite(values)
        for start in range(before.size - 1):
            if finite[start] and finite[start + 1]:
                ends = [(float(columns[place]), float(heights[place])) for place in (start, start + 1)]
                pen.line(ends, fill=colour)
        for place in np.flatnonzero(~finite):
            pen.line([(float(columns[place]), height - 6.0), (float(columns[place]), height - 1.0)], fill=_NAN)
    return sheet
