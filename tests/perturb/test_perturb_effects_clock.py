"""A clock that is wrong moves every time of a file alike, or the truth says which it left alone."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.effect import Task
from hwosim_assets.perturb.effects.instants import JD_ZERO, moved_text, text_mjd
from hwosim_assets.perturb.proof import diff

INTEGRATIONS, GROUPS = 4, 3
#: Days from the telescope's time to the barycentre's.
LATER = 0.004


def stamp(mjd: float, digits: int = 3, gap: str = "T") -> str:
    moment = datetime(1858, 11, 17) + timedelta(seconds=round(mjd * 86400, 3))
    return moment.strftime(f"%Y-%m-%d{gap}%H:%M:%S.%f")[: 20 + digits].ljust(20 + digits, "0")


def exposure(
    begin: float = 60000.9, *, name: str = "jw01234001001_02101_00001_nrca1_uncal.fits", **cards: Any
) -> Product:
    """Return a raw exposure of a tenth of a day, with every kind of time that real files have."""
    end = begin + 0.1
    primary = fits.PrimaryHDU()
    primary.header.update({
        "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "NINTS": INTEGRATIONS, "NGROUPS": GROUPS,
        "DATE": "2030-01-01T00:00:00.000", "EPH_TIME": begin,
        "DATE-OBS": stamp(begin)[:10], "TIME-OBS": stamp(begin)[11:], "DATE-BEG": stamp(begin), "DATE-END": stamp(end),
        "VSTSTART": stamp(begin - 0.1, 7, " "), "EXPSTART": begin, "EXPMID": begin + 0.05, "EXPEND": end,
        "BSTRTIME": begin + LATER, "HENDTIME": end + LATER, **cards})  # fmt: skip
    data = np.tile(np.arange(GROUPS)[:, None, None] * 100 + 1000, (INTEGRATIONS, 1, 16, 16)).astype(np.uint16)
    sci = fits.ImageHDU(data, name="SCI")
    sci.header.update({"MJD-BEG": begin, "MJD-AVG": begin + 0.05, "TDB-MID": begin + 0.05 + LATER})
    integration, group = np.divmod(np.arange(INTEGRATIONS * GROUPS), GROUPS)
    ends = begin + 0.1 * (np.arange(INTEGRATIONS * GROUPS) + 1) / (INTEGRATIONS * GROUPS)
    micro = np.rint((ends % 1) * 86400e6).astype(np.int64)
    groups = fits.BinTableHDU.from_columns([
        fits.Column("integration_number", "J", array=integration + 1),
        fits.Column("group_number", "I", array=group + 1),
        fits.Column("end_day", "I", array=np.floor(ends) - 51544),
        fits.Column("end_milliseconds", "J", array=micro // 1000),
        fits.Column("end_submilliseconds", "I", array=micro % 1000),
        fits.Column("group_end_time", "26A", array=[stamp(each) for each in ends]),
        fits.Column("bary_end_time", "D", array=ends + LATER), fits.Column("helio_end_time", "D", array=ends + LATER),
    ], name="GROUP")  # fmt: skip
    start = begin + 0.1 * np.arange(INTEGRATIONS) / INTEGRATIONS
    rows = {"start": start, "mid": start + 0.0125, "end": start + 0.025}
    columns = [fits.Column(f"int_{key}_MJD_UTC", "D", array=value) for key, value in rows.items()]
    columns += [fits.Column(f"int_{key}_BJD_TDB", "D", array=value + LATER) for key, value in rows.items()]
    times = fits.BinTableHDU.from_columns(columns, name="INT_TIMES")
    copy = fits.BinTableHDU.from_columns(
        [fits.Column("ASDF_METADATA", "8B", array=np.zeros((1, 8), np.uint8))], name="ASDF"
    )
    buffer = io.BytesIO()
    fits.HDUList([primary, sci, groups, times, copy]).writeto(buffer, checksum=True)
    return Product(name, buffer.getvalue())


def changed(product: Product, *others: object, **clock: object) -> tuple[fits.HDUList, list[dict[str, object]]]:
    effects = [*others, {"clock_error": clock}]
    out, truth = apply(product, Scenario.from_mapping("test", {"version": 1, "seed": 7, "effects": effects}))
    assert diff(product, out, truth).findings == ()
    return fits.open(io.BytesIO(out.payload), checksum=True), truth.record["effects"][-1]["events"]


def seconds(hdus: fits.HDUList) -> dict[str, np.ndarray]:
    """Return every time that a file tells of its exposure, in seconds."""
    found: dict[str, np.ndarray] = {}
    for hdu in hdus[:2]:
        for keyword in ("EXPSTART", "EXPMID", "EXPEND", "BSTRTIME", "HENDTIME", "MJD-BEG", "MJD-AVG", "TDB-MID"):
            if keyword in hdu.header:
                found[keyword] = np.array(hdu.header[keyword]) * 86400
    primary = hdus[0].header
    for keyword in ("DATE-BEG", "DATE-END", "VSTSTART"):
        found[keyword] = np.array(text_mjd(primary[keyword])) * 86400
    found["DATE-OBS"] = np.array(text_mjd(f"{primary['DATE-OBS']}T{primary['TIME-OBS']}")) * 86400
    group = hdus["GROUP"].data
    found["group_end_time"] = np.array([text_mjd(str(each)) for each in group["group_end_time"]]) * 86400
    found["end_day"] = (group["end_day"] + 51544.0) * 86400 + group["end_milliseconds"] / 1e3
    found["end_day"] += group["end_submilliseconds"] / 1e6
    found |= {name: group[name] * 86400 for name in ("bary_end_time", "helio_end_time")}
    return found | {name: hdus["INT_TIMES"].data[name] * 86400 for name in hdus["INT_TIMES"].columns.names}


def moved(product: Product, after: fits.HDUList) -> dict[str, np.ndarray]:
    before = seconds(fits.open(io.BytesIO(product.payload)))
    return {name: value - before[name] for name, value in seconds(after).items()}


@pytest.mark.parametrize("offset", [0.06, 60.0, 9000.0])
def test_all_times_of_a_file_move_alike_over_midnight_too(offset: float) -> None:
    product = exposure()
    after, events = changed(product, offset=offset)
    for name, by in moved(product, after).items():
        np.testing.assert_allclose(by, offset, atol=2e-3, err_msg=name)
    assert (after[0].header["DATE-OBS"] == stamp(60001.0)[:10]) == (offset == 9000.0)
    assert [event for event in events if "left_alone" in event or "rows_left_alone" in event] == []
    assert {"hdu": 4, "asdf_copy_remains": True} in events
    assert {event.get("keyword", event.get("column")) for event in events} >= set(moved(product, after))
    for keyword in ("DATE", "EPH_TIME"):
        assert after[0].header[keyword] == fits.open(io.BytesIO(product.payload))[0].header[keyword]


@pytest.mark.parametrize("applied", ["headers", "tables"])
def test_a_correction_that_reached_a_part_leaves_the_other(applied: str) -> None:
    product = exposure()
    after, events = changed(product, offset=60.0, applied=applied)
    for name, by in moved(product, after).items():
        card = name == name.upper()
        np.testing.assert_allclose(by, 60.0 if card == (applied == "headers") else 0.0, atol=2e-3, err_msg=name)
    assert any("asdf_copy_remains" in event for event in events) == (applied == "headers")


def test_what_is_no_time_is_left_alone_and_told() -> None:
    cards: dict[str, Any] = {
        "DATE-END": "unknown",
        "TIME-OBS": "noon",
        "EXPMID": 0.0,
        "VSTSTART": "9999-12-31 23:59:59.9",
    }
    after, events = changed(exposure(**cards), offset=60.0)
    left = {event["keyword"]: event["left_alone"] for event in events if "left_alone" in event}
    assert left == {"DATE-END": "is no time", "DATE-OBS": "is no time", "EXPMID": "is no time",
                    "VSTSTART": "there is no such date"}  # fmt: skip
    assert {keyword: after[0].header[keyword] for keyword in cards} == cards


def test_a_drift_goes_on_in_the_next_exposure() -> None:
    clock = {"offset": 1.0, "drift": 8.64}
    first, second = (exposure(begin) for begin in (59773.0, 59783.0))
    for product, days in ((first, 1.0), (second, 11.0)):
        after = moved(product, changed(product, **clock)[0])
        assert after["EXPSTART"] == pytest.approx(1 + 8.64 * days, abs=2e-3)
        assert after["DATE-END"] == pytest.approx(1 + 8.64 * (days + 0.1), abs=2e-3)
        np.testing.assert_allclose(after["int_start_MJD_UTC"], 1 + 8.64 * (days + 0.025 * np.arange(4)), atol=2e-3)
        np.testing.assert_allclose(after["int_start_BJD_TDB"], after["int_start_MJD_UTC"], atol=1e-4)
    own = moved(second, changed(second, **clock, epoch=59783.0)[0])
    assert own["EXPSTART"] == pytest.approx(1.0, abs=2e-3)


def in_headers(primary: dict[str, Any], sci: dict[str, Any]) -> Product:
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.ones((16, 16), np.float32), name="SCI")]
    hdus[0].header.update({"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", **primary})
    hdus[1].header.update(sci)
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer, checksum=True)
    return Product("jw01234001001_02101_00001_nrca1_cal.fits", buffer.getvalue())


@pytest.mark.parametrize("later", [LATER, LATER + JD_ZERO])
def test_a_time_at_the_barycentre_has_its_partner_in_another_header(later: float) -> None:
    product = in_headers({"EXPSTART": 60000.25, "EXPEND": 60000.29}, {"BSTRTIME": 60000.25 + later})
    when = {"profile": "step", "start": 60000.252}
    after = changed(product, offset=60.0, drift=8.64, epoch=60000.0)[0]
    moves = [(hdu.header[key] - before) * 86400 for hdu, key, before in (
        (after[0], "EXPSTART", 60000.25), (after[1], "BSTRTIME", 60000.25 + later))]  # fmt: skip
    assert moves == pytest.approx([60 + 8.64 * 0.25] * 2, abs=1e-3)
    # Its own time lies behind the step, that at the telescope before it.
    after = changed(product, offset=60.0, when=when)[0]
    assert after[1].header["BSTRTIME"] == 60000.25 + later
    assert after[0].header["EXPEND"] > 60000.29


def test_a_julian_date_without_a_partner_drifts_by_its_days() -> None:
    product = in_headers({"EXPEND": 60000.29}, {"BSTRTIME": 60000.25 + JD_ZERO})
    after = changed(product, offset=60.0, drift=8.64, epoch=60000.0)[0]
    by = (after[1].header["BSTRTIME"] - 60000.25 - JD_ZERO) * 86400
    assert by == pytest.approx(60 + 8.64 * 0.25, abs=1e-3)


def test_where_nothing_moves_nothing_is_told() -> None:
    product = exposure(**{"DATE-END": "unknown"})
    for start, told in ((60002.0, False), (60000.0, True)):
        events = changed(product, offset=60.0, when={"profile": "step", "start": start})[1]
        assert any("asdf_copy_remains" in event for event in events) == told
        assert any("left_alone" in event for event in events) == told
        assert bool(events) == told


def test_a_copy_of_the_header_remains_where_the_header_moved() -> None:
    """A step within the exposure and before the end of its only card moves rows and no card."""
    primary = {"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "EXPSTART": 60000.9}
    with fits.open(io.BytesIO(exposure().payload)) as hdus:
        hdus[0].header = fits.Header({"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True, **primary})
        for keyword in ("MJD-BEG", "MJD-AVG", "TDB-MID"):
            del hdus[1].header[keyword]
        buffer = io.BytesIO()
        hdus.writeto(buffer, checksum=True)
    product = Product("jw01234001001_02101_00001_nrca1_uncal.fits", buffer.getvalue())
    events = changed(product, offset=60.0, when={"profile": "step", "start": 60000.95})[1]
    assert any(event.get("rows") for event in events)
    assert not [event for event in events if "asdf_copy_remains" in event]


def test_a_clock_may_drift_without_an_offset() -> None:
    product = exposure()
    begins = product.plane("INT_TIMES", 1, "int_start_MJD_UTC")
    after = moved(product, changed(product, offset=0, drift=10.0, epoch=60000.0)[0])
    np.testing.assert_allclose(after["int_start_MJD_UTC"], 10.0 * (begins - 60000.0), atol=2e-3)


def test_each_time_is_reckoned_once_over_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(task: Task, name: str, time: float) -> float:
        asked.append(time)
        return 60.0

    monkeypatch.setattr(Task, "number_at", counted)
    changed(exposure(), offset=60.0, when={"profile": "random_walk", "start": 60000.0, "length": 1})
    assert len(asked) > INTEGRATIONS
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("start", [60000.96, 60000.94])
def test_an_offset_that_steps_inside_an_exposure_moves_the_times_after_it(start: float) -> None:
    """Before or after its middle, and at the barycentre with the telescope's time and not by its own."""
    product = exposure()
    after = moved(product, changed(product, offset=60.0, when={"profile": "step", "start": start})[0])
    begins = 60000.9 + 0.025 * np.arange(4)
    np.testing.assert_allclose(after["int_start_MJD_UTC"], np.where(begins >= start, 60.0, 0.0), atol=2e-3)
    np.testing.assert_allclose(after["int_start_BJD_TDB"], after["int_start_MJD_UTC"], atol=1e-4)
    np.testing.assert_allclose(after["bary_end_time"], after["group_end_time"], atol=2e-3)
    np.testing.assert_allclose(after["end_day"], after["group_end_time"], atol=2e-3)
    assert after["EXPSTART"] == after["DATE-BEG"] == 0.0
    assert after["EXPEND"] == pytest.approx(60.0, abs=1e-3)


