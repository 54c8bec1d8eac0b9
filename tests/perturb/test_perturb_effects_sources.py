"""Injected sources lie at a place on the sky: the light is measured, and its sky read off with astropy's WCS."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from astropy import log
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from scenes import K, perturbed, star

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effects import sources
from hwosim_assets.perturb.effects.moments import moment
from hwosim_assets.perturb.effects.places import AT
from hwosim_assets.perturb.effects.sky import offset, sky_of, target_of
from hwosim_assets.perturb.effects.sources import _trail
from hwosim_assets.perturb.plan import make_plan, read_plan
from hwosim_assets.perturb.run import perturb_product

Make = Callable[..., Product]

SCALE = 0.031 / 3600
TARGET = (219.77, 45.7176)
CARDS = {
    "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCB1", "TARGNAME": "M-31", "TARG_RA": TARGET[0],
    "TARG_DEC": TARGET[1], "EXPSTART": 60000.25, "EXPEND": 60000.29, "VSTSTART": "2023-02-25 05:45:36.0",
    "EFFINTTM": 300.0, "EFFEXPTM": 300.0,
}  # fmt: skip
#: A distortion of up to two pixels at the corners.
SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 2e-4, "A_0_2": -1e-4, "B_1_1": 3e-4}


def sky_cards(roll: float = 0.0, shift: tuple[float, float] = (0.0, 0.0), **more: object) -> dict[str, object]:
    """Return a WCS with the target near the middle; ``roll`` is the position angle of +y, ``shift`` a dither in px."""
    turn = np.radians(roll)
    matrix = {"PC1_1": -np.cos(turn), "PC1_2": np.sin(turn), "PC2_1": np.sin(turn), "PC2_2": np.cos(turn)}
    kind = "-SIP" if "A_ORDER" in more else ""
    return {
        "CTYPE1": "RA---TAN" + kind, "CTYPE2": "DEC--TAN" + kind, "CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": TARGET[0],
        "CRVAL2": TARGET[1], "CRPIX1": 48.5 + shift[0], "CRPIX2": 50.25 + shift[1], "CDELT1": SCALE, "CDELT2": SCALE,
        **matrix, **more,
    }  # fmt: skip


def exposure(
    sky: Mapping[str, object], signal: np.ndarray | None = None, name: str = "00001_nrcb1_cal", **cards: object
) -> Product:
    """Return a product without noise, whose SCI header holds these cards."""
    signal = np.full((96, 96), 2.0) if signal is None else signal
    primary = fits.PrimaryHDU()
    primary.header.update({**CARDS, **cards})
    planes = {"SCI": signal, "ERR": np.full(signal.shape, 0.05), "VAR_POISSON": signal / K}
    hdus = [primary, *(fits.ImageHDU(data.astype(np.float32), name=key) for key, data in planes.items())]
    hdus.append(fits.ImageHDU(np.zeros(signal.shape, np.uint32), name="DQ"))
    hdus[1].header.update(sky)
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return Product(f"jw01234001001_02101_{name}.fits", buffer.getvalue())


def light(product: Product, out: Product, frame: int = 0) -> tuple[float, float]:
    """Return the centroid (y, x) of what was added, from pixels well above the noise of the source."""
    change = out.plane("SCI").astype(float) - product.plane("SCI").astype(float)
    image = change.reshape(-1, *change.shape[-2:])[frame]
    image = np.where(image > 0.01 * image.max(), image, 0)
    y, x = np.indices(image.shape)
    return float((image * y).sum() / image.sum()), float((image * x).sum() / image.sum())


def seen_at(product: Product, out: Product, frame: int = 0) -> SkyCoord:
    """Return where on the sky the added light lies."""
    with fits.open(io.BytesIO(product.content)) as file:
        wcs = WCS(file["SCI"].header, naxis=2)
    y, x = light(product, out, frame)
    ra, dec = wcs.all_pix2world(x, y, 0)
    return SkyCoord(float(ra), float(dec), unit="deg")


def mas(one: SkyCoord, other: SkyCoord) -> float:
    return float(one.separation(other).mas)


STAR = star(96, 2.5, 500.0, sky=2.0)
BRIGHT = {
    "point_source": {"peak": 1000.0},
    "companion": {"contrast": 1.0},
    "moving_object": {"peak": 1000.0, "rate": 0},
}
#: What shows one place: a dither, a roll, another product of the exposure in other units, another detector scale.
OTHERS = {
    "dither": (sky_cards(shift=(6.3, -4.1)), 1.0, "00002_nrcb1_cal"),
    "roll": (sky_cards(roll=10.0), 1.0, "00003_nrcb1_cal"),
    "rate": (sky_cards(), 3.0, "00001_nrcb1_rate"),
    "distorted": (sky_cards(roll=-40.0, **SIP), 1.0, "00001_nrca1_cal"),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("effect", BRIGHT)
def test_a_drawn_place_is_one_place_on_the_sky_in_all_products_of_a_target(effect: str, other: str) -> None:
    cards, unit, name = OTHERS[other]
    first, second = exposure(sky_cards(), STAR), exposure(cards, STAR * unit, name)
    (one, record), (two, again) = (perturbed(product, **{effect: BRIGHT[effect]}) for product in (first, second))
    assert record["placed_by"] == again["placed_by"] == "wcs"
    assert (again["ra"], again["dec"]) == (record["ra"], record["dec"])
    assert mas(seen_at(first, one), seen_at(second, two)) < 0.05 * 31
    assert light(second, two) == pytest.approx((again["y"], again["x"]), abs=0.05)
    assert mas(seen_at(first, one), SkyCoord(*TARGET, unit="deg")) < 810


@pytest.mark.parametrize("effect", BRIGHT)
def test_another_target_or_another_seed_draws_another_place(effect: str) -> None:
    products = exposure(sky_cards(), STAR), exposure(sky_cards(), STAR, TARGNAME="M-32")
    places = [
        (found["y"], found["x"])
        for product in products
        for seed in (1, 2)
        for found in [perturbed(product, seed=seed, **{effect: BRIGHT[effect]})[1]]
    ]
    assert len(set(places)) == 4


def test_a_target_without_a_name_is_known_by_its_proposal_name_and_then_its_coordinates() -> None:
    def owner(**cards: object) -> str | None:
        target = target_of(exposure(sky_cards(), **cards))
        return None if target is None else target.owner

    assert owner() == owner(TARGNAME="UNKNOWN", TARGPROP="M-31") == "target M-31"
    assert owner(TARGNAME="", TARGPROP="UNKNOWN") == "target 219.7700 +45.7176"
    assert owner(TARG_RA=0.0, TARG_DEC=0.0) is None
    assert owner(TARG_DEC=91.0) is None


def test_a_roll_turns_a_companion_round_its_star_by_as_much() -> None:
    asked = {"contrast": 1.0, "separation": "0.6 arcsec", "position_angle": 200.0}
    vectors = []
    for roll in (0.0, 10.0):
        product = exposure(sky_cards(roll=roll), STAR)
        out, found = perturbed(product, companion=asked)
        y, x = light(product, out)
        vectors.append(complex(x - found["star_x"], y - found["star_y"]))
        assert mas(seen_at(product, out), SkyCoord(*TARGET, unit="deg")) == pytest.approx(600, abs=2)
    # With +y 10 degrees further east, north and all that is fixed to it stand 10 degrees further clockwise.
    assert np.degrees(np.angle(vectors[1] / vectors[0])) == pytest.approx(-10.0, abs=0.2)
    assert abs(vectors[1]) == pytest.approx(abs(vectors[0]), abs=0.05)


@pytest.mark.parametrize(("angle", "way"), [(0.0, (1, 0)), (90.0, (0, -1)), ("180 deg", (-1, 0)), (270.0, (0, 1))])
@pytest.mark.parametrize("separation", ["620 mas", 20.0])
def test_position_angles_run_from_north_over_east_which_is_left(
    angle: object, way: tuple[int, int], separation: object
) -> None:
    product = exposure(sky_cards(), STAR)
    asked = {"contrast": 1.0, "separation": separation, "position_angle": angle}
    out, found = perturbed(product, companion=asked)
    y, x = light(product, out)
    assert (y - found["star_y"], x - found["star_x"]) == pytest.approx((20.0 * way[0], 20.0 * way[1]), abs=0.05)


@pytest.mark.parametrize("sky", [sky_cards(), sky_cards(roll=200.0, **SIP)], ids=["plain", "distorted"])
@pytest.mark.parametrize("effect", BRIGHT)
def test_a_source_stands_where_ra_and_dec_say(effect: str, sky: dict[str, object]) -> None:
    product = exposure(sky, STAR)
    ra, dec = TARGET[0] + 25 * SCALE, TARGET[1] - 30 * SCALE
    out, found = perturbed(product, **{effect: {**BRIGHT[effect], "ra": ra, "dec": f"{dec!r} deg"}})
    assert mas(seen_at(product, out), SkyCoord(ra, dec, unit="deg")) < 0.05 * 31
    assert found["placed_by"] == "wcs"


@pytest.mark.parametrize("effect", BRIGHT)
def test_a_source_stands_where_x_and_y_say(effect: str) -> None:
    product = exposure(sky_cards(), STAR)
    out, found = perturbed(product, **{effect: {**BRIGHT[effect], "x": 20.25, "y": 70.5}})
    assert light(product, out) == pytest.approx((70.5, 20.25), abs=0.05)
    assert found["placed_by"] == "pixels"
    assert mas(seen_at(product, out), SkyCoord(found["ra"], found["dec"], unit="deg")) < 0.05 * 31


@pytest.mark.parametrize("effect", BRIGHT)
def test_what_lies_outside_is_told_and_changes_nothing(effect: str) -> None:
    product = exposure(sky_cards(), STAR)
    out, found = perturbed(product, **{effect: {**BRIGHT[effect], "ra": TARGET[0], "dec": TARGET[1] + 1}})
    assert found["not_applicable"].startswith("it lies outside the frame, at x = ")
    assert out.content == product.content
    other_side = {**BRIGHT[effect], "ra": TARGET[0] - 180, "dec": -TARGET[1]}
    assert (
        "outside the frame, where its projection shows nothing"
        in perturbed(product, **{effect: other_side})[1]["not_applicable"]
    )


def test_far_from_the_frame_no_distortion_is_made_up() -> None:
    product = exposure(sky_cards(**SIP))
    sky = sky_of(product, product.measurements[0])
    assert sky is not None
    assert sky.pixel(TARGET[0], TARGET[1] + 1) == pytest.approx((49.25 + 1 / SCALE, 47.5), rel=1e-3)
    assert sky.pixel(TARGET[0], TARGET[1] + 60 * SCALE) != pytest.approx((109.25, 47.5), abs=0.1)


@pytest.mark.parametrize("effect", BRIGHT)
def test_without_a_sky_or_a_target_a_place_is_drawn_in_pixels_of_the_product(effect: str) -> None:
    def found(product: Product) -> dict[str, object]:
        return perturbed(product, **{effect: {**BRIGHT[effect]}})[1]

    blind = [exposure({}, STAR, name) for name in ("00001_nrcb1_cal", "00002_nrcb1_cal")]
    one, two = (found(product) for product in blind)
    assert one["placed_by"] == two["placed_by"] == "pixels"
    assert (one["y"], one["x"]) != (two["y"], two["x"])
    assert "ra" not in one
    assert (
        "celestial WCS"
        in perturbed(blind[0], **{effect: {**BRIGHT[effect], "ra": 1.0, "dec": 2.0}})[1]["not_applicable"]
    )
    nobody = exposure(sky_cards(), STAR, TARG_RA=0.0, TARG_DEC=0.0)
    if effect == "point_source":
        assert found(nobody)["placed_by"] == "pixels"
    broken = exposure(sky_cards(PC1_1=0.0, PC1_2=0.0), STAR)
    assert found(broken)["placed_by"] == "pixels"


@pytest.mark.parametrize("effect", ["companion", "moving_object"])
def test_a_position_angle_needs_a_sky(effect: str) -> None:
    asked = {**BRIGHT[effect], "position_angle": 30}
    assert "position angle" in perturbed(exposure({}, STAR), **{effect: asked})[1]["not_applicable"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"ra": 10}, "has `ra` and no `dec`"),
        ({"y": 10}, "has `y` and no `x`"),
        ({"ra": 10, "dec": 10, "x": 3, "y": 4}, "has `ra` and `dec`, beside which `x` and `y` would"),
        ({"ra": 361}, "must be between 0 and 360 deg"),
        ({"dec": "north"}, "needs a number in deg, not 'north'"),
        ({"dec": "2 px"}, "'px' is not a unit of angle"),
        ({"radius": "2 px"}, "'px' is not a unit of angle"),
    ],
)
def test_half_a_place_two_places_and_no_place_are_refused(asked: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        perturbed(exposure(sky_cards()), point_source=asked)


@pytest.mark.parametrize(
    ("effect", "asked", "words"),
    [
        ("companion", {"separation": "40 deg"}, "must be between 0 and 1.8e"),
        ("companion", {"separation": "-3 mas"}, "must be between 0 and 1.8e"),
        ("companion", {"separation": "3 s"}, "'s' is not a unit of pixels"),
        ("moving_object", {"epoch": "tomorrow"}, "needs an ISO date and time or an MJD, not 'tomorrow'"),
        ("moving_object", {"rate": "3 mas"}, "'mas' is not a unit of motion"),
        ("moving_object", {"epoch": 1e300}, "epoch must be between 0 and 1e"),
        ("moving_object", {"epoch": -5}, "epoch must be between 0 and 1e"),
        ("moving_object", {"epoch": "1e7"}, "epoch must be between 0 and 1e"),
        ("companion", {"ra": 1, "dec": 1, "separation": 7}, "has `ra` and `dec`, beside which `separation` would"),
        ("companion", {"x": 1, "y": 1, "position_angle": 7}, "has `x` and `y`, beside which `position_angle` would"),
        ("moving_object", {"path": 5, "rate": 3, "epoch": 59000}, "beside which `rate` and `epoch` would be ignored"),
    ],
)
def test_numbers_of_another_kind_and_what_would_be_ignored_are_refused(
    effect: str, asked: dict[str, object], words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        perturbed(exposure(sky_cards()), **{effect: asked})


def test_moments_are_dates_texts_and_numbers() -> None:
    assert moment("2023-02-25 05:45:36.0000000") == moment(60000.24) == pytest.approx(60000.24)
    assert moment("60000.24") == 60000.24


def test_a_moving_object_is_further_on_in_the_next_exposure() -> None:
    asked = {"peak": 1000.0, "ra": TARGET[0], "dec": TARGET[1], "rate": 2.0, "position_angle": 130.0}

    def at(start: float, **more: object) -> tuple[SkyCoord, dict[str, object]]:
        times = {"EXPSTART": start, "EXPEND": start + 2 / 1440}
        product = exposure(sky_cards(roll=start), **times)
        out, found = perturbed(product, moving_object={**asked, **more})
        return seen_at(product, out), found

    (one, first), (two, _) = at(60000.25), at(60000.26)
    assert mas(one, two) == pytest.approx(2000 * 0.24, abs=2)
    assert one.position_angle(two).deg == pytest.approx(130, abs=0.5)
    # At the epoch, the beginning of the visit, it is at its place; the exposure is seen in its middle.
    since = (60000.25 + 1 / 1440 - 60000.24) * 24
    assert mas(one, SkyCoord(*TARGET, unit="deg")) == pytest.approx(2000 * since, abs=2)
    assert (first["epoch"], first["rate"], first["position_angle"]) == (pytest.approx(60000.24), 2.0, 130.0)
    given, _ = at(60000.25, epoch="2023-02-25T06:01:00")
    assert mas(given, SkyCoord(*TARGET, unit="deg")) < 2
    faster, _ = at(60000.25, rate="1 mas/s")
    assert mas(faster, SkyCoord(*TARGET, unit="deg")) == pytest.approx(3600 * since, abs=3)


def test_a_moving_object_moves_from_integration_to_integration() -> None:
    product = exposure(sky_cards(**SIP), np.full((6, 96, 96), 2.0), name="00001_nrcb1_calints")
    asked = {"peak": 1000.0, "ra": TARGET[0], "dec": TARGET[1], "rate": 1.0, "position_angle": 300.0, "epoch": 60000.27}
    out, found = perturbed(product, moving_object=asked)
    places = [seen_at(product, out, frame) for frame in range(6)]
    steps = [mas(places[frame], places[frame + 1]) for frame in range(5)]
    assert steps == pytest.approx([1000 * 0.04 * 24 / 6] * 5, abs=3)
    assert places[0].position_angle(places[-1]).deg == pytest.approx(300, abs=0.5)
    assert mas(SkyCoord(found["ra"], found["dec"], unit="deg"), SkyCoord(*TARGET, unit="deg")) < 1e-3


def test_a_path_in_pixels_stands_in_place_of_a_rate() -> None:
    product = exposure(sky_cards(roll=30.0), np.full((6, 96, 96), 2.0), name="00001_nrcb1_calints")
    out, found = perturbed(product, moving_object={"peak": 1000.0, "path": 12.0, "position_angle": 30.0})
    (y0, x0), (y1, x1) = light(product, out, 0), light(product, out, 5)
    assert (y1 - y0, x1 - x0) == pytest.approx((10.0, 0.0), abs=0.1)
    assert (found["dy"], found["dx"]) == pytest.approx((12.0, 0.0), abs=0.01)


def test_a_fast_object_leaves_a_trail_of_its_share_of_the_light() -> None:
    """It crosses the frame and is outside before and after: what is seen is its flux over its speed."""
    product = exposure(sky_cards())
    asked = {
        "peak": 100.0,
        "ra": TARGET[0],
        "dec": TARGET[1],
        "rate": 1000.0,
        "position_angle": 90.0,
        "epoch": 60000.27,
    }
    out, found = perturbed(product, moving_object=asked)
    change = out.plane("SCI").astype(float) - 2.0
    length = 1000.0 * 0.04 * 24 / 0.031
    assert change.sum() == pytest.approx(found["flux"] * 96 / length, rel=0.1)
    assert np.abs(change[[30, 70]]).max() == 0


def test_a_companion_stands_beside_the_target_or_beside_the_brightest_pixel() -> None:
    signal = STAR + np.roll(star(96, 2.5, 900.0), (-30, -20), (0, 1))
    product = exposure(sky_cards(), signal)
    _, found = perturbed(product, companion={"contrast": 0.5})
    assert (found["star_from"], found["star_y"], found["star_x"]) == ("target", 49.25, 47.5)
    near = perturbed(exposure(sky_cards(CDELT1=10 * SCALE, CDELT2=10 * SCALE), signal), companion={"contrast": 0.5})[1]
    assert near["star_flux"] == pytest.approx(500 * found["star_flux"] / 900, rel=0.05)  # within 2 arcsec, 6 pixels
    _, found = perturbed(product, companion={"contrast": 0.5, "star": "brightest", "position_angle": 0.0})
    assert (found["star_from"], found["star_y"], found["star_x"]) == ("brightest pixel", 18, 28)
    assert found["y"] - found["star_y"] == pytest.approx(500 / 31, abs=0.01)
    away = exposure(sky_cards(), signal, TARG_DEC=TARGET[1] + 0.1)
    assert perturbed(away, companion={"contrast": 0.5})[1]["not_applicable"] == "the target lies outside the frame"


def test_a_companion_in_a_cube_has_its_contrast_at_each_wavelength() -> None:
    """It had the light of the star at the first wavelength in all planes, and no place where that plane is empty."""
    spectrum = np.array([np.nan, 1.0, 2.0, 8.0])
    cube = exposure(sky_cards(**SPECTRAL), STAR * spectrum[:, None, None], name="c1001_t001_ch1_s3d")
    with fits.open(io.BytesIO(cube.content)) as file:
        file.append(fits.ImageHDU(np.ones((4, 96, 96), np.float32), name="WMAP"))
        buffer = io.BytesIO()
        file.writeto(buffer)
    cube = Product(cube.name, buffer.getvalue())
    out, found = perturbed(cube, companion={"contrast": 0.1, "position_angle": 70.0})
    change = (out.plane("SCI").astype(float) - cube.plane("SCI").astype(float)).sum((1, 2))
    star = exposure(sky_cards(), STAR)
    one = perturbed(star, companion={"contrast": 0.1, "position_angle": 70.0})[1]
    np.testing.assert_allclose(change[1:], one["flux"] * spectrum[1:], rtol=0.02)
    np.testing.assert_allclose(found["fluxes"], one["flux"] * np.nan_to_num(spectrum), rtol=1e-6)
    assert (found["star_flux"], found["flux"]) == pytest.approx((2 * one["star_flux"], 2 * one["flux"]), rel=1e-6)


def test_a_star_without_light_has_no_companion() -> None:
    dark = np.where(np.hypot(*(np.indices((96, 96)) - 48)) < 30, -1.0, 2.0)
    narrow = sky_cards(CDELT1=10 * SCALE, CDELT2=10 * SCALE)
    assert "no light" in perturbed(exposure(narrow, dark), companion={"contrast": 0.5})[1]["not_applicable"]


def test_a_pixel_that_is_not_to_be_used_is_no_star() -> None:
    signal = STAR.copy()
    signal[10, 10] = 1e5
    product = exposure({}, signal)
    assert perturbed(product, companion={"contrast": 0.5})[1]["star_y"] == 10
    with fits.open(io.BytesIO(product.content)) as file:
        file["DQ"].data[10, 10] = 1
        buffer = io.BytesIO()
        file.writeto(buffer)
    flagged = Product(product.name, buffer.getvalue())
    assert perturbed(flagged, companion={"contrast": 0.5})[1]["star_y"] == 48


def test_a_cube_whose_wavelengths_stand_in_a_table_has_a_sky() -> None:
    third = {
        "WCSAXES": 3,
        "CTYPE3": "WAVE-TAB",
        "PS3_0": "WCS-TABLE",
        "PS3_1": "wavelength",
        "PC3_3": 1.0,
        "CRVAL3": 1.0,
    }
    product = exposure({**sky_cards(), **third}, np.full((3, 96, 96), 2.0), name="c1001_t001_nrcb1_s3d")
    out, found = perturbed(product, point_source={"peak": 1000.0})
    assert found["placed_by"] == "wcs"
    flat = exposure(sky_cards())
    assert (found["ra"], found["dec"]) == tuple(perturbed(flat, point_source={})[1][key] for key in ("ra", "dec"))
    assert light(product, out, 2) == pytest.approx((found["y"], found["x"]), abs=0.05)


SPECTRAL = {"WCSAXES": 3, "CTYPE3": "WAVE", "CUNIT3": "um", "CRPIX3": 0.0, "CRVAL3": 0.0, "CDELT3": 1.0, "PC3_3": 1.0}


@pytest.mark.parametrize(
    ("cards", "kind"),
    [
        (SPECTRAL, ""),
        ({}, "MIR_MRS"),
        ({}, "MIR_LRS-FIXEDSLIT"),
        ({}, "MIR_LRS-SLITLESS"),
        ({}, "NRC_WFSS"),
        ({}, "NIS_WFSS"),
        ({}, "NIS_SOSS"),
        ({}, "NRC_GRISM"),
        ({}, "NRC_TSGRISM"),
        ({}, "NRS_IFU"),
        ({}, "NRS_MSASPEC"),
    ],
)
@pytest.mark.parametrize("effect", BRIGHT)
def test_what_is_dispersed_on_a_detector_has_no_sky(effect: str, cards: dict[str, object], kind: str) -> None:
    product = exposure(sky_cards(**cards), STAR, EXP_TYPE=kind)
    found = perturbed(product, **{effect: BRIGHT[effect]})[1]
    assert found["placed_by"] == "pixels"
    assert "ra" not in found
    asked = {**BRIGHT[effect], "ra": TARGET[0], "dec": TARGET[1]}
    assert "celestial WCS" in perturbed(product, **{effect: asked})[1]["not_applicable"]


@pytest.mark.parametrize(
    "kind", ["NRC_IMAGE", "MIR_IMAGE", "NIS_AMI", "NRS_TACQ", "NRS_WATA", "NRS_IMAGE", "NRC_TSIMAGE"]
)
def test_images_and_cubes_of_spectrographs_have_a_sky(kind: str) -> None:
    image = exposure(sky_cards(), EXP_TYPE=kind)
    cube = exposure(sky_cards(**SPECTRAL), np.full((3, 96, 96), 2.0), name="c1001_t001_ch1_s3d", EXP_TYPE="MIR_MRS")
    assert sky_of(image, image.measurements[0]) is not None
    assert sky_of(cube, cube.measurements[0]) is not None


@pytest.mark.parametrize(
    "cards",
    [
        {**SIP, "A_ORDER": 100_000},
        {**SIP, "B_ORDER": 10**9},
        {**SIP, "AP_ORDER": 1e300},
        {"CTYPE1": "RA---TAB"},
        {"CDELT1": 1e-300, "CDELT2": 1e-300},
    ],
    ids=str,
)
@pytest.mark.parametrize("effect", BRIGHT)
def test_a_sky_that_cannot_be_reckoned_is_none(effect: str, cards: dict[str, object]) -> None:
    found = perturbed(exposure(sky_cards(**cards), STAR), **{effect: BRIGHT[effect]})[1]
    assert found["placed_by"] == "pixels"


@pytest.mark.parametrize(
    "asked",
    [{"moving_object": {"peak": 20.0, "path": 5.0}}, {"companion": {"contrast": 0.1, "separation": 5}}],
    ids=str,
)
def test_a_sky_without_a_direction_is_refused(asked: dict[str, object]) -> None:
    found = perturbed(exposure(sky_cards(CDELT1=1e4, CDELT2=1e4), STAR), **asked)[1]
    assert found["not_applicable"] == "its header's WCS tells no direction in pixels"


def test_a_distortion_without_its_name_is_taken_in_silence() -> None:
    """astropy takes it as well, and says so at length in standard output, where `--json` prints its answer."""
    unnamed = sky_cards(**SIP) | {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    place = {"peak": 1000.0, "ra": TARGET[0], "dec": TARGET[1] + 2e-4}
    with log.log_to_list() as said:
        found = perturbed(exposure(unnamed), point_source=place)[1]
    assert not said
    assert found == perturbed(exposure(sky_cards(**SIP)), point_source=place)[1]
    assert found["y"] != perturbed(exposure(sky_cards()), point_source=place)[1]["y"]


def test_ways_without_end_and_ways_out_of_the_sky_are_refused() -> None:
    asked = {"peak": 20.0, "x": 40, "y": 40}
    found = perturbed(exposure(sky_cards(**{**SIP, "A_2_0": 1e300})), moving_object=asked)[1]
    assert found["not_applicable"] == "its way is longer than 1e+09 pixels"
    for place in (asked, {"peak": 20.0}):
        found = perturbed(exposure(sky_cards(), EXPSTART=0.0), moving_object=place)[1]
        assert found["not_applicable"] == "its way leads where its projection shows nothing"


def test_the_planes_of_a_cube_share_a_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    legs = []

    def counted(frame: tuple[int, ...], leg: tuple[float, ...], *more: float) -> object:
        legs.append(leg)
        return _trail(frame, leg, *more)

    monkeypatch.setattr(sources, "_trail", counted)
    cube = exposure(sky_cards(**SPECTRAL), np.full((7, 96, 96), 2.0), name="c1001_t001_ch1_s3d")
    with fits.open(io.BytesIO(cube.content)) as file:
        file.append(fits.ImageHDU(np.ones((7, 96, 96), np.float32), name="WMAP"))
        buffer = io.BytesIO()
        file.writeto(buffer)
    cube = Product(cube.name, buffer.getvalue())
    out, _ = perturbed(cube, moving_object={"peak": 1000.0, "ra": TARGET[0], "dec": TARGET[1], "epoch": 60000.27})
    assert len(legs) == 1
    assert light(cube, out, 0) == pytest.approx(light(cube, out, 6), abs=0.05)


def test_offsets_are_those_of_a_great_circle() -> None:
    ra, dec = offset(10.0, 89.999, 77.0, np.array([-5000.0, 0.0, 5000.0]))
    centre, found = SkyCoord(10.0, 89.999, unit="deg"), SkyCoord(ra, dec, unit="deg")
    assert centre.separation(found).mas == pytest.approx([5000, 0, 5000], abs=1e-3)
    assert centre.position_angle(found).deg[[0, 2]] == pytest.approx([257, 77], abs=1e-4)


@pytest.mark.parametrize("dec", [90.0, -90.0])
def test_offsets_begin_at_a_pole_too(dec: float) -> None:
    ra, dec_there = offset(30.0, dec, 75.0, np.array([-5000.0, 0.0, 5000.0]))
    centre, found = SkyCoord(30.0, dec, unit="deg"), SkyCoord(ra, dec_there, unit="deg")
    assert centre.separation(found).mas == pytest.approx([5000, 0, 5000], abs=1e-3)
    assert centre.separation(SkyCoord(*offset(30.0, dec, 75.0, 800.0), unit="deg")).mas == pytest.approx(
        [800], abs=1e-3
    )
    out, record = perturbed(
        exposure(sky_cards(CRVAL2=dec), STAR, TARG_DEC=dec), moving_object={"peak": 1000.0, "rate": 3.0}
    )
    assert record["placed_by"] == "wcs"
    assert np.isfinite(out.plane("SCI")).all()


def test_a_place_is_kept_in_a_plan_that_was_saved(tmp_path: Path) -> None:
    product = exposure(sky_cards(), STAR)
    content = {"version": 1, "seed": 4, "effects": [
        {"companion": {"contrast": 0.5, "separation": "0.5 arcsec"}}, {"moving_object": {"epoch": "2023-02-25"}},
        {"point_source": {"ra": TARGET[0], "dec": TARGET[1]}},
    ]}  # fmt: skip
    scenario = Scenario.from_mapping("test", content)
    plan = make_plan(scenario, product.name, product.stream_time)
    plan.write(tmp_path / "plan.json")
    again = perturb_product(product, read_plan(tmp_path / "plan.json"))[0]
    assert again.content == apply(product, scenario)[0].content != product.content


def test_every_coordinate_says_its_word_back() -> None:
    assert [parameter.parse("drawn") for parameter in AT] == ["drawn"] * 4


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("det_image_seq1_MIRIMAGE_F560Wexp1_cal.fits.gz", True),  # SIP of the fifth order
        ("det_image_seq1_MIRIFUSHORT_12SHORTexp1_s3d.fits", True),  # WAVE-TAB
        ("jw01022-o023_t001_miri_ch2-short_s3d_nav.fits", True),
        ("jw01093012001_03102_00001_nis_cal.fits", True),
        ("jw00793001001_01101_00001_nis_uncal.fits", True),
        ("ERS_NGTS10_2022_new_drift_041_calints.fits", False),  # LRS
        ("jw02565007001_03101_00002_nrs2_cal.fits", False),  # slits
        ("static-test-driz-center-bkg_933.spec.fits", False),  # wavelength, ra, dec
    ],
)
def test_real_headers_have_a_sky_or_none(real_data: Path, name: str, known: bool) -> None:
    product = Product.open(real_data / "jwst" / name)
    measurement = product.measurements[0]
    sky = sky_of(product, measurement)
    assert (sky is not None) == known
    if sky is not None:
        rows, columns = measurement.frame
        for y, x in ((0.0, 0.0), (rows / 3, columns / 1.5), (rows - 1.0, columns - 1.0)):
            assert sky.pixel(*sky.world(y, x)) == pytest.approx((y, x), abs=2e-5)


def test_two_real_exposures_of_a_target_show_a_source_at_one_place(real_data: Path) -> None:
    products = [
        Product.open(real_data / "jwst" / f"jw0109301{name}_nis_cal.fits")
        for name in ("2001_03102_00001", "4001_03102_00002")
    ]
    found = [perturbed(product, companion={"contrast": 0.01, "star": "target"})[1] for product in products]
    assert len({(each["ra"], each["dec"]) for each in found}) == 1
    assert all(each["placed_by"] == "wcs" for each in found)
    assert found[0]["x"] != found[1]["x"]
