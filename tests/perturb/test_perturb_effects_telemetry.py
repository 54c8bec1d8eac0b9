"""Lost blocks, groups and integrations, clocks, schema and compression on fixed seeds."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scenes import perturbed as scene_perturbed
from scenes import scene

from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb import Product, Scenario, apply
from hwosim_assets.perturb.exposed import exposed_times
from hwosim_assets.perturb.plan import make_plan, read_plan
from hwosim_assets.perturb.proof import diff
from hwosim_assets.perturb.scenario import ScenarioError
from hwosim_assets.perturb.times import frame_times

Make = Callable[..., Product]


def perturbed(product: Product, **chosen: dict[str, object]) -> tuple[Product, dict[str, object]]:
    content = {"version": 1, "seed": 11, "effects": [{name: options} for name, options in chosen.items()]}
    out, truth = apply(product, Scenario.from_mapping("test", content))
    assert diff(product, out, truth).findings == ()
    return out, truth.record


def timed(make: Make, times: np.ndarray) -> Product:
    with fits.HDUList.fromstring(make("x1dints").content) as hdus:
        columns = [fits.Column(f"int_{part}_MJD_UTC", "D", array=times) for part in ("start", "mid", "end")]
        hdus.append(fits.BinTableHDU.from_columns(columns, name="INT_TIMES"))
        hdus[0].header["NINTS"] = 12
        buffer = io.BytesIO()
        hdus.writeto(buffer, checksum=True)
    return Product("jw_x1dints.fits", buffer.getvalue())


def read_by(fast: int, slow: int, outputs: int = 4, **cards: object) -> Product:
    """Return a frame of 128 rows and 160 columns of a detector that is read along an axis."""
    return scene(np.full((128, 160), 20.0), FASTAXIS=fast, SLOWAXIS=slow, NOUTPUTS=outputs, **cards)


@pytest.mark.parametrize("shape", ["rows", "columns", "amplifier", "rectangle"])
def test_a_missing_block_has_its_area(make: Make, shape: str) -> None:
    product = make("big") if shape != "amplifier" else scene(np.full((600, 512), 20.0), NOUTPUTS=4)

    def area(asked: float) -> float:
        lost = np.isnan(
            perturbed(product, missing_blocks={"area": asked, "shape": shape, "dq": "flagged"})[0].plane("SCI")
        )
        ys, xs = np.nonzero(lost & ~np.isnan(product.plane("SCI")))
        box = (np.ptp(ys) + 1) * (np.ptp(xs) + 1) / lost.size
        assert lost[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()
        return float(box)

    assert area(0.2) == pytest.approx(0.2, rel=0.02)
    assert area(0.22) != pytest.approx(0.2, rel=0.02)


@pytest.mark.parametrize(("fast", "slow", "instrument"), [
    (-1, 2, "NIRCAM"), (1, -2, "NIRCAM"), (2, 1, "NIRSPEC"), (-2, -1, "NIRISS"), (1, 2, "MIRI"),
])  # fmt: skip
def test_a_lost_amplifier_is_one_that_reads_the_detector(fast: int, slow: int, instrument: str) -> None:
    """A stripe of columns, or of rows where FASTAXIS is y; on MIRI every fourth column."""
    product = read_by(fast, slow, INSTRUME=instrument)
    lines = np.arange(160 if abs(fast) == 1 else 128)
    drawn = set()
    for seed in range(8):
        out, note = scene_perturbed(product, seed, missing_blocks={"area": 0.25, "shape": "amplifier"})
        lost = np.isnan(out.plane("SCI"))
        assert lost.mean() == 0.25
        across = lost.all(axis=0 if abs(fast) == 1 else 1)
        assert across.sum() * 4 == lines.size
        found = lines[across] if fast > 0 else (lines.size - 1 - lines[across])[::-1]
        amplifier = found % 4 if instrument == "MIRI" else found // (lines.size // 4)
        assert set(amplifier.tolist()) == {note["amplifier"]}
        drawn.add(note["amplifier"])
    assert len(drawn) > 1


def test_a_smaller_loss_of_an_amplifier_is_a_run_of_its_lines() -> None:
    out, note = scene_perturbed(read_by(-2, -1), 11, missing_blocks={"area": 0.05, "shape": "amplifier"})
    lost = np.isnan(out.plane("SCI"))
    rows, columns = np.flatnonzero(lost.any(axis=1)), np.flatnonzero(lost.any(axis=0))
    assert (rows.size, columns.size) == (32, 32)
    assert lost[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert (note["line0"], note["line1"]) == (159 - columns[-1], 160 - columns[0])


@pytest.mark.parametrize("kind", ["one output", "i2d", "x1d"])
def test_no_amplifier_is_lost_where_there_are_not_several(make: Make, kind: str) -> None:
    product = make(kind) if kind != "one output" else read_by(-1, 2, outputs=1)
    out, record = perturbed(product, missing_blocks={"severity": 5, "shape": "amplifier"})
    assert all("not_applicable" in note for note in record["effects"][0]["measurements"])
    assert out.content == product.content


def test_dropped_groups_follow_the_ramp_fit(make: Make) -> None:
    product = make("big")

    def ratios(fraction: float) -> tuple[float, float]:
        out = perturbed(product, dropped_groups={"fraction": fraction})[0]
        names = ("VAR_POISSON", "VAR_RNOISE")
        poisson, read = (float(np.nanmedian(out.plane(name) / product.plane(name))) for name in names)
        delta = out.plane("SCI").astype(float) - product.plane("SCI").astype(float)
        gained = sum(out.plane(name).astype(float) - product.plane(name).astype(float) for name in names)
        z = (delta / np.sqrt(gained))[np.isfinite(delta)]
        assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
        return poisson, read

    assert ratios(0.5) == pytest.approx((2.0, 8.0), rel=1e-4)
    assert ratios(0.55)[1] / 8 > 1.3


def test_groups_of_a_ramp_are_lost_from_its_end(make: Make) -> None:
    ramp = perturbed(make("uncal"), dropped_groups={"fraction": 0.5})[0].plane("SCI")
    assert (ramp[:, 3:] == 0).all()
    np.testing.assert_array_equal(ramp[:, :3], make("uncal").plane("SCI")[:, :3])


def test_dropped_integrations_leave_all_planes_together(make: Make) -> None:
    product = timed(make, 60000 + np.arange(12) / 24)
    out, record = perturbed(product, dropped_integrations={"fraction": 0.4})
    lost = record["effects"][0]["measurements"][0]["lost"]
    keep = np.setdiff1d(np.arange(12), lost)
    assert 0 < len(lost) < 12
    for name, column in (("EXTRACT1D", "FLUX"), ("EXTRACT1D", "WAVELENGTH"), ("INT_TIMES", "int_mid_MJD_UTC")):
        np.testing.assert_array_equal(out.plane(name, 1, column), product.plane(name, 1, column)[keep])
    assert out.number("NINTS") == keep.size
    assert out.number("EFFEXPTM") == pytest.approx(300.0 * keep.size / 12)
    with fits.open(io.BytesIO(out.content), checksum=True) as hdus:
        hdus.verify("exception")
        assert len(hdus["EXTRACT1D"].data) == keep.size
    cube = perturbed(make("calints"), dropped_integrations={"fraction": 0.6})[0]
    assert {cube.plane(name).shape for name in ("SCI", "ERR", "DQ", "VAR_FLAT")} == {cube.plane("SCI").shape}
    assert len(cube.plane("SCI")) < 3


def segment(rows: int, group: tuple[int, ...] = ()) -> Product:
    """Return integrations 3 to 10 of an exposure of 100, its INT_TIMES of as many rows as asked for.

    A GROUP table has a row for each of the integrations named.
    """
    cube = np.arange(8 * 4 * 5, dtype=np.float32).reshape(8, 4, 5)
    starts = 60000 + np.arange(1, 101)[100 - rows :] / 100 if rows < 100 else 60000 + np.arange(1, 101) / 100
    names = {"start": 0.0, "mid": 0.004, "end": 0.008}
    columns = [fits.Column(f"int_{name}_MJD_UTC", "D", array=starts + after) for name, after in names.items()]
    columns.append(fits.Column("integration_number", "J", array=np.arange(101 - rows, 101)))
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(cube, name="SCI"),
        fits.BinTableHDU.from_columns(columns, name="INT_TIMES"),
    ]
    if group:
        ends = [f"2023-02-25T00:{number // 60:02}:{number % 60:02}.000" for number in group]
        columns = [
            fits.Column("integration_number", "I", array=np.array(group)),
            fits.Column("group_number", "I", array=np.ones(len(group))),
            fits.Column("group_end_time", "26A", array=ends),
        ]
        hdus.insert(2, fits.BinTableHDU.from_columns(columns, name="GROUP"))
    cards = {"NINTS": 100, "INTSTART": 3, "INTEND": 10, "EFFINTTM": 10.0, "EFFEXPTM": 1000.0, "TFRAME": 2.0}
    hdus[0].header.update({**cards, "EXPSTART": 60000.0, "EXPEND": 60001.0})
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return Product("jw01234001001_02101_00001-seg001_nrca1_calints.fits", buffer.getvalue())


@pytest.mark.parametrize("group", [(), tuple(range(3, 11)), tuple(range(1, 101))])
@pytest.mark.parametrize("header", ["honest", "stale"])
def test_a_segment_that_lost_integrations_tells_the_times_of_the_others(header: str, group: tuple[int, ...]) -> None:
    """INT_TIMES and GROUP may have a row for each integration of the exposure; NINTS is the exposure's number."""
    product = segment(100, group)
    out, record = perturbed(product, dropped_integrations={"fraction": 0.5, "header": header})
    lost = np.array(record["effects"][0]["measurements"][0]["lost"])
    assert 0 < lost.size < 8
    kept = np.setdiff1d(np.arange(8), lost)
    np.testing.assert_array_equal(out.plane("SCI"), product.plane("SCI")[kept])
    honest = header == "honest"
    assert out.number("NINTS") == (100 - lost.size if honest else 100)
    assert out.number("INTEND") == (10 - lost.size if honest else 10)
    assert out.number("EFFEXPTM") == pytest.approx(10.0 * (100 - lost.size) if honest else 1000.0)
    numbers = out.plane("INT_TIMES", 1, "integration_number")
    np.testing.assert_array_equal(numbers, np.setdiff1d(np.arange(1, 101), 3 + lost))
    if group:
        numbers = out.plane("GROUP", 1, "integration_number")
        np.testing.assert_array_equal(numbers, np.setdiff1d(group, 3 + lost))
    (before,), (after,) = product.measurements, out.measurements
    true, told = frame_times(product, before), frame_times(out, after)
    np.testing.assert_array_equal(told.mid, true.mid[kept])
    exposed = [exposed_times(each, "calints") for each in (product, out)]
    assert {each.by for each in exposed} == {"GROUP" if group else "INT_TIMES"}
    np.testing.assert_array_equal(exposed[1].ends, exposed[0].ends[kept])