def test_integrations_that_are_left_have_the_wrong_times_too() -> None:
    product = exposure(name="jw_uncal.fits")
    after, _events = changed(product, {"dropped_integrations": {"fraction": 0.5}}, offset=60.0)
    true = fits.open(io.BytesIO(product.payload))["INT_TIMES"].data["int_mid_MJD_UTC"]
    told = after["INT_TIMES"].data["int_mid_MJD_UTC"]
    assert 0 < told.size < INTEGRATIONS
    assert np.isclose((told[:, None] - true) * 86400, 60.0, atol=1e-3).any(1).all()


@pytest.mark.parametrize(("text", "by", "later"), [
    ("2022-06-05T13:40:57.785", 0.06, "2022-06-05T13:40:57.845"),
    ("2022-12-31 23:59:59.9950000", 0.0050001, "2023-01-01 00:00:00.0000001"),
    ("2024-02-28T23:59:59", 1.4, "2024-02-29T00:00:00"),
    ("2022-06-05T00:00:00.", -1.0, "2022-06-04T23:59:59."),
    ("2022-13-05T00:00:00", 1.0, None), ("2022-06-05", 1.0, None), ("noon", 1.0, None),
    ("9999-12-31T23:59:59", 1.0, None),
])  # fmt: skip
def test_a_moment_as_text_moves_by_its_own_digits(text: str, by: float, later: str | None) -> None:
    assert moved_text(text, by) == later


