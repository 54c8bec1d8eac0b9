"""What has a course in time is the same in the files of an exposure's segments as in one file of the whole of it."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from scenes import CARDS

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effect import Earlier
from hwosim_assets.perturb.effects.axes import exposure_shares
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.measurements import Measurement
from hwosim_assets.perturb.registry import effect_specs
from hwosim_assets.perturb.times import exposure_span, frame_times
from hwosim_assets.perturb.truth import Truth

FRAMES, SPLIT, SIDE = 12, 5, 32
#: A whole exposure has no segment in its name.
NAME = "jw01234001001_02101_00001{segment}_nrca1_calints.fits"
#: With so many electrons in a unit, photons have no noise to speak of.
CLEAN = 1e8
#: What has a course in time that is told as a share of the exposure, or counts from its begin or from before it.
COURSES: dict[str, dict[str, object]] = {
    "transit": {"depth": 0.1, "duration": 0.6},
    "eclipse": {"depth": 0.01},
    "flare": {"amplitude": 1.0},
    "point_source": {"peak": 1e5, "light": "variable", "period": 0.7},
    "moving_object": {"peak": 1e5, "path": 60.0},
    "tilt_event": {"step": 5e4, "onset": 0.62},
    "persistence_deficit": {"depth": 0.3, "tau": "5000 s"},
    "persistence": {"factor": 30.0},
    "solar_particle_event": {"peak": 3000.0, "onset": 0.1},
}


def part(
    first: int, last: int, *, table: str = "none", k: float = CLEAN, begin: float = 60000.0, **cards: Any
) -> Product:
    """Return integrations of an exposure of half a day, ``first`` to ``last`` as Python counts them.

    ``table``: INT_TIMES of the file's own integrations (own), of all (all), or none; with gaps between them.
    """
    shape = (last - first, SIDE, SIDE)
    signal = np.full(shape, 100.0)
    poisson = signal / k
    planes = {"SCI": signal, "ERR": np.sqrt(poisson + 1e-8), "VAR_POISSON": poisson, "VAR_RNOISE": np.full(shape, 1e-8)}
    primary = fits.PrimaryHDU()
    told = {"NINTS": FRAMES, "INTSTART": first + 1, "INTEND": last, "EXPSTART": begin, "EXPMID": begin + 0.25}
    primary.header.update({**CARDS, **told, "EXPEND": begin + 0.5, **cards})
    hdus = [primary, *(fits.ImageHDU(data.astype(np.float32), name=key) for key, data in planes.items())]
    hdus.append(fits.ImageHDU(np.zeros(shape, np.uint32), name="DQ"))
    if table != "none":
        rows = np.arange(FRAMES) if table == "all" else np.arange(first, last)
        start = begin + 0.5 * rows / FRAMES + 0.001 * np.sin(rows) ** 2
        times = {"start": start, "mid": start + 0.015, "end": start + 0.03}
        columns = [fits.Column(f"int_{key}_MJD_UTC", "D", array=value) for key, value in times.items()]
        columns.insert(0, fits.Column("integration_number", "J", array=rows + 1))
        hdus.append(fits.BinTableHDU.from_columns(columns, name="INT_TIMES"))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    segment = "" if (first, last) == (0, FRAMES) else f"-seg{first + 1:03d}"
    return Product(NAME.format(segment=segment), buffer.getvalue())


def perturbed(product: Product, name: str, options: Mapping[str, object]) -> tuple[Product, Truth]:
    before = Earlier(part(0, FRAMES, k=500.0, begin=59999.0), 59999.9)
    scenario = Scenario.from_mapping("test", {"version": 1, "seed": 7, "effects": [{name: options}]})
    out, truth = apply(product, scenario, earlier=(before,))
    assert not truth.record["effects"][0]["measurements"][0].get("not_applicable")
    return out, truth


def course(product: Product, name: str, options: Mapping[str, object]) -> np.ndarray:
    """Return what an effect changes in each frame; of particles, how many come."""
    out, truth = perturbed(product, name, options)
    if name == "solar_particle_event":
        happened = truth.happened()
        frames = [] if happened is None else happened["frame"].to_numpy()
        return np.bincount(np.asarray(frames, dtype=int), minlength=product.measurements[0].frames).astype(float)
    return np.asarray((out.plane("SCI").astype(float) - product.plane("SCI").astype(float)).mean((1, 2)))


@pytest.mark.parametrize("table", ["none", "own", "all"])
@pytest.mark.parametrize("name", COURSES)
def test_the_segments_of_an_exposure_have_the_course_of_the_whole(name: str, table: str) -> None:
    k = {"persistence": 500.0, "solar_particle_event": 1.0}.get(name, CLEAN)
    whole = course(part(0, FRAMES, table=table, k=k), name, COURSES[name])
    pieces = [
        course(part(first, last, table=table, k=k), name, COURSES[name])
        for first, last in ((0, SPLIT), (SPLIT, FRAMES - 1), (FRAMES - 1, FRAMES))
    ]
    found = np.concatenate(pieces)
    noise = 6 * np.sqrt(whole + 1) if name == "solar_particle_event" else 0.0
    tolerance = (2e-2 if name == "persistence" else 1e-4) * np.abs(whole).max() + noise
    assert np.ptp(whole) > 5 * np.max(tolerance), "it has no course to be told"
    assert (np.abs(found - whole) < tolerance).all(), (found, whole)


@pytest.mark.parametrize("name", ["point_source", "moving_object"])
def test_what_stands_at_a_drawn_place_without_a_sky_stands_there_in_every_segment(name: str) -> None:
    def change(product: Product) -> np.ndarray:
        out, _ = perturbed(product, name, {"peak": 1e5})
        return np.asarray(out.plane("SCI").astype(float) - product.plane("SCI").astype(float))

    whole = change(part(0, FRAMES))
    found = np.concatenate([change(part(first, last)) for first, last in ((0, SPLIT), (SPLIT, FRAMES))])
    np.testing.assert_allclose(found, whole, atol=1e-4 * whole.max())
    assert whole.max() > 1


def test_another_exposure_and_another_detector_draw_places_of_their_own() -> None:
    places = []
    for name in (NAME, NAME.replace("00001", "00002"), NAME.replace("nrca1", "nrca2")):
        product = Product(name.format(segment="-seg002"), part(SPLIT, FRAMES).content)
        place = perturbed(product, "point_source", {"peak": 1e5})[1].record["effects"][0]["measurements"][0]
        places.append((place["y"], place["x"]))
    assert len(set(places)) == 3


def spectra(tables: list[tuple[int, int]], *, held: int = 6, cards: tuple[str, ...] = (), **more: Any) -> Product:
    """Return a table for each (order, integration): ``cards`` that they have; INT_TIMES of ``held`` integrations."""
    primary = fits.PrimaryHDU()
    told = {"NINTS": held, "INTSTART": 1, "INTEND": held, "EXPSTART": 60000.0, "EXPEND": 60000.5}
    primary.header.update({**CARDS, **told, **more})
    edges = 60000 + 0.5 * np.arange(held + 1) / held
    times = {"start": edges[:-1], "mid": (edges[:-1] + edges[1:]) / 2, "end": edges[1:]}
    columns = [fits.Column(f"int_{key}_MJD_UTC", "D", array=value) for key, value in times.items()]
    hdus = [primary]
    if "INT_TIMES" in cards:
        hdus.append(fits.BinTableHDU.from_columns(columns, name="INT_TIMES"))
    values = {"WAVELENGTH": np.linspace(1, 2, 9), "FLUX": np.full(9, 5.0), "FLUX_ERROR": np.full(9, 0.1)}
    for version, (order, integration) in enumerate(tables, start=1):
        columns = [fits.Column(key, "D", array=value) for key, value in values.items()]
        hdus.append(fits.BinTableHDU.from_columns(columns, name="EXTRACT1D", ver=version))
        numbers = {"SPORDER": order, "INT_NUM": integration}
        hdus[-1].header.update({key: value for key, value in numbers.items() if key in cards})
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return Product("jw01234001001_02101_00001_nis_x1dints.fits", buffer.getvalue())


BY_ORDER = [(order, number) for order in (1, 2) for number in range(1, 7)]
BY_INTEGRATION = [(order, number) for number in range(1, 7) for order in (1, 2)]
UNTOLD = {"INTSTART": None, "INTEND": None, "NINTS": None}


@pytest.mark.parametrize(("tables", "cards", "more"), [
    (BY_ORDER, ("INT_TIMES", "SPORDER", "INT_NUM"), {}),
    (BY_ORDER, ("INT_TIMES",), {}),
    (BY_ORDER, (), {}),
    (BY_ORDER, (), {"INTSTART": None, "INTEND": None}),
    (BY_ORDER, ("INT_TIMES",), UNTOLD),
    (BY_ORDER, ("INT_NUM",), UNTOLD),
    (BY_INTEGRATION, ("INT_TIMES", "INT_NUM"), {}),
    (BY_INTEGRATION, ("SPORDER",), {}),
    (BY_INTEGRATION, ("SPORDER",), UNTOLD),
    ([*BY_ORDER, *((3, number) for number in range(1, 7))], ("INT_TIMES",), {}),
    (BY_ORDER[:6], ("INT_TIMES",), {}),
])  # fmt: skip
def test_the_spectra_of_all_orders_of_an_integration_have_its_time(
    tables: list[tuple[int, int]], cards: tuple[str, ...], more: dict[str, Any]
) -> None:
    product = spectra(tables, cards=cards, **more)
    middle = [(number - 0.5) / 6 for _order, number in tables]
    times = [frame_times(product, item) for item in product.measurements]
    found = [(float(each.start[0]), float(each.end[0])) for each in times if each is not None]
    np.testing.assert_allclose(found, [(60000 + 0.5 * m - 1 / 24, 60000 + 0.5 * m + 1 / 24) for m in middle], atol=1e-9)
    np.testing.assert_allclose([exposure_shares(product, item)[0] for item in product.measurements], middle, atol=1e-9)
    assert {each.method for each in times if each} == {"INT_TIMES" if "INT_TIMES" in cards else "EXPSTART..EXPEND"}
    assert note(product, "transit") is None


def test_the_orders_of_a_segment_are_of_its_integrations() -> None:
    product = spectra(BY_ORDER, NINTS=12, INTSTART=7, INTEND=12)
    middle = [(6 + number - 0.5) / 12 for _order, number in BY_ORDER]
    np.testing.assert_allclose([exposure_shares(product, item)[0] for item in product.measurements], middle)


@pytest.mark.parametrize("more", [{}, {"INTSTART": None, "INTEND": None}])
def test_spectra_that_are_no_multiple_of_the_integrations_are_said_to_be_of_unknown_times(more: dict[str, Any]) -> None:
    product = spectra(BY_ORDER[:-1], **more)
    assert "its 11 spectra are no multiple of its 6 integrations" in str(note(product, "transit"))


@pytest.mark.parametrize("cards", [("INT_TIMES", "SPORDER"), ()])
def test_a_file_of_thousands_of_spectra_is_looked_through_once(
    cards: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done for each spectrum must not grow with their number: comparing them to each other did."""
    compared = 0
    equal = Measurement.__eq__

    def counted(one: Measurement, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(one, other)

    product = spectra([(order, number) for order in (1, 2) for number in range(1, 101)], held=100, cards=cards)
    monkeypatch.setattr(Measurement, "__eq__", counted)
    looked: list[Product] = []
    planes = product.planes

    def look(one: Product) -> object:
        looked.append(one)
        return planes

    monkeypatch.setattr(Product, "planes", property(look))
    for item in product.measurements:
        assert exposure_span(product, item) is not None
        assert exposure_shares(product, item).size == 1
    assert compared == 0
    assert len(looked) < 5


def test_a_deficit_is_never_more_than_its_depth_where_expstart_lies_after_the_first_integration() -> None:
    for tau in (1.0, 600.0):
        product = part(0, FRAMES, table="own", EXPSTART=60000.002)
        options = {"depth": 0.3, "tau": tau}
        factors = perturbed(product, "persistence_deficit", options)[1].record["effects"][0]["measurements"][0]
        assert 0.7 <= factors["first_factor"] <= factors["last_factor"] <= 1


def test_the_orders_settle_from_the_start_of_the_first_integration_of_all() -> None:
    product = spectra(BY_ORDER, cards=("INT_TIMES",), EXPSTART=60000.002)
    _, truth = perturbed(product, "persistence_deficit", {"depth": 0.3, "tau": 9000.0})
    factors = [item["first_factor"] for item in truth.record["effects"][0]["measurements"]]
    seconds = 86400 / 24
    mean = 9000 / (2 * seconds) * -np.expm1(-2 * seconds / 9000)
    expected = [1 - 0.3 * np.exp(-2 * seconds * number / 9000) * mean for number in range(6)]
    np.testing.assert_allclose(factors, expected * 2, rtol=1e-6)


def test_every_effect_that_counts_in_shares_of_the_exposure_is_among_them() -> None:
    told = {
        spec.name
        for spec in effect_specs()
        if any("share of the exposure" in parameter.doc for parameter in spec.parameters)
    }
    assert told <= set(COURSES)
    assert len(told) >= 6


#: What the truth says of where shares are of the file alone.
SHARED = (
    *("transit", "tilt_event", "solar_particle_event", "flare", "persistence_deficit"),
    *("point_source", "moving_object"),
)


def shares(product: Product) -> np.ndarray:
    return exposure_shares(product, product.measurements[0])


def note(product: Product, name: str) -> object:
    return perturbed(product, name, COURSES[name])[1].record["effects"][0]["measurements"][0].get("for")


@pytest.mark.parametrize("table", ["none", "own", "all"])
def test_what_a_file_is_of_its_exposure_follows_from_its_integrations_or_their_times(table: str) -> None:
    product = part(SPLIT, 9, table=table)
    times = frame_times(product, product.measurements[0])
    assert times is not None
    if table == "none":
        np.testing.assert_allclose(times.start, 60000 + 0.5 * np.arange(SPLIT, 9) / FRAMES, rtol=0, atol=1e-9)
        np.testing.assert_allclose(times.end - times.start, 0.5 / FRAMES, atol=1e-9)
        np.testing.assert_array_equal(shares(product), (np.arange(SPLIT, 9) + 0.5) / FRAMES)
    else:
        np.testing.assert_allclose(shares(product), (times.mid - 60000) / 0.5, atol=1e-12)
    for name in SHARED:
        assert note(product, name) is None


@pytest.mark.parametrize(("table", "cards", "reason"), [
    ("none", {"NINTS": 4}, "INTSTART 6, INTEND 9 and NINTS 4 are no part of an exposure"),
    ("none", {"INTEND": 8}, "INTSTART 6 and INTEND 8 do not count its 4 integrations"),
    ("none", {"INTSTART": None, "INTEND": None, "EXSEGNUM": 2}, "one of several segments"),
    ("own", {"EXPSTART": 60000.0 + 0.5 * SPLIT / FRAMES, "EXPEND": 60000.37}, "are those of the segment"),
    ("own", {"EXPSTART": None, "EXPEND": None}, "do not hold the times of its integrations"),
    ("own", {"NINTS": 4, "EXPSTART": 60000.0 + 0.5 * SPLIT / FRAMES, "EXPEND": 60000.37}, "no part of an exposure"),
])  # fmt: skip
def test_the_truth_says_where_the_header_does_not_tell_the_place_in_the_exposure(
    table: str, cards: dict[str, Any], reason: str
) -> None:
    product = part(SPLIT, 9, table=table, **cards)
    for name in SHARED:
        assert reason in str(note(product, name))
    if table == "none":
        np.testing.assert_allclose(shares(product), (np.arange(4) + 0.5) / 4)
    else:
        assert 0 < shares(product)[0] < 0.2
        assert 0.8 < shares(product)[-1] < 1


def test_a_steady_source_counts_in_no_shares() -> None:
    steady = perturbed(part(SPLIT, 9, NINTS=4), "point_source", {"peak": 1e5})[1].record["effects"][0]
    assert "shares_of" not in steady["measurements"][0]


@pytest.mark.parametrize("cards", [
    {"INTSTART": None, "INTEND": None}, {"NINTS": 12, "INTSTART": 1, "INTEND": 12}, {"INTSTART": None, "NINTS": None},
])  # fmt: skip
def test_a_file_that_lost_integrations_or_counts_none_is_no_segment(cards: dict[str, Any]) -> None:
    told = {"INTEND": None, **cards}
    product = part(0, 9, **told)
    np.testing.assert_array_equal(shares(product), (np.arange(9) + 0.5) / 9)
    assert note(product, "transit") is None


def test_a_table_tells_the_times_where_the_header_miscounts() -> None:
    product = part(SPLIT, 9, table="own", NINTS=4)
    span = exposure_span(product, product.measurements[0])
    assert span is not None
    assert (span.begin, span.end, span.lacks) == (60000.0, 60000.5, "")
    np.testing.assert_array_equal(shares(product), shares(part(SPLIT, 9, table="own")))


def test_the_mean_of_a_segment_was_exposed_while_its_integrations_were() -> None:
    (whole,) = shares(mean := part(0, 1, NINTS=FRAMES, INTEND=FRAMES))
    assert whole == 0.5
    times = frame_times(mean, mean.measurements[0])
    assert times is not None
    assert (times.start[0], times.end[0]) == (60000.0, 60000.5)
    later = part(SPLIT, SPLIT + 1, INTEND=9)
    assert shares(later)[0] == pytest.approx((SPLIT + 2) / FRAMES)
    with pytest.raises(AssertionError):  # several integrations in one frame have one moment in time
        perturbed(later, "transit", COURSES["transit"])


@pytest.mark.parametrize("name", ["transit", "eclipse"])
def test_a_dip_at_an_absolute_time_comes_again_after_its_period_in_whatever_exposure(name: str) -> None:
    options = {"depth": 0.01, "mid_mjd": "60000.25 d", "period": "3.5 d", "length": "2.4 h", "ingress": 0.01}
    missing = -course(part(0, FRAMES), name, options)
    mid = 60000.25 - 60000 - (np.arange(FRAMES) + 0.5) / 24
    np.testing.assert_allclose(missing, np.where(np.abs(mid) < 0.05, 1.0, 0.0), atol=1e-4)
    seven = part(0, FRAMES, begin=60035.0)
    np.testing.assert_allclose(-course(seven, name, options), missing, atol=1e-4)
    np.testing.assert_allclose(course(seven, name, options | {"period": 3.6}), 0, atol=1e-6)
    np.testing.assert_allclose(course(seven, name, options | {"period": 0}), 0, atol=1e-6)
    # A single image is at a time too.
    image = part(0, 1, begin=60035.0, NINTS=1, INTSTART=1, INTEND=1)
    np.testing.assert_allclose(-course(image, name, options), 1.0, atol=1e-4)


def test_a_length_in_hours_is_that_share_of_the_exposure() -> None:
    product = part(0, FRAMES)
    one, other = (course(product, "transit", {"depth": 0.01, **more}) for more in ({"duration": 0.4}, {"length": 4.8}))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_storm_at_an_absolute_time_goes_on_in_the_next_exposure() -> None:
    storm = {"peak": 3000.0, "onset_mjd": 60000.1, "rise": "4.8 h"}
    first, second = (course(part(0, FRAMES, k=1.0, begin=begin), "solar_particle_event", storm) for begin in
                     (60000.0, 60000.5))  # fmt: skip
    share = course(part(0, FRAMES, k=1.0), "solar_particle_event", {"peak": 3000.0, "onset": 0.2, "tau": 0.4})
    assert (np.abs(first - share) < 6 * np.sqrt(share + 1)).all()
    since = (np.arange(2 * FRAMES) + 0.5) / 24 - 0.1
    flux = np.maximum(since / 0.2, 0) * np.exp(1 - since / 0.2)
    found = np.concatenate([first, second])
    expected = flux * (found.sum() / flux.sum())
    assert (np.abs(found - expected) < 6 * np.sqrt(expected + 1)).all()
    assert second.sum() > 100
    before = course(part(0, FRAMES, k=1.0, begin=59990.0), "solar_particle_event", storm)
    assert not before.any()


def test_a_tilt_at_an_absolute_time_lasts_in_later_exposures() -> None:
    tilt = {"step": 1e4, "onset_mjd": 60000.25}
    changes = [course(part(0, FRAMES, begin=begin), "tilt_event", tilt) for begin in (59999.0, 60000.0, 60007.0)]
    np.testing.assert_allclose(changes[0], 0, atol=1e-5)
    np.testing.assert_allclose(changes[1], -1.0 * (np.arange(FRAMES) >= 6), atol=1e-4)
    np.testing.assert_allclose(changes[2], -1.0, atol=1e-4)


@pytest.mark.parametrize(
    ("cards", "several"),
    [
        ({"INTSTART": 6, "INTEND": 9}, 4),
        ({"INTSTART": 12, "INTEND": 12}, 1),
        ({"INTSTART": 1, "INTEND": 12}, 12),
        ({"INTSTART": None, "INTEND": None}, 12),
        ({"INTSTART": 9, "INTEND": 20}, 12),  # no part of an exposure of twelve
    ],
)
def test_a_slope_of_one_segment_is_the_mean_of_its_integrations(cards: dict[str, Any], several: int) -> None:
    product = part(0, 1, k=10.0, EFFINTTM=300.0, EFFEXPTM=3600.0, **cards)
    note = perturbed(product, "saturation", {"well": 1200.0})[1].record["effects"][0]["measurements"][0]
    assert note["level"] == pytest.approx(note["well_e"] / 10.0 * several)
    assert find_facts(product, product.measurements[0]).frame_s == 300.0 * several


def test_an_earlier_slope_of_one_segment_holds_what_its_integrations_gathered() -> None:
    def left(before: Product) -> float:
        scenario = Scenario.from_mapping("test", {"version": 1, "effects": [{"persistence": {"factor": 30.0}}]})
        product = part(0, FRAMES, k=500.0)
        out, _ = apply(product, scenario, earlier=(Earlier(before, 59999.9),))
        return float((out.plane("SCI").astype(float) - product.plane("SCI").astype(float)).mean())

    slope = part(0, 1, k=500.0, begin=59999.0, INTSTART=6, INTEND=9)
    same = part(0, 1, k=500.0, begin=59999.0, INTSTART=1, INTEND=4, NINTS=4)
    assert left(slope) == pytest.approx(left(same), rel=1e-3)


def test_a_spectrum_of_one_integration_gathered_for_one() -> None:
    product = spectra(BY_ORDER, NINTS=12, INTSTART=7, INTEND=12, EFFINTTM=300.0, EFFEXPTM=3600.0)
    assert find_facts(product, product.measurements[0]).frame_s == 300.0


#: Effects that stand at an absolute time, with the name of it.
MOMENTS = {"transit": "mid_mjd", "eclipse": "mid_mjd", "tilt_event": "onset_mjd", "solar_particle_event": "onset_mjd"}


@pytest.mark.parametrize(("name", "moment"), [*MOMENTS.items(), ("clock_error", "epoch")])
def test_absolute_times_are_dates_too(name: str, moment: str) -> None:
    """As those of profiles and of moving objects are."""
    for told in ("2023-02-25T06:00:00", dt.datetime(2023, 2, 25, 6), 60000.25, "60000.25", "60000.25 d"):
        scenario = Scenario.from_mapping("test", {"version": 1, "effects": [{name: {"severity": 3, moment: told}}]})
        assert scenario.effects[0].parameters[moment] == 60000.25
    with pytest.raises(BadInputError, match="needs an ISO date and time or an MJD, not 'yesterday'"):
        Scenario.from_mapping("test", {"version": 1, "effects": [{name: {"severity": 3, moment: "yesterday"}}]})


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        *((name, {at: 60000.1, at[:-4]: 0.3}, f"beside which `{at[:-4]}` would be") for name, at in MOMENTS.items()),
        ("transit", {"length": "3 h", "duration": 0.3}, "`length`, beside which `duration` would be ignored"),
        ("solar_particle_event", {"rise": "3 h", "tau": 0.3}, "`rise`, beside which `tau` would be ignored"),
        ("transit", {"period": "3 d"}, "has `period` and no `mid_mjd`"),
    ],
)  # fmt: skip
def test_a_time_that_would_be_ignored_is_refused(name: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        perturbed(part(0, FRAMES), name, {"severity": 3, **options})


@pytest.mark.parametrize(
    ("name", "lasting"), [("transit", "length"), ("transit", "period"), ("solar_particle_event", "rise")]
)
def test_nothing_lasts_too_short_to_be_divided_by(name: str, lasting: str) -> None:
    """A rise of 1e-305 h was no number of particles, and its truth no JSON."""
    options = {"severity": 3, MOMENTS[name]: 60000.1, lasting: 1e-305}
    with pytest.raises(BadInputError, match="must be 0, or at least 1e-06"):
        perturbed(part(0, FRAMES), name, options)
    perturbed(part(0, FRAMES), name, options | {lasting: 1e-6})


def test_nothing_settles_before_the_earliest_integration_of_a_table_out_of_order() -> None:
    """Before it the exponential was above 1: signal of the other sign, and no number at all for a short tau."""
    options = {"depth": 0.3, "tau": "5000 s"}
    product = part(0, FRAMES, table="own", EXPSTART=60000.4)
    with fits.open(io.BytesIO(product.content)) as file:
        table = file["INT_TIMES"].data
        for name in table.names[1:]:
            table[name] = table[name][::-1].copy()
        buffer = io.BytesIO()
        file.writeto(buffer)
    turned = Product(product.name, buffer.getvalue())
    np.testing.assert_allclose(
        course(turned, "persistence_deficit", options), course(product, "persistence_deficit", options)[::-1], atol=1e-4
    )
    perturbed(turned, "persistence_deficit", options | {"tau": "1 s"})


@pytest.mark.parametrize(("name", "key"), MOMENTS.items())
@pytest.mark.parametrize("given", ["+2 h", "2 h", "+3 d"])
def test_a_time_that_is_a_duration_is_refused(name: str, key: str, given: str) -> None:
    with pytest.raises(BadInputError, match=f"{name}.{key} needs an ISO date and time or an MJD"):
        Scenario.from_mapping("test", {"version": 1, "effects": [{name: {key: given}}]})
