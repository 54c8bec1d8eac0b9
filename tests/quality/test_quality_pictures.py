import base64
import io

import numpy as np
import pytest
from PIL import Image

from hwosim_assets.errors import BadInputError
from hwosim_assets.quality.pictures import MOST_BYTES, Picture, markdown, png

MAGENTA = (214, 39, 140)


def _drawn(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png(Picture("a_cal.fits [SCI]", before, after)))).convert("RGB")).astype(
        int
    )


@pytest.mark.parametrize(
    "shape", [(2048, 2048), (8, 8), (64, 2048), (2048, 3), (1, 1), (5, 4, 32, 32), (300000,), (1,)]
)
def test_any_shape_stays_below_the_limit(shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(1).normal(size=shape)
    content = png(Picture("noise", noise, noise[::-1].copy()))
    assert len(content) <= MOST_BYTES
    width, height = Image.open(io.BytesIO(content)).size
    assert 0 < width <= 500
    assert 0 < height <= 250


def test_pure_noise_that_does_not_compress_stays_below_the_limit() -> None:
    uniform = np.random.default_rng(2).uniform(size=(432, 432))
    assert 60_000 < len(png(Picture("noise", uniform, uniform.T.copy()))) <= MOST_BYTES


def test_missing_values_are_magenta_and_only_they() -> None:
    before = np.arange(64.0).reshape(8, 8)
    after = before.copy()
    after[0, 0] = np.nan
    after[7, 7] = np.inf
    pixels = _drawn(before, after)
    magenta = (pixels == MAGENTA).all(axis=2)
    left, right = magenta[:, : magenta.shape[1] // 2], magenta[:, magenta.shape[1] // 2 :]
    assert not left.any()
    assert right[-1, 8] or right[-1, 4]  # row 0 lies at the bottom
    assert right[0, -1]
    assert right.sum() == 2 * 16 * 16


def test_both_sides_share_one_scale() -> None:
    before = np.linspace(0.0, 1.0, 64).reshape(8, 8)
    pixels = _drawn(before, before + 10.0)
    half = pixels.shape[1] // 2
    assert pixels[:, : half - 8, 0].std() > 20
    assert (pixels[:, half + 8 :, 0] >= 250).all()


def test_a_constant_and_an_empty_sky_are_drawn() -> None:
    _drawn(np.zeros((8, 8)), np.zeros((8, 8)))
    assert (_drawn(np.full((8, 8), np.nan), np.full((8, 8), np.nan)) == MAGENTA).all(axis=2).any()


def test_a_table_is_drawn_as_two_curves_with_marks_where_values_are_missing() -> None:
    flux = np.sin(np.linspace(0, 6, 200))
    after = flux + 0.2
    after[50:60] = np.nan
    pixels = _drawn(flux, after)
    assert (pixels == (120, 120, 120)).all(axis=2).sum() > 100
    assert (pixels == (31, 119, 180)).all(axis=2).sum() > 100
    assert (pixels == MAGENTA).all(axis=2).any()


def test_what_cannot_be_compared_is_refused_with_its_name() -> None:
    with pytest.raises(BadInputError, match=r"x \[SCI\].*cannot be compared"):
        png(Picture("x [SCI]", np.zeros((2, 2)), np.zeros((2, 3))))
    with pytest.raises(BadInputError, match="not a real number"):
        png(Picture("x", np.array(["a"]), np.array(["b"])))
    with pytest.raises(BadInputError, match="cannot be compared"):
        png(Picture("x", np.zeros((0,)), np.zeros((0,))))


def test_markdown_holds_the_picture_and_no_markup_of_a_name() -> None:
    text = markdown(Picture("x](javascript:1)<b>_cal.fits", np.zeros((4, 4)), np.ones((4, 4))))
    assert "<b>" not in text
    encoded = text.split("base64,")[1].rstrip(")")
    assert base64.b64decode(encoded).startswith(b"\x89PNG")
