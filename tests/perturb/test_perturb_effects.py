"""What each effect does to pixels, on fixed seeds; each test fails when its parameter is off by 10 %."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from hwosim_assets.perturb import Product, Scenario, apply, effects
from hwosim_assets.perturb.effects.telemetry import lost_packets
from hwosim_assets.perturb.parameters import at_severity
from hwosim_assets.perturb.rng import Stream
from hwosim_assets.perturb.spec import STAGES

Make = Callable[..., Product]


def perturbed(product: Product, **chosen: dict[str, object]) -> tuple[Product, dict[str, object]]:
    content = {"version": 1, "seed": 11, "effects": [{name: options} for name, options in chosen.items()]}
    out, truth = apply(product, Scenario.from_mapping("test", content))
    return out, truth.record


def change(product: Product, out: Product) -> tuple[np.ndarray, np.ndarray]:
    delta = out.plane("SCI").astype(float) - product.plane("SCI").astype(float)
    return delta, np.isfinite(delta)


def test_every_effect_says_what_it_is() -> None:
    for spec in effects.registered():
        assert spec.stage in STAGES
        for words in (spec.title, spec.model, spec.source, spec.test):
            assert words
        assert spec.planes
        for parameter in spec.parameters:
            assert parameter.doc
            assert parameter.source
            if parameter.severities:
                distances = [abs(value - parameter.identity) for value in parameter.severities]
                assert len(distances) == 5
                assert distances == sorted(set(distances))
                assert all(parameter.low <= value <= parameter.high for value in parameter.severities)


@pytest.mark.parametrize("severity", [0.25, 1, 1.5, 3.7, 5])
def test_severities_meet_the_table_and_are_log_linear_between(severity: float) -> None:
    table = (1.1, 1.25, 1.5, 2.0, 4.0)
    at = at_severity(table, severity, identity=1.0)
    if severity < 1:
        assert at == pytest.approx(1 + 0.1 * severity)
    else:
        low = int(min(severity, 4))
        expected = np.interp(severity, [low, low + 1], np.log([table[low - 1] - 1, table[low] - 1]))
        assert at == pytest.approx(1 + np.exp(expected))


# ------------------------------------------------------------------ read noise


@pytest.mark.parametrize("factor", [1.1, 4.0])
def test_read_noise_has_the_variance_that_the_plane_gains(make: Make, factor: float) -> None:
    product = make("big")
    out, _ = perturbed(product, read_noise={"factor": factor})
    delta, good = change(product, out)
    gained = out.plane("VAR_RNOISE").astype(float) - product.plane("VAR_RNOISE").astype(float)
    np.testing.assert_allclose(gained[good], 0.02 * (factor**2 - 1), rtol=1e-4)
    z = (delta / np.sqrt(gained))[good]
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size) < 0.02
    assert stats.kstest(z[:100_000], "norm").pvalue > 1e-3
    rows = (delta / np.sqrt(gained))[:, 100:]
    pairs = rows[:, 1:] * rows[:, :-1]
    pairs = pairs[np.isfinite(pairs)]
    assert abs(pairs.mean()) * np.sqrt(pairs.size) < 4


def test_read_noise_of_a_raw_ramp_is_in_dn(make: Make) -> None:
    product = make("uncal")
    out, record = perturbed(product, read_noise={"factor": 3.0})
    assert out.plane("SCI").dtype == np.uint16
    delta, _ = change(product, out)
    expected = (11.5 / 2.1) ** 2 * (3.0**2 - 1) + 1 / 12  # rounding to whole DN
    assert delta.var() == pytest.approx(expected, rel=4 * np.sqrt(2 / delta.size))
    assert record["budgets"][0]["read_method"] == "published"


def test_the_read_noise_of_averaged_frames_is_smaller(make: Make) -> None:
    from astropy.io import fits

    with fits.HDUList.fromstring(make("uncal").content) as hdus:
        hdus[0].header["NFRAMES"] = 4
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    _, record = perturbed(Product("x_uncal.fits", buffer.getvalue()), read_noise={"factor": 2.0})
    assert record["budgets"][0]["read_sigma"] == pytest.approx(11.5 / 2.1 / 2)


# ------------------------------------------------------------------ Gaussian noise


def test_gaussian_noise_is_the_noise_of_each_pixel_and_none_where_err_is_no_number(make: Make) -> None:
    payload = bytearray(make("cal").content)
    plane = next(plane for plane in make("cal").planes if plane.extname == "ERR")
    for column, value in enumerate((np.nan, np.inf, -1.0, 0.0)):
        plane.raw(payload)[:, column] = value
    product = Product(make("cal").name, bytes(payload))
    out, record = perturbed(product, gaussian_noise={"sigma": 2.0})
    delta, good = change(product, out)
    assert not delta[:, :4][good[:, :4]].any()
    z = (delta[:, 4:] / product.plane("ERR")[:, 4:])[good[:, 4:]]
    assert z.std() == pytest.approx(2.0, rel=4 / np.sqrt(2 * z.size))
    err = product.plane("ERR").astype(float)
    found = record["effects"][0]["measurements"][0]["err"]
    assert found == pytest.approx(np.median(err[np.isfinite(err) & (err > 0)]), rel=0.02)


@pytest.mark.parametrize(("err", "said"), [("consistent", 1.0), ("stale", 0.0), ("biased", 0.25)])
def test_planes_say_of_gaussian_noise_what_is_honest(make: Make, err: str, said: float) -> None:
    product = make("cal")
    switch = {"err": err, **({"err_factor": 0.5} if err == "biased" else {})}
    out, _ = perturbed(product, gaussian_noise={"sigma": 0.3, "of": "unit", **switch})
    for name, power in (("VAR_RNOISE", 1), ("ERR", 2)):
        gained = out.plane(name).astype(float) ** power - product.plane(name).astype(float) ** power
        np.testing.assert_allclose(gained[np.isfinite(gained)], 0.09 * said, rtol=1e-4, atol=1e-7)


def test_gaussian_noise_of_a_ramp_is_that_of_each_group_and_not_a_multiple_of_an_err_it_has_not(make: Make) -> None:
    product = make("uncal")
    out, _ = perturbed(product, gaussian_noise={"sigma": 10, "of": "unit"})
    delta, _ = change(product, out)
    assert delta.var() == pytest.approx(100 + 1 / 12, rel=4 * np.sqrt(2 / delta.size))
    assert abs(np.corrcoef(delta[:, 0].ravel(), delta[:, 1].ravel())[0, 1]) < 4 / np.sqrt(delta[:, 0].size)
    same, record = perturbed(product, gaussian_noise={"sigma": 1})
    assert same.content == product.content
    assert "`of: unit`" in record["effects"][0]["measurements"][0]["not_applicable"]


def test_gaussian_noise_follows_its_profile_from_integration_to_integration(make: Make) -> None:
    product = make("calints")
    late = {"profile": "step", "start": 60000.5}
    out, _ = perturbed(product, gaussian_noise={"sigma": 1.0, "when": late})
    delta, _ = change(product, out)
    assert not np.nan_to_num(delta[0]).any()
    assert np.nanstd(delta[2] / product.plane("ERR")[2]) == pytest.approx(1.0, rel=0.06)


# ------------------------------------------------------------------ background


def test_background_adds_photons_and_their_noise(make: Make) -> None:
    product = make("big")
    out, record = perturbed(product, background={"factor": 1.5})
    found = record["effects"][0]["measurements"][0]
    assert found["added"] == pytest.approx(1.0, rel=0.02)
    assert record["budgets"][0]["k"] == pytest.approx(150.0, rel=0.03)
    delta, good = change(product, out)
    counts = np.rint(delta[good] * record["budgets"][0]["k"])
    np.testing.assert_allclose(delta[good] * record["budgets"][0]["k"], counts, atol=2e-2)
    assert counts.mean() == pytest.approx(found["electrons"], abs=4 * np.sqrt(found["electrons"] / counts.size))
    assert counts.var() / counts.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / counts.size))
    gained = out.plane("VAR_POISSON").astype(float) - product.plane("VAR_POISSON").astype(float)
    np.testing.assert_allclose(gained[good], found["added"] / record["budgets"][0]["k"], rtol=1e-3)


def test_background_of_a_ramp_accumulates(make: Make) -> None:
    product = make("uncal")
    out, record = perturbed(product, background={"factor": 2.0})
    added = record["effects"][0]["measurements"][0]["added"]
    assert added == pytest.approx(40, rel=0.05)
    delta, _ = change(product, out)
    np.testing.assert_array_equal(delta[:, 0], 0)
    for group in range(1, 6):
        assert delta[:, group].mean() == pytest.approx(group * added, rel=0.01)
        assert delta[:, group].var() == pytest.approx(group * added / 2.1, rel=0.1)


def test_background_says_when_it_has_no_level(make: Make) -> None:
    product = make("uncal")
    payload = bytearray(product.content)
    product.planes[0].raw(payload)[...] = 0
    flipped = Product(product.name, bytes(payload))
    _, record = perturbed(flipped, background={"severity": 2})
    assert "not positive" in record["effects"][0]["measurements"][0]["not_applicable"]


# ------------------------------------------------------------------ throughput


@pytest.mark.parametrize("loss", [0.21, 0.9])
def test_throughput_keeps_the_noise_that_a_true_loss_leaves(make: Make, loss: float) -> None:
    product = make("big")
    out, _ = perturbed(product, throughput={"loss": loss})
    q = 1 - loss
    before, after = product.plane("SCI").astype(float), out.plane("SCI").astype(float)
    sky = np.s_[:, 80:]
    good = np.isfinite(before[sky])
    assert after[sky][good].mean() / before[sky][good].mean() == pytest.approx(q, rel=0.005)
    expected = q * 2.0 / 150 + 0.02
    assert after[sky][good].var() == pytest.approx(expected, rel=4 * np.sqrt(2 / good.sum()))
    poisson = out.plane("VAR_POISSON").astype(float)[sky][good]
    np.testing.assert_allclose(poisson, q * 2.0 / 150, rtol=1e-4)
    np.testing.assert_array_equal(out.plane("VAR_RNOISE"), product.plane("VAR_RNOISE"))


def test_throughput_of_a_ramp_scales_what_accumulated(make: Make) -> None:
    product = make("uncal")
    out, _ = perturbed(product, throughput={"loss": 0.5})
    ramp = out.plane("SCI").astype(float)
    np.testing.assert_array_equal(ramp[:, 0], product.plane("SCI")[:, 0])
    for group in range(1, 6):
        assert (ramp[:, group] - ramp[:, 0]).mean() == pytest.approx(20 * group, rel=0.02)


@pytest.mark.parametrize("group", [1, 5])
def test_throughput_of_a_ramp_leaves_the_noise_of_fewer_electrons_and_of_the_reads(make: Make, group: int) -> None:
    product, q = make("uncal"), 0.5
    out, _ = perturbed(product, throughput={"loss": 1 - q})
    before, after = product.plane("SCI").astype(float), out.plane("SCI").astype(float)
    added = after[:, group] - before[:, 0] - q * (before[:, group] - before[:, 0])
    shot, read = group * 40 * q * (1 - q) / 2.1, (11.5 / 2.1) ** 2 * (1 - q**2)
    assert added.var() == pytest.approx(shot + read + 1 / 12, rel=4 * np.sqrt(2 / added.size))


@pytest.mark.parametrize("sums", [True, False])
def test_throughput_scales_the_flat_variance_and_err_with_it(make: Make, sums: bool) -> None:
    product, q = make("cal"), 0.5
    if not sums:  # one pixel's ERR is not the root of the sum, as in real time series
        payload = bytearray(product.content)
        next(plane for plane in product.planes if plane.extname == "ERR").raw(payload)[0, 0] *= 1.2
        product = Product(product.name, bytes(payload))
    out, record = perturbed(product, throughput={"loss": 1 - q})
    assert record["budgets"][0]["sums"] is sums
    np.testing.assert_allclose(out.plane("VAR_FLAT"), product.plane("VAR_FLAT") * q**2, rtol=1e-6)
    poisson, read, flat = (product.plane(name).astype(float) for name in ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"))
    np.testing.assert_allclose(out.plane("ERR")[1:] ** 2, (q * poisson + read + q**2 * flat)[1:], rtol=1e-4)


def test_throughput_without_variance_planes_splits_err(make: Make) -> None:
    product = make("s3d")
    out, record = perturbed(product, throughput={"loss": 0.5})
    assert record["budgets"][0]["read_method"] == "ERR"
    after, err = out.plane("SCI").astype(float), out.plane("ERR").astype(float)
    sky = np.s_[:, :, 4:]
    assert np.nanvar(after[sky]) == pytest.approx(np.nanmean(err[sky] ** 2), rel=0.05)


# ------------------------------------------------------------------ missing values


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_missing_values_fraction_and_what_it_depends_on(make: Make, mechanism: str) -> None:
    product = make("big")
    out, record = perturbed(product, missing_values={"fraction": 0.1, "mechanism": mechanism})
    lost = np.isnan(out.plane("SCI"))
    n = lost.size
    assert record["effects"][0]["pixels_lost"] / n == pytest.approx(0.1, abs=5 * np.sqrt(0.09 / n))
    known = ~np.isnan(product.plane("SCI"))
    flux = stats.rankdata(product.plane("SCI")[known])
    rows = np.broadcast_to(np.arange(lost.shape[0])[:, None], lost.shape)[known]
    limit = 4 / np.sqrt(flux.size)
    with_flux, with_row = (np.corrcoef(lost[known], other)[0, 1] for other in (flux, rows))
    assert (with_flux > 0.1) == (mechanism == "mnar") or abs(with_flux) < limit
    assert (with_row > 0.1) if mechanism == "mar" else abs(with_row) < limit


def test_missing_values_of_integers_are_zero(make: Make) -> None:
    out, record = perturbed(make("uncal"), missing_values={"fraction": 0.02})
    assert (out.plane("SCI") == 0).sum() == record["effects"][0]["pixels_lost"] > 100


def test_missing_values_of_a_spectrum_take_its_row(make: Make) -> None:
    out, _ = perturbed(make("x1dints"), missing_values={"fraction": 0.05})
    lost = np.isnan(out.plane("EXTRACT1D", 1, "FLUX"))
    assert lost.shape == (12, 200)
    assert 60 < lost.sum() < 180
    for column in ("FLUX_ERROR", "SURF_BRIGHT", "SB_ERROR", "BACKGROUND", "FLUX_VAR_POISSON"):
        np.testing.assert_array_equal(np.isnan(out.plane("EXTRACT1D", 1, column)), lost)
    np.testing.assert_array_equal(out.plane("EXTRACT1D", 1, "DQ") == 9, lost)
    assert np.isfinite(out.plane("EXTRACT1D", 1, "WAVELENGTH")).all()


def test_flux_and_surface_brightness_share_their_noise(make: Make) -> None:
    product = make("x1d")
    out, _ = perturbed(product, read_noise={"factor": 2.0})
    flux, bright = (
        out.plane("EXTRACT1D", 1, name) - product.plane("EXTRACT1D", 1, name) for name in ("FLUX", "SURF_BRIGHT")
    )
    assert np.corrcoef(flux, bright)[0, 1] > 0.999


def test_pixels_without_data_stay(make: Make) -> None:
    product = make("i2d")
    empty = product.plane("WHT") == 0
    assert empty.any()
    out = apply(product, "nominal_l2", severity=5)[0]
    for plane in product.planes:
        before, after = product.plane(plane.extname), out.plane(plane.extname)
        np.testing.assert_array_equal(np.squeeze(after)[empty], np.squeeze(before)[empty])


# ------------------------------------------------------------------ packets


@pytest.mark.parametrize(("loss", "burst"), [(0.01, 8.0), (0.1, 4.0), (0.3, 1.0)])
def test_packets_are_lost_in_geometric_runs(loss: float, burst: float) -> None:
    stream, count = Stream(3, "packet_loss", "packet_loss", "x", "SCI,1"), 400_000
    gone = lost_packets(stream, 0, count, loss, burst)
    lost = np.zeros(count + 2, bool)
    lost[gone + 1] = True
    edges = np.flatnonzero(np.diff(lost.astype(int)))
    lengths = edges[1::2] - edges[::2]
    mean = max(burst, 1 / (1 - loss))
    assert lengths.mean() == pytest.approx(mean, rel=5 / np.sqrt(lengths.size))
    spread = np.sqrt(2 * mean * loss / count)
    assert gone.size / count == pytest.approx(loss, abs=5 * spread)
    assert np.mean(lengths == 1) == pytest.approx(1 / mean, abs=5 * np.sqrt(0.25 / lengths.size))


def test_packet_chain_starts_in_its_stationary_state() -> None:
    stream = Stream(4, "packet_loss", "packet_loss", "x", "SCI,1")
    first = [bool(set(lost_packets(stream, plane, 3, 0.2, 8.0)) & {0}) for plane in range(3000)]
    third = [bool(set(lost_packets(stream, plane, 3, 0.2, 8.0)) & {2}) for plane in range(3000)]
    for share in (np.mean(first), np.mean(third)):
        assert share == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 3000))


@pytest.mark.parametrize(("fast", "slow"), [(1, 2), (-1, 2), (1, -2), (-1, -2), (2, 1), (2, -1), (-2, 1)])
def test_packets_lie_along_the_readout(make: Make, fast: int, slow: int) -> None:
    from astropy.io import fits

    product = make("cal")
    with fits.HDUList.fromstring(product.content) as hdus:
        hdus[0].header["FASTAXIS"], hdus[0].header["SLOWAXIS"] = fast, slow
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    turned = Product(product.name, buffer.getvalue())
    out, record = perturbed(turned, packet_loss={"loss": 0.3, "packet": 100})
    lost = np.isnan(out.plane("SCI")) & ~np.isnan(turned.plane("SCI"))
    read = lost if abs(fast) == 1 else lost.T
    read = read[:: int(np.sign(slow)), :: int(np.sign(fast))]
    packets = np.array_split(read.reshape(-1), range(100, read.size, 100))
    shares = np.array([packet.mean() for packet in packets])
    assert ((shares == 0) | (shares > 0.9)).all()
    assert (shares > 0.9).sum() == record["effects"][0]["measurements"][0]["packets_lost"] > 10


@pytest.mark.parametrize(("dq", "flag"), [("flagged", True), ("silent", False)])
def test_packet_loss_tells_the_header_when_it_is_honest(make: Make, dq: str, flag: bool) -> None:
    out, record = perturbed(make("cal"), packet_loss={"loss": 0.5, "packet": 100, "dq": dq})
    assert out.keyword("DATAPROB") is flag
    assert bool(record["changes"]["headers"]) is flag


# ------------------------------------------------------------------ headers


def test_header_loss_removes_exactly_what_the_record_says(make: Make) -> None:
    product = make("cal")
    out, record = perturbed(product, header_loss={"keys": 10})
    events = record["effects"][0]["events"]
    before, after = (dict.fromkeys(block.scan.blocks[0].header) for block in (product, out))
    assert {event["keyword"] for event in events} == before.keys() - after.keys()
    assert len(events) == 10
    assert len(out.content) % 2880 == 0


def test_the_copy_of_the_keywords_may_be_lost_with_them(make: Make) -> None:
    from astropy.io import fits

    with fits.HDUList.fromstring(make("cal").content) as hdus:
        copy = fits.Column("ASDF_METADATA", "100B", array=np.zeros((1, 100), np.uint8))
        hdus.insert(2, fits.BinTableHDU.from_columns([copy], name="ASDF"))
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    product = Product("jw_cal.fits", buffer.getvalue())
    out, record = perturbed(product, header_loss={"keys": 5, "asdf": "lost"}, schema_drift={"changes": 2})
    with fits.open(io.BytesIO(out.content)) as after, fits.open(io.BytesIO(product.content)) as before:
        assert [hdu.name for hdu in after] == [hdu.name for hdu in before if hdu.name != "ASDF"]
        assert [hdu.name for hdu in after[1:3] if hdu.header["BITPIX"] == -64] == ["SCI", "ERR"]
    first, *others = record["effects"][0]["events"]
    assert first == {"hdu": 2, "lost": "ASDF"}
    assert not any(event["asdf_copy_remains"] for event in others)
    kept, _ = perturbed(product, header_loss={"keys": 10})
    assert len(fits.open(io.BytesIO(kept.content))) == len(before)


def test_header_loss_keeps_structure_and_takes_continued_cards_whole(make: Make) -> None:
    product = make("cal", checksum=True)
    out, record = perturbed(product, header_loss={"keys": 1000})
    left = set(out.scan.blocks[0].header)
    assert {"SIMPLE", "BITPIX", "NAXIS", "EXTEND", "CHECKSUM", "DATASUM"} <= left
    assert "LONGTEXT" not in left
    assert b"CONTINUE" not in out.scan.blocks[0].raw
    assert not {"TELESCOP", "DETECTOR", "TARGNAME"} & left
    assert record["changes"]["planes"] == []