@pytest.mark.parametrize("group", [tuple(range(3, 11)), tuple(range(1, 101))])
def test_what_lost_integrations_before_loses_the_rows_of_those_it_still_has(group: tuple[int, ...]) -> None:
    first, before = perturbed(segment(100, group), dropped_integrations={"fraction": 0.3})
    again = Scenario.from_mapping("again", {"version": 1, "seed": 7, "effects": [
        {"dropped_integrations": {"fraction": 0.4}}]})  # fmt: skip
    out, truth = apply(first, again)
    (one,), (other,) = (record["effects"][0]["measurements"] for record in (before, truth.record))
    assert one["lost"]
    assert other["lost"]
    left = np.setdiff1d(np.arange(3, 11), 3 + np.array(one["lost"]))
    gone = np.union1d(3 + np.array(one["lost"]), left[other["lost"]])
    np.testing.assert_array_equal(out.plane("SCI"), segment(100).plane("SCI")[np.setdiff1d(range(3, 11), gone) - 3])
    for extname, rows in (("GROUP", group), ("INT_TIMES", range(1, 101))):
        np.testing.assert_array_equal(out.plane(extname, 1, "integration_number"), np.setdiff1d(rows, gone))


def test_a_second_use_that_loses_integrations_is_refused(tmp_path: Path) -> None:
    """Each use would take its rows out of the input's; what the other took would come back, or none would fit."""
    uses = [{"dropped_integrations": {"fraction": 0.3, "label": label}} for label in "ab"]
    words = r"dropped_integrations .* once; leave one use of it, with a larger `fraction`"
    with pytest.raises(ScenarioError, match=words):
        Scenario.from_mapping("test", {"version": 1, "effects": uses})
    with pytest.raises(ScenarioError, match=words):
        Scenario.from_mapping("test", {"version": 1, "effects": ["dropped_integrations"] * 2})
    plan = make_plan(Scenario.from_mapping("test", {"version": 1, "effects": uses[:1]}), "jw_x1dints.fits", 60000.0)
    plan.model_copy(update={"effects": plan.effects * 2}).write(tmp_path / "plan.json")
    with pytest.raises(BadInputError, match=words):
        read_plan(tmp_path / "plan.json")


