"""The truth: replayed, checked, and caught when it is not the truth."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scenes import scene

from hwosim_assets.cli import main
from hwosim_assets.errors import BadInputError
from hwosim_assets.perturb import Product, Scenario, apply, replay, side, unsaid
from hwosim_assets.perturb.proof import diff
from hwosim_assets.perturb.truth import Truth, read_truth

Make = Callable[..., Product]


def test_the_side_file_lists_every_lost_pixel(make: Make) -> None:
    product = make("calints")
    out, truth = apply(product, "ground_segment_bad_day", severity=5)
    table = truth.runs()
    lost = np.zeros((3, 40 * 64), bool)
    for row in table.to_pylist():
        lost[row["frame"], row["start"] : row["start"] + row["length"]] = True
    after = np.isnan(out.plane("SCI")).reshape(3, -1)
    np.testing.assert_array_equal(after, lost | np.isnan(product.plane("SCI")).reshape(3, -1))
    counted = sum(step["pixels_lost"] for step in truth.record["effects"])
    assert counted == table["length"].to_numpy().sum()


def test_the_side_file_says_the_same_in_groups_of_any_size(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = []
    for rows in (1 << 20, 100, 7):
        monkeypatch.setattr(side, "_GROUP", rows)
        truth = apply(make("calints"), "everything_s3", seed=4)[1]
        assert truth.side is not None
        tables.append(side.side_table(truth.side))
    assert tables[0].num_rows > 500
    assert len(set(tables[0]["kind"].to_pylist())) > 2
    for table in tables[1:]:
        assert table.schema == tables[0].schema
        assert table.to_pylist() == tables[0].to_pylist()


def test_a_record_is_one_line_that_says_everything(make: Make) -> None:
    _, truth = apply(make("cal"), "nominal_l2", severity=2)
    record = json.loads(truth.line())
    assert "\n" not in truth.line()
    assert {
        "in_sha256",
        "out_sha256",
        "plan_sha256",
        "engine",
        "rng",
        "scale",
        "numpy",
        "seed",
        "plan",
    } <= record.keys()
    assert record["budgets"][0]["k_method"].startswith("VAR_POISSON")
    assert all(step["measurements"][0]["key"] for step in record["effects"])
    assert 0.2 < record["summary"][0]["snr_loss_median"] < 0.5
    assert "nominal" not in truth.line()


def summary_of(product: Product, *effects: object) -> dict[str, float]:
    content = {"version": 1, "seed": 3, "effects": list(effects)}
    found: dict[str, float] = apply(product, Scenario.from_mapping("test", content))[1].record["summary"][0]
    return found


@pytest.mark.parametrize("kind", ["cal", "calints", "x1d", "s3d"])
@pytest.mark.parametrize("blurred", [False, True])
def test_an_err_that_says_nothing_hides_the_loss_from_those_who_believe_it_and_not_from_the_record(
    make: Make, kind: str, blurred: bool
) -> None:
    """Bands of whole rows, where an effect looks at neighbours, see what chunks see."""
    beside = [{"jitter": {"severity": 1}}] if blurred and kind in ("cal", "calints") else []
    told, hidden, half = (
        summary_of(make(kind), {"gaussian_noise": {"sigma": 2.0, **switch}}, *beside)
        for switch in ({}, {"err": "stale"}, {"err": "biased", "err_factor": 0.5})
    )
    assert told["snr_loss_median"] == pytest.approx(1 - 5**-0.5, abs=0.01)
    assert told["snr_loss_true_median"] == told["snr_loss_median"]
    assert hidden["snr_loss_median"] == pytest.approx(0.0, abs=0.01)
    assert half["snr_loss_median"] == pytest.approx(1 - 2**-0.5, abs=0.01)
    for found in (hidden, half):
        assert found["snr_loss_true_median"] == pytest.approx(told["snr_loss_true_median"], abs=1e-5)


def test_pixels_without_data_lose_nothing_whatever_err_says(make: Make) -> None:
    with fits.open(io.BytesIO(make("cal").content)) as hdus:
        hdus["DQ"].data[: hdus["DQ"].shape[0] * 3 // 5] |= np.uint32(512)
        hdus.writeto(buffer := io.BytesIO())
    product = Product(make("cal").name, buffer.getvalue())
    told, hidden = (
        summary_of(product, {"gaussian_noise": {"sigma": 2.0, "err": err}}) for err in ("consistent", "stale")
    )
    assert hidden["snr_loss_true_median"] == pytest.approx(told["snr_loss_median"], abs=1e-5)


def test_light_that_is_lost_takes_its_noise_with_it_though_err_does_not_say_so(make: Make) -> None:
    told, hidden = (
        summary_of(make("big"), {"throughput": {"loss": 0.5, "err": err}}) for err in ("consistent", "stale")
    )
    assert hidden["snr_loss_median"] == pytest.approx(0.5, abs=1e-6)
    assert hidden["snr_loss_true_median"] < 0.5
    assert hidden["snr_loss_true_median"] == pytest.approx(told["snr_loss_median"], abs=0.001)


@pytest.mark.parametrize("beside", [[], [{"jitter": {"severity": 1}}]])
@pytest.mark.parametrize("frames", [1, 3])
def test_the_true_loss_is_that_of_the_same_pixels_where_not_all_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, beside: list[object], frames: int
) -> None:
    """However they come: in chunks, or in bands of rows with margins. Each pixel keeps another share of its noise."""
    monkeypatch.setattr(unsaid, "_SAMPLE", 1000)
    monkeypatch.setattr("hwosim_assets.perturb.run.BAND", 2048)
    monkeypatch.setattr("hwosim_assets.perturb.run.CHUNK", 3000)
    product = scene(np.random.default_rng(1).uniform(1, 400, (frames, 150, 257)), read=0.05, name="calints")
    told, hidden = (
        summary_of(product, {"throughput": {"loss": 0.5, "err": err}}, *beside) for err in ("consistent", "stale")
    )
    assert told["snr_loss_median"] < 0.45
    assert hidden["snr_loss_true_median"] == pytest.approx(told["snr_loss_median"], abs=1e-5)
    assert hidden["snr_loss_median"] > 0.48


def test_replay_refuses_another_input_and_another_version(make: Make) -> None:
    product = make("cal")
    _, truth = apply(product, "nominal_l2")
    with pytest.raises(BadInputError, match="not the input"):
        replay(truth, make("calints"))
    with pytest.raises(BadInputError, match="use that version"):
        replay(Truth({**truth.record, "engine": "0"}), product)
    with pytest.raises(BadInputError, match="no plan"):
        replay(Truth({**truth.record, "plan": {}}), product)


def _edited(product: Product, name: str, change: Callable[[np.ndarray], None]) -> Product:
    payload = bytearray(product.content)
    plane = next(plane for plane in product.planes if plane.extname == name)
    change(plane.raw(payload))
    return Product(product.name, bytes(payload))


@pytest.mark.parametrize(
    ("name", "finding"),
    [("AREA", "not in the record"), ("SCI", "other values than recorded"), ("DQ", "not in the record")],
)
def test_a_secret_change_is_found(make: Make, name: str, finding: str) -> None:
    with fits.open(io.BytesIO(make("cal").content)) as hdus:
        hdus.append(fits.ImageHDU(np.ones((96, 128), np.float32), name="AREA"))
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    product = Product("x_cal.fits", buffer.getvalue())
    out, truth = apply(product, "nominal_l2")
    assert diff(product, out, truth).accounted

    def change(raw: np.ndarray) -> None:
        raw[50, 60] += 1

    verdict = diff(product, _edited(out, name, change), truth)
    assert not verdict.accounted
    assert any(finding in text for text in verdict.findings)


def test_what_differs_beside_a_lost_hdu_is_listed_and_found(make: Make) -> None:
    """An HDU that is gone does not hide what happened to the others."""
    with fits.HDUList.fromstring(make("cal").content) as hdus:
        hdus.insert(1, fits.ImageHDU(np.ones((4, 5), np.float32), name="ASDF"))
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    product = Product(make("cal").name, buffer.getvalue())
    effects = [{"read_noise": {"severity": 3}}, {"header_loss": {"severity": 5, "asdf": "lost"}}]
    alone, out = (
        apply(product, Scenario.from_mapping("test", {"version": 1, "seed": 3, "effects": effects[:number]}))
        for number in (1, 2)
    )
    changes = out[1].record["changes"]
    assert changes["other"] == ["8 HDUs became 7", "HDUs gone: 1 ASDF"]
    assert [change["name"] for change in changes["planes"]] == ["SCI,1", "ERR,1", "VAR_RNOISE,1"]
    assert changes["planes"] == alone[1].record["changes"]["planes"]
    removed = [card for change in changes["headers"] for card in change["removed"]]
    assert removed
    assert set(removed) == {
        card for event in out[1].record["effects"][1]["events"] for card in event.get("removed", [])
    }
    assert diff(product, out[0], out[1]).accounted

    def change(raw: np.ndarray) -> None:
        raw[50, 60] += 1

    findings = diff(product, _edited(out[0], "VAR_FLAT", change), out[1]).findings
    assert any("VAR_FLAT,1 (HDU 7) differ" in text for text in findings)


def test_hdus_of_one_name_are_compared_in_their_order(make: Make) -> None:
    product = make("x1dints")
    scenario = {"version": 1, "seed": 3, "effects": [{"schema_drift": {"severity": 1, "kind": "layout"}}]}
    out, truth = apply(product, Scenario.from_mapping("test", scenario))
    assert truth.record["changes"]["other"][:2] == ["2 HDUs became 13", "HDUs added: 11 EXTRACT1D"]
    back = apply(out, Scenario.from_mapping("test", scenario))[1].record["changes"]
    assert back["other"][:2] == ["13 HDUs became 2", "HDUs gone: 11 EXTRACT1D"]


def test_a_change_that_was_taken_back_and_a_secret_card_are_found(make: Make) -> None:
    product = make("cal")
    out, truth = apply(product, "ground_segment_bad_day", severity=5)
    before = product.plane("SCI")

    def restore(raw: np.ndarray) -> None:
        raw[...] = before

    findings = diff(product, _edited(out, "SCI", restore), truth).findings
    assert any("recorded but not found" in text for text in findings)
    quiet, truth = apply(product, "nominal_l2")
    secret = Product(quiet.name, quiet.content.replace(b"'M-31    '", b"'M-32    '"))
    assert any("header of HDU 0" in text for text in diff(product, secret, truth).findings)
    assert not diff(make("calints"), out, truth).accounted


def test_a_secret_string_in_a_table_is_found(make: Make) -> None:
    product = make("x1d")
    out, truth = apply(product, "nominal_l2")
    secret = Product(out.name, out.content.replace(b"abc", b"abd", 1))
    assert any("outside the numeric arrays" in text for text in diff(product, secret, truth).findings)


# ------------------------------------------------------------------ commands


def run(*arguments: object) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def test_perturb_replay_and_diff_from_the_shell(make: Make, tmp_path: Path, state: Path) -> None:
    source, out, again, record = (tmp_path / name for name in ("x_cal.fits", "out.fits", "again.fits", "t.jsonl"))
    source.write_bytes(make("cal").content)
    named = ("--scenario", "ground_segment_bad_day", "--severity", 5, "--seed", 3, "--truth", record)
    assert run("perturb", source, out, *named) == 0
    assert out.read_bytes() != source.read_bytes()
    assert run("replay", record, source, again) == 0
    assert again.read_bytes() == out.read_bytes()
    assert run("truth", "diff", source, out, "--truth", record) == 0
    assert read_truth(record, Product.open(source).sha256).runs() is not None
    damaged = bytearray(out.read_bytes())
    damaged[-4000] ^= 1
    again.write_bytes(bytes(damaged))
    assert run("truth", "diff", source, again, "--truth", record) == 1


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("plan", "effects", 0, "parameters", "factor"), "x", "holds another plan than it was written with"),
        (("plan", "effects", 0, "parameters", "factor"), 4.0, "holds another plan than it was written with"),
        (("plan", "seed"), 8, "holds another plan than it was written with"),
        (("changes",), 3, "is no truth record: changes"),
        (("changes", "planes", 0), {"name": "SCI,1"}, "is no truth record: changes.planes.0"),
        (("out_sha256",), None, "is no truth record: out_sha256"),
        (("earlier",), "x", "is no truth record: earlier"),
        (("earlier",), [{"product": "a"}], "is no truth record: earlier.0"),
    ],
)
def test_a_record_that_was_spoilt_is_refused_where_it_is_read(
    make: Make, tmp_path: Path, place: tuple[str | int, ...], value: object, words: str
) -> None:
    product = make("cal")
    _, truth = apply(product, Scenario.from_mapping("test", {"version": 1, "effects": [{"read_noise": {"factor": 2}}]}))
    path = tmp_path / "t.jsonl"
    truth.write(path)
    assert read_truth(path, product.sha256).record == truth.record
    record = json.loads(truth.line())
    part = record
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    path.write_text(json.dumps(record))
    with pytest.raises(BadInputError, match=words):
        read_truth(path, product.sha256)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("perturb", "absent.fits", "out.fits", "--scenario", "clean"), 1),
        (("perturb", "x_cal.fits", "x_cal.fits", "--scenario", "clean"), 1),
        (("perturb", "x_cal.fits", "out.fits", "--scenario", "nominal_12"), 1),
        (("perturb", "x_cal.fits", "no/such/folder/out.fits", "--scenario", "clean"), 1),
        (("perturb", "x_cal.fits", "out.fits"), 2),
        (("perturb", "x_cal.fits", "out.fits", "--scenario", "clean", "--severity", "a"), 2),
        (("replay", "absent.jsonl", "x_cal.fits", "out.fits"), 1),
        (("replay", "x_cal.fits", "x_cal.fits", "out.fits"), 1),
    ],
)
def test_failures_are_one_line_and_a_status(
    make: Make, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], status: int,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("x_cal.fits").write_bytes(make("cal").content)
    assert run(*arguments) == status
    if status == 1:
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not Path("out.fits").exists()


def test_effects_and_scenarios_are_listed(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HWOSIM_SCENARIO_PATH", str(tmp_path))
    (tmp_path / "solar.max.yaml").write_text("version: 1\n")
    assert run("effects", "--json") == 0
    assert {spec["name"] for spec in json.loads(capsys.readouterr().out)} >= {
        "read_noise",
        "packet_loss",
        "header_loss",
    }
    assert run("scenarios", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in listed["broken"]] == ["solar.max"]
    assert run("scenario", "show", "nominal_l2", "--severity", "2", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    resolved = {step["effect"]: step["parameters"] for step in shown["resolved"]}
    assert resolved["background"] == {"factor": 1.5}
    for arguments in (("effects",), ("effects", "packet_loss"), ("scenarios",), ("scenario", "show", "clean")):
        assert run(*arguments) == 0
    assert "Gilbert" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "resampled"), [("i2d", True), ("s3d", True), ("cal", False)])
def test_the_record_says_where_noise_between_neighbours_is_not_kept(make: Make, kind: str, resampled: bool) -> None:
    _, truth = apply(make(kind), "nominal_l2")
    notes = [note for step in truth.record["effects"] for note in step["measurements"]]
    assert {note.get("resampled", False) for note in notes} == {resampled}


@pytest.mark.parametrize("effect", ["throughput", "wavelength_shift", "fringing"])
def test_the_truth_of_many_spectra_grows_as_their_number(effect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hwosim_assets.perturb.planes import Plane

    looks = 0

    def looked(plane: Plane) -> int:
        nonlocal looks
        looks += 1
        return int(plane.__dict__["hdu"])

    monkeypatch.setattr(Plane, "hdu", property(looked, lambda plane, hdu: plane.__dict__.update(hdu=hdu)), False)

    def looks_at(spectra: int) -> int:
        nonlocal looks
        columns = [fits.Column(name, "D", array=np.arange(1.0, 5)) for name in ("WAVELENGTH", "FLUX", "FLUX_ERROR")]
        tables = [fits.BinTableHDU.from_columns(columns, name="EXTRACT1D", ver=1 + n) for n in range(spectra)]
        buffer, looks = io.BytesIO(), 0
        fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(buffer)
        scenario = Scenario.from_mapping("dim", {"version": 1, "effects": [effect]})
        _, truth = apply(Product("jw01234001001_02101_00001_nrs1_x1d.fits", buffer.getvalue()), scenario)
        assert len(truth.record["changes"]["planes"]) >= spectra
        return looks

    assert looks_at(60) < 2.1 * looks_at(30)