def test_header_tables_of_combined_products_move_too() -> None:
    """HDRTAB has the cards of each exposure in a row; a date of its own and a time of day are one moment."""
    product = exposure()
    hdus = fits.open(io.BytesIO(product.payload))
    begin = np.array([60000.9, 60010.99])
    texts = [stamp(each) for each in begin]
    columns = [
        fits.Column("DATE-OBS", "10A", array=[text[:10] for text in texts]),
        fits.Column("TIME-OBS", "14A", array=[text[11:] for text in texts]),
        fits.Column("DATE-BEG", "23A", array=[texts[0], ""]),
        fits.Column("EXPSTART", "D", array=[begin[0], np.nan]),
        fits.Column("BSTRTIME", "D", array=begin + LATER),
        fits.Column("EXPMID", "E", array=begin),
    ]
    hdus.insert(4, fits.BinTableHDU.from_columns(columns, name="HDRTAB"))
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    after, events = changed(Product(product.name, buffer.getvalue()), offset=1800.0)
    table = after["HDRTAB"].data
    later = [stamp(each + 1800 / 86400) for each in begin]
    assert list(table["DATE-OBS"]) == [text[:10] for text in later]
    assert list(table["TIME-OBS"]) == [text[11:] for text in later]
    assert later[1][:10] != texts[1][:10]
    assert list(table["DATE-BEG"]) == [later[0], ""]
    np.testing.assert_allclose((table["BSTRTIME"] - begin - LATER) * 86400, 1800.0, atol=1e-3)
    assert (table["EXPSTART"][0] - begin[0]) * 86400 == pytest.approx(1800.0, abs=1e-3)
    left = {event["column"]: event for event in events if event.get("hdu") == 4 and "rows_left_alone" in event}
    assert {name: event["rows_left_alone"] for name, event in left.items()} == {"DATE-BEG": 1, "EXPSTART": 1}
    assert {"hdu": 4, "column": "EXPMID", "left_alone": "is no column of times"} in events