@pytest.mark.parametrize("kind", ["wrong_type", "swapped"])
@pytest.mark.parametrize("spoilt", ["NINTS", "INTEND", "EFFEXPTM"])
def test_a_spoilt_card_is_not_mended_by_lost_integrations(spoilt: str, kind: str) -> None:
    product = segment(100)
    for seed in range(40):
        content = {"version": 1, "seed": seed, "valid_only": False, "effects": [
            {"header_corruption": {"keys": 2, "kind": kind}}, {"dropped_integrations": {"fraction": 0.5}}]}  # fmt: skip
        out, truth = apply(product, Scenario.from_mapping("test", content))
        corruption, loss = (step["events"] for step in truth.record["effects"])
        if loss and spoilt in {event["keyword"] for event in corruption}:
            break
    else:
        pytest.fail(f"no seed spoils {spoilt}")
    for event in corruption:
        assert re.search(rf"{event['keyword']:<8}= +{re.escape(event['is'])} ", out.content[:5760].decode("latin-1"))
    told = {"NINTS", "INTEND", "EFFEXPTM"} - {event["keyword"] for event in corruption}
    assert {event["keyword"] for event in loss if event["hdu"] == 0} == told


@pytest.mark.parametrize("gap", [0, 8])
def test_cells_of_any_length_stay_those_of_their_integrations(make: Make, gap: int) -> None:
    with fits.HDUList.fromstring(make("x1dints").content) as hdus:
        cells = np.array([np.arange(number + 1, dtype=np.int32) for number in range(12)], dtype=object)
        columns = hdus[1].columns + fits.ColDefs([fits.Column("CELLS", "PJ()", array=cells)])
        hdus[1] = fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    content = buffer.getvalue()
    if gap:
        with fits.open(io.BytesIO(content)) as hdus:
            start, rows = hdus[1]._data_offset, hdus[1].header["NAXIS1"] * 12
            header = hdus[1].header
            header["PCOUNT"] += gap
            header.set("THEAP", rows + gap, after="TFIELDS")
            body = content[start : start + rows] + bytes(gap) + content[start + rows :][: header["PCOUNT"] - gap]
            content = content[: hdus[1]._header_offset] + header.tostring().encode() + body + bytes(-len(body) % 2880)
    product = Product("jw_x1dints.fits", content)
    out, record = perturbed(product, dropped_integrations={"fraction": 0.4})
    kept = np.setdiff1d(np.arange(12), record["effects"][0]["measurements"][0]["lost"])
    assert 0 < kept.size < 12
    with fits.open(io.BytesIO(out.content)) as hdus:
        assert [cell.size for cell in hdus[1].data["CELLS"]] == (kept + 1).tolist()
        assert [int(cell[-1]) for cell in hdus[1].data["CELLS"]] == kept.tolist()


def test_rows_of_integrations_are_those_of_a_whole_table() -> None:
    """A table that does not reach to the segment's end is not cut by a guess."""
    product = segment(5, (1, 2, 3, 4))
    out, record = perturbed(product, dropped_integrations={"fraction": 0.5})
    assert record["effects"][0]["measurements"][0]["lost"]
    assert len(out.plane("INT_TIMES", 1, "integration_number")) == 5
    assert len(out.plane("GROUP", 1, "integration_number")) == 4
    left = [event["table"] for event in record["effects"][0]["events"] if "left_alone" in event]
    assert left == ["GROUP", "INT_TIMES"]


def test_dropped_integrations_have_their_rate() -> None:
    product = scene(np.full((8000, 2, 2), 20.0))

    def rate(fraction: float) -> float:
        out = scene_perturbed(product, dropped_integrations={"fraction": fraction})[0]
        return 1 - len(out.plane("SCI")) / 8000

    tolerance = 4 * np.sqrt(0.4 * 0.6 / 8000)
    assert rate(0.4) == pytest.approx(0.4, abs=tolerance)
    assert rate(0.44) != pytest.approx(0.4, abs=tolerance)


@pytest.mark.parametrize("applied", ["all", "headers", "tables"])
def test_clock_error_is_fitted_exactly(make: Make, applied: str) -> None:
    times = 60000 + np.arange(12) * 0.5

    def fit(offset: float) -> tuple[float, float]:
        clock = {"offset": offset, "drift": 2.0, "epoch": 60000.0, "applied": applied}
        out = perturbed(timed(make, times), clock_error=clock)[0]
        moved = (out.plane("INT_TIMES", 1, "int_mid_MJD_UTC") - times) * 86400
        slope, start = np.polyfit(times - 60000, moved, 1)
        header = (out.number("EXPMID") - 60000.5) * 86400
        assert header == pytest.approx((offset + 1.0) if applied != "tables" else 0.0, abs=1e-4)
        return float(start), float(slope)

    wanted = (5.0, 2.0) if applied != "headers" else (0.0, 0.0)
    assert fit(5.0) == pytest.approx(wanted, abs=1e-4)
    if applied != "headers":
        assert fit(5.5) != pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("untold", [np.ones(12, bool), np.arange(12) == 3])