def test_groups_without_a_date_are_left_alone_and_told() -> None:
    product = exposure()
    hdus = fits.open(io.BytesIO(product.payload))
    names = (
        "integration_number",
        "group_number",
        "end_day",
        "end_milliseconds",
        "end_submilliseconds",
        "helio_end_time",
    )
    kept = [hdus["GROUP"].columns[name] for name in names]
    hdus["GROUP"] = fits.BinTableHDU.from_columns(kept, name="GROUP")
    buffer = io.BytesIO()
    hdus.writeto(buffer)
    after, events = changed(Product(product.name, buffer.getvalue()), offset=1800.0)
    np.testing.assert_array_equal(after["GROUP"].data["end_milliseconds"], hdus["GROUP"].data["end_milliseconds"])
    left = [event["column"] for event in events if event.get("left_alone") == "no date is told beside it"]
    assert left == ["end_day", "end_milliseconds", "end_submilliseconds"]


def test_a_table_without_rows_has_no_times() -> None:
    product = exposure()
    hdus = fits.open(io.BytesIO(product.payload))
    hdus["INT_TIMES"].data = hdus["INT_TIMES"].data[:0]
    buffer = io.BytesIO()
    hdus.writeto(buffer, checksum=True)
    _after, events = changed(Product(product.name, buffer.getvalue()), offset=60.0)
    assert not [event for event in events if event["hdu"] == 3]