def test_clock_error_takes_no_zero_for_a_time(make: Make, untold: np.ndarray) -> None:
    """A table that nobody filled in moves nothing by itself, and the truth says so."""
    times = np.where(untold, 0.0, 60000 + np.arange(12) * 0.5)
    product = timed(make, times)
    out, record = perturbed(product, clock_error={"offset": 5.0, "drift": 2.0, "epoch": 60000.0})
    moved = (out.plane("INT_TIMES", 1, "int_mid_MJD_UTC") - times) * 86400
    np.testing.assert_array_equal(moved[untold], 0)
    np.testing.assert_allclose(moved[~untold], (5.0 + 2.0 * (times - 60000.0))[~untold], atol=1e-4)
    assert (out.number("EXPMID") - product.number("EXPMID")) * 86400 == pytest.approx(6.0, abs=1e-4)
    told = [event for event in record["effects"][0]["events"] if "column" in event]
    assert [event["rows_left_alone"] for event in told] == [untold.sum()] * 3


def test_undoing_schema_drift_restores_the_bytes(make: Make) -> None:
    product = make("cal")
    out, record = perturbed(product, schema_drift={"changes": 3})
    assert [event["keyword"] for event in record["effects"][0]["events"]] == ["BITPIX"] * 3
    assert out.plane("SCI").dtype == np.float64
    for plane in product.planes:
        same = out.plane(plane.extname).astype(plane.dtype)
        assert same.tobytes() == product.plane(plane.extname).tobytes()
    spectrum = make("x1d")
    renamed, record = perturbed(spectrum, schema_drift={"changes": 8})
    for event in record["effects"][0]["events"]:
        new, old = (x.plane("EXTRACT1D", 1, event[key]) for x, key in ((renamed, "value"), (spectrum, "before")))
        np.testing.assert_array_equal(new, old)
    assert record["effects"][0]["events"]


@pytest.mark.parametrize("header", ["honest", "stale"])
@pytest.mark.parametrize(("kind", "extname", "column", "factor", "unit"), [
    ("cal", "SCI", "", 23.5044305, "uJy/arcsec2"), ("x1d", "EXTRACT1D", "FLUX", 1e3, "mJy"),
])  # fmt: skip
def test_another_unit_scales_values_errors_and_variances(
    make: Make, kind: str, extname: str, column: str, factor: float, unit: str, header: str
) -> None:
    product = make(kind)
    out, record = perturbed(product, schema_drift={"changes": 1, "kind": "units", "header": header})
    note = record["effects"][0]["measurements"][0]
    assert note["factor"] == pytest.approx(factor, rel=1e-8)
    assert note["factor"] != pytest.approx(1.1 * factor, rel=1e-8)
    before, after = (x.plane(extname, 1, column).astype(float) for x in (product, out))
    # Undone, all is back to a unit in the last place of single precision.
    np.testing.assert_allclose(after / note["factor"], before, rtol=2e-7)
    error, read = ("FLUX_ERROR", "FLUX_VAR_RNOISE") if column else ("ERR", "VAR_RNOISE")
    for name, power in ((error, 1), (read, 2)):
        where = (extname, 1, name) if column else (name, 1, "")
        ratio = out.plane(*where).astype(float) / product.plane(*where)
        np.testing.assert_allclose(ratio[np.isfinite(ratio)], factor**power, rtol=1e-5)
    said = next(plane.unit for plane in out.planes if (plane.extname, plane.column) == (extname, column))
    old = next(plane.unit for plane in product.planes if (plane.extname, plane.column) == (extname, column))
    assert said == (unit if header == "honest" else old)
    other = (extname, 1, "SURF_BRIGHT") if column else ("DQ", 1, "")
    np.testing.assert_array_equal(out.plane(*other), product.plane(*other))


def test_what_has_no_other_unit_is_refused(make: Make) -> None:
    product = make("s3d")
    assert apply(
        product, Scenario.from_mapping("t", {"version": 1, "effects": [{"schema_drift": {"kind": "layout"}}]})
    )[1].record["effects"][0]["measurements"][0]["not_applicable"]
    with fits.HDUList.fromstring(make("bare").content) as hdus:
        hdus[1].header["BUNIT"] = "furlong"
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    _, record = perturbed(Product("jw_cal.fits", buffer.getvalue()), schema_drift={"severity": 3, "kind": "units"})
    assert "furlong" in record["effects"][0]["measurements"][0]["not_applicable"]


def test_swapped_axes_and_bytes_are_swapped_back(make: Make) -> None:
    product = make("cal")
    turned, _ = perturbed(product, schema_drift={"changes": 1, "kind": "axes"})
    mixed, _ = perturbed(product, schema_drift={"changes": 1, "kind": "byte_order"})
    for plane in product.planes:
        before = product.plane(plane.extname)
        assert turned.plane(plane.extname).T.tobytes() == before.tobytes()
        raw = next(other for other in mixed.planes if other.name == plane.name).raw(mixed.payload)
        assert raw.byteswap().tobytes() == plane.raw(product.payload).tobytes()
    assert turned.plane("SCI").shape == (128, 96)


def test_a_table_of_all_integrations_becomes_one_for_each_and_back(make: Make) -> None:
    product = timed(make, 60000 + np.arange(12) / 24)
    apart, record = perturbed(product, schema_drift={"severity": 1, "kind": "layout"})
    (event,) = record["effects"][0]["events"]
    assert (event["tables"], event["left_out"]) == (12, ["NOTE"])
    with fits.open(io.BytesIO(apart.content), checksum=True) as hdus:
        hdus.verify("exception")
        tables = [hdu for hdu in hdus if hdu.name == "EXTRACT1D"]
        assert [hdu.ver for hdu in tables] == list(range(1, 13))
        for name in ("WAVELENGTH", "FLUX", "FLUX_ERROR", "DQ"):
            rows = np.stack([hdu.data[name] for hdu in tables])
            np.testing.assert_array_equal(rows, product.plane("EXTRACT1D", 1, name))
            assert {hdu.columns[name].unit for hdu in tables} == {
                "um" if name[0] == "W" else tables[0].columns[name].unit
            }
    assert len(apart.measurements) == 2 * 12
    back, _ = perturbed(apart, schema_drift={"severity": 1, "kind": "layout"})
    for name in ("WAVELENGTH", "FLUX", "SURF_BRIGHT", "FLUX_VAR_RNOISE", "DQ"):
        one, other = (x.plane("EXTRACT1D", 1, name) for x in (back, product))
        assert one.tobytes() == other.tobytes()


def test_numbers_of_an_integration_go_into_cards_and_come_back(make: Make) -> None:
    with fits.HDUList.fromstring(make("x1dints").content) as hdus:
        columns = hdus[1].columns + fits.ColDefs([
            fits.Column("INT_NUM", "J", array=np.arange(1, 13)), fits.Column("MJD-AVG", "D", array=np.full(12, np.nan)),
            fits.Column("TDB-MID", "D", array=60000.1 + np.arange(12))])  # fmt: skip
        table = fits.BinTableHDU.from_columns(columns, name="EXTRACT1D")
        buffer = io.BytesIO()
        fits.HDUList([hdus[0], table]).writeto(buffer)
    product = Product("jw_x1dints.fits", buffer.getvalue())
    apart, _ = perturbed(product, schema_drift={"severity": 1, "kind": "layout"})
    with fits.open(io.BytesIO(apart.content)) as hdus:
        assert [hdu.header["INT_NUM"] for hdu in hdus[1:]] == list(range(1, 13))
        assert [hdu.header["TDB-MID"] for hdu in hdus[1:]] == [60000.1 + number for number in range(12)]
        assert "MJD-AVG" not in hdus[1].header
    back, _ = perturbed(apart, schema_drift={"severity": 1, "kind": "layout"})
    for name in ("INT_NUM", "TDB-MID"):
        np.testing.assert_array_equal(back.plane("EXTRACT1D", 1, name), product.plane("EXTRACT1D", 1, name))


def test_compression_adds_the_variance_of_its_step(make: Make) -> None:
    product = make("big")

    def added(coarseness: float) -> tuple[float, float, float]:
        out, record = perturbed(product, compression_loss={"coarseness": coarseness})
        step = record["effects"][0]["measurements"][0]["step"]
        delta = out.plane("SCI").astype(float) - product.plane("SCI").astype(float)
        delta = delta[np.isfinite(delta)]
        gained = np.nanmedian(out.plane("VAR_RNOISE").astype(float) - product.plane("VAR_RNOISE"))
        return float(delta.var()), step**2 / 12, float(gained)

    found, expected, claimed = added(2.0)
    tolerance = 4 * np.sqrt(0.8 / product.plane("SCI").size)
    assert found == pytest.approx(expected, rel=tolerance)
    assert 12 * expected == pytest.approx((2.0 * np.nanmedian(product.plane("ERR"))) ** 2, rel=0.05)
    assert claimed == pytest.approx(expected, rel=1e-3)
    assert added(2.2)[0] != pytest.approx(expected, rel=tolerance)


def test_truncation_takes_half_a_step_away_and_adds_the_variance_of_one(make: Make) -> None:
    product = make("big")
    out, record = perturbed(product, compression_loss={"coarseness": 0.5, "way": "truncation"})
    step = record["effects"][0]["measurements"][0]["step"]
    after, before = (x.plane("SCI").astype(float) for x in (out, product))
    good = np.isfinite(after)
    error = (after - before)[good]
    assert -step * 1.000001 <= error.min()
    assert error.max() <= 1e-6 * step
    assert error.mean() == pytest.approx(-step / 2, rel=4 * np.sqrt(1 / 3 / error.size))
    assert error.var() == pytest.approx(step**2 / 12, rel=4 * np.sqrt(0.8 / error.size))
    np.testing.assert_allclose(after[good] / step, np.rint(after[good] / step), atol=1e-4)
    gained = np.nanmedian(out.plane("VAR_RNOISE").astype(float) - product.plane("VAR_RNOISE"))
    assert gained == pytest.approx(step**2 / 12, rel=1e-3)
