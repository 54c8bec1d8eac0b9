"""A file perturbed into a file without being in memory: the bytes and the truth are those of memory."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.fits.blocks import UnreadableFitsError
from hwosim_assets.perturb import Product, Scenario, files
from hwosim_assets.perturb.effect import Effect
from hwosim_assets.perturb.files import open_in_place, perturb_file
from hwosim_assets.perturb.fitsfile import FitsFile
from hwosim_assets.perturb.measurements import Measurement
from hwosim_assets.perturb.plan import make_plan
from hwosim_assets.perturb.product import RefusedProductError
from hwosim_assets.perturb.run import perturb_product
from hwosim_assets.perturb.scenario import load_scenario
from hwosim_assets.perturb.truth import Truth

Make = Callable[..., Product]
KINDS = ("cal", "calints", "multislit", "uncal", "s3d", "i2d", "x1d", "x1dints", "bare")


def scenario(*effects: object, **more: object) -> Scenario:
    return Scenario.from_mapping("test", {"version": 1, "seed": 7, "effects": list(effects), **more})


def both(product: Product, folder: Path, chosen: Scenario, threads: int = 1) -> bytes:
    """Return the bytes of the file that was made, after comparing them and the truth with those made in memory."""
    source, target = folder / product.name, folder / "out.fits"
    source.write_bytes(product.content)
    plan = make_plan(chosen, product.name, product.stream_time)
    truth = perturb_file(source, target, plan, threads=threads)
    out, expected = perturb_product(product, plan)
    assert target.read_bytes() == out.content
    assert truth.line() == expected.line()
    assert truth.side == expected.side
    assert sorted(path.name for path in folder.iterdir()) == sorted([product.name, "out.fits"])
    assert source.read_bytes() == product.content
    return out.content


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["nominal_l2", "everything_s3"])
def test_every_kind_of_product_is_the_same_through_files(make: Make, tmp_path: Path, kind: str, name: str) -> None:
    product = make(kind, checksum=kind in ("cal", "x1d"))
    assert both(product, tmp_path, load_scenario(name)) != product.content


@pytest.mark.parametrize("threads", [1, 2])
def test_bands_of_a_larger_frame_and_threads_are_the_same_through_files(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    from hwosim_assets.perturb import run

    monkeypatch.setattr(run, "BAND", 9000)
    chosen = scenario({"jitter": {"sigma": "40 mas"}}, {"ipc": {}}, {"cosmic_rays": {"severity": 4}}, "hot_pixels")
    assert both(make("big"), tmp_path, chosen, threads) != make("big").content


def on_miri(product: Product) -> Product:
    """Return a product as one of MIRI, whose slopes have a corner without data and an ERR that tells when it is new."""
    with fits.open(io.BytesIO(product.content)) as hdus:
        del hdus[0].header["CHANNEL"]
        hdus[0].header.update({"INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "FILTER": "F1000W"})
        if "DQ" in hdus:
            hdus["DQ"].data[..., -20:, -30:] |= np.uint32(512)
            hdus["ERR"].data[:] = np.nextafter(hdus["ERR"].data, np.float32(np.inf))
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    return Product(product.name, buffer.getvalue())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("kind", "band", "effect", "behind"),
    [
        ("big", 9000, {"showers": {"rate": "4 /s"}}, ["ipc"]),
        ("big", 1024, {"showers": {"rate": "4 /s", "err": "stale", "dq": "mixed"}}, ["ipc"]),
        ("big", 1024, {"showers": {"rate": "0.05 /s"}}, []),
        ("calints", 500, {"showers": {"rate": "100 /s", "err": "biased", "dq": "silent"}}, []),
        ("uncal", 200, {"showers": {"rate": "100 /s", "dq": "mixed"}}, ["ipc"]),
        ("big", 9000, {"stuck_value": {"length": 0.01}}, ["ipc"]),
        ("big", 1024, {"stuck_value": {"length": 1e-5}}, []),
        ("calints", 64, {"stuck_value": {"length": 0.01, "label": "from the end of a row"}}, []),
        ("calints", 64, {"stuck_value": {"length": 0.03}}, ["ipc"]),
        ("uncal", 200, {"stuck_value": {"length": 0.06}}, ["ipc"]),
        ("s3d", 100, {"wavelength_shift": {"shift": 0.5}}, []),
        ("big", 9000, {"ghosts": {"severity": 4}}, ["ipc"]),
        ("big", 1024, {"ghosts": {"severity": 5, "offset": 0.5, "err": "stale"}}, ["jitter"]),
        ("calints", 64, {"ghosts": {"severity": 5, "err": "biased"}}, []),
        ("uncal", 200, {"ghosts": {"severity": 5}}, ["ipc"]),
        ("big", 9000, {"bit_flips": {"rate": 1e-3}}, ["ipc"]),
        ("big", 1024, {"bit_flips": {"rate": 1e-5}}, []),
        ("calints", 64, {"bit_flips": {"rate": 1e-3}}, ["ipc"]),
        ("uncal", 200, {"bit_flips": {"rate": 1e-3}}, ["ipc"]),
    ],
)
def test_bands_through_files_are_what_whole_frames_are_in_memory(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, band: int, effect: dict[str, object],
    behind: list[str], threads: int,
) -> None:  # fmt: skip
    """Of effects that know which rows they look at, alone and before one that looks at neighbours."""
    product = on_miri(make(kind)) if "showers" in effect else make(kind)
    used = scenario({"missing_values": {"severity": 5}}, effect, *behind)
    told = the_same_in_bands(product, tmp_path, used, band, threads, monkeypatch)
    assert all("not_applicable" not in step["measurements"][0] for step in told.record["effects"])


def read_along_columns(product: Product) -> Product:
    """Return a product of a detector whose amplifiers read along columns."""
    with fits.open(io.BytesIO(product.content)) as hdus:
        hdus[0].header.update({"FASTAXIS": 2, "SLOWAXIS": -1, "NOUTPUTS": 4})
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    return Product(product.name, buffer.getvalue())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["big", "uncal"])
def test_rows_far_away_are_as_effects_before_left_them(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, threads: int
) -> None:
    """Of effects that look at them, one after the other, with such as draw events and look at neighbours between."""
    used = scenario(
        {"missing_values": {"severity": 5}},
        {"jitter": {"severity": 4}} if kind == "big" else {"ipc": {"severity": 5, "label": "before"}},
        {"ghosts": {"severity": 5, "label": "one"}},
        {"ghosts": {"severity": 4, "label": "another"}},
        {"cosmic_rays": {"severity": 4}},
        {"crosstalk": {"severity": 5}},
        {"ipc": {"severity": 5}},
        {"stuck_value": {"severity": 5, "label": "one"}},
        {"bit_flips": {"rate": 1e-4, "label": "one"}},
        {"stuck_value": {"severity": 5, "label": "another"}},
        {"bit_flips": {"rate": 1e-3, "label": "another"}},
    )
    product = read_along_columns(make(kind))
    told = the_same_in_bands(product, tmp_path, used, 1024 if kind == "big" else 200, threads, monkeypatch)
    assert all("not_applicable" not in step["measurements"][0] for step in told.record["effects"])
    assert all(step["events_recorded"] for step in told.record["effects"] if step["effect"] == "bit_flips")


def test_a_run_that_begins_in_rows_without_numbers_repeats_the_first_there_is(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fits.open(io.BytesIO(make("big").content)) as hdus:
        shape = hdus["SCI"].data.shape
        hdus["SCI"].data[:] = np.nan
        hdus["SCI"].data[-9:-3] = np.arange(7, 7 + 6 * shape[1]).reshape(6, -1)
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    product = Product(make("big").name, buffer.getvalue())
    told = the_same_in_bands(product, tmp_path, scenario({"stuck_value": {"length": 1.0}}), 1024, 1, monkeypatch)
    start = told.record["effects"][0]["measurements"][0]["start"]
    out = Product(product.name, (tmp_path / "out.fits").read_bytes()).plane("SCI")
    assert start < (shape[0] - 9) * shape[1]
    assert set(out[-9:-3].ravel().tolist()) == {7.0}
    assert np.isnan(out[:-9]).all()


def the_same_in_bands(
    product: Product, folder: Path, used: Scenario, band: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> Truth:
    """Return the truth of a product that was perturbed in whole frames, after comparing it with bands."""
    from hwosim_assets.perturb import run

    cut: list[int] = []
    parts = run._parts

    def seen(item: Measurement, effects: list[Effect]) -> list[run.Part]:
        found = parts(item, effects)
        cut.append(len(found) // item.frames)
        return found

    monkeypatch.setattr(run, "_parts", seen)
    monkeypatch.setattr(run, "BAND", 10**7)
    plan = make_plan(used, product.name, product.stream_time)
    whole, told = perturb_product(product, plan)
    monkeypatch.setattr(run, "BAND", band)
    assert both(product, folder, used, threads) == whole.content != product.content
    again = perturb_product(product, plan, threads=threads)[1]
    assert (again.line(), again.side) == (told.line(), told.side)
    assert cut[0] == 1
    assert min(cut[1:]) > 1
    return told


@pytest.mark.parametrize("effects", [["read_noise"], ["clock_error", "jitter"], [{"packet_loss": {"loss": 0.2}}]])
def test_an_image_a_table_and_another_image_are_written_each_in_its_way(
    make: Make, tmp_path: Path, effects: list[object]
) -> None:
    """Images are written band by band, a table in the copy of the rest, which is made before the second image is."""
    with fits.open(io.BytesIO(make("multislit").content)) as slits, fits.open(io.BytesIO(make("x1d").content)) as table:
        second = next(place for place, hdu in enumerate(slits) if hdu.ver == 2)
        slits.insert(second, table[1].copy())
        slits.append(fits.ImageHDU(np.arange(5000.0), name="OTHER"))
        buffer = io.BytesIO()
        slits.writeto(buffer)
    product = Product(make("multislit").name, buffer.getvalue())
    assert [item.sci.extname for item in product.measurements] == ["SCI", "EXTRACT1D", "EXTRACT1D", "SCI"]
    both(product, tmp_path, scenario(*effects))


@pytest.mark.parametrize("name", ["WHT", "ERR"])
def test_an_only_image_that_is_called_like_a_companion_keeps_what_was_done_to_it(tmp_path: Path, name: str) -> None:
    """It is measured, and is its own weight or error, which the effect leaves as it was."""
    primary, buffer = fits.PrimaryHDU(np.random.default_rng(1).normal(50, 3, (32, 32)).astype(np.float32)), io.BytesIO()
    primary.header["EXTNAME"] = name
    fits.HDUList([primary]).writeto(buffer)
    product = Product("jw01234001001_02101_00001_nrca1_drz.fits", buffer.getvalue())
    assert both(product, tmp_path, scenario({"stuck_value": {"severity": 5}})) != product.content


def test_a_full_disk_is_told_before_anything_is_computed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    product = make("cal")
    source = tmp_path / product.name
    product.write(source)
    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr("hwosim_assets.perturb.files.work_on", lambda *_: pytest.fail("computed"))
    with pytest.raises(HwosimError, match="No space left"):
        perturb_file(source, tmp_path / "out.fits", make_plan(scenario("read_noise"), source.name, None))
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize("refusal", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_settles_no_place_is_written_to_all_the_same(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    asked = []

    def refused(file: int, offset: int, length: int) -> None:
        asked.append(length)
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "posix_fallocate", refused)
    product = make("cal")
    assert both(product, tmp_path, scenario("read_noise")) != product.content
    assert asked == [len(product.content)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_disk_that_fills_meanwhile_is_told_and_leaves_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    product = make("calints")
    source = tmp_path / product.name
    product.write(source)
    written, pwrite = [], os.pwrite

    def filling(file: int, content: memoryview, offset: int) -> int:
        written.append(offset)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(file, content, offset)

    monkeypatch.setattr(os, "pwrite", filling)
    plan = make_plan(scenario("read_noise"), source.name, None)
    with pytest.raises(HwosimError, match="No space left"):
        perturb_file(source, tmp_path / "out.fits", plan, threads=threads)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_disk_that_is_full_when_headers_have_grown_keeps_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: FitsFile, content: memoryview) -> Iterator[bytes]:
        yield b"SIMPLE"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    product = make("cal")
    source = tmp_path / product.name
    product.write(source)
    monkeypatch.setattr(FitsFile, "parts", full)
    monkeypatch.setattr(FitsFile, "in_place", lambda *_: False)
    with pytest.raises(HwosimError, match="No space left"):
        perturb_file(source, tmp_path / "out.fits", make_plan(scenario("read_noise"), source.name, None))
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_what_is_no_file_is_not_replaced_by_one(make: Make, tmp_path: Path) -> None:
    """Such as /dev/null, which somebody with the rights to do so would lose."""
    product = make("cal")
    product.write(tmp_path / product.name)
    target = tmp_path / "pipe"
    os.mkfifo(target)
    with pytest.raises(HwosimError, match="is no regular file"):
        perturb_file(tmp_path / product.name, target, make_plan(scenario("read_noise"), product.name, None))
    assert target.is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {product.name, "pipe"}


@pytest.mark.parametrize(("effect", "held"), [("read_noise", True), ("file_bit_flips", False)])
def test_an_input_is_kept_in_memory_only_where_it_is_worked_on_in_its_file(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effect: str, held: bool
) -> None:
    asked = []
    real = files.MappedProduct

    class Watched(real):  # type: ignore[misc, valid-type]
        def __init__(self, path: Path, name: str, **more: bool) -> None:
            asked.append(more.get("held", False))
            super().__init__(path, name, **more)

    monkeypatch.setattr(files, "MappedProduct", Watched)
    product = make("cal")
    product.write(tmp_path / product.name)
    plan = make_plan(scenario({effect: {"severity": 3}}, valid_only=False), product.name, None)
    perturb_file(tmp_path / product.name, tmp_path / "out.fits", plan)
    assert asked[0] is held


def test_headers_that_grow_or_shrink_move_what_lies_behind(make: Make, tmp_path: Path) -> None:
    """Losing 60 of a hundred cards takes a block away from the primary header."""
    with fits.open(io.BytesIO(make("cal").content)) as hdus:
        hdus[0].header.update({f"KEY{number}": number for number in range(70)})
        buffer = io.BytesIO()
        hdus.writeto(buffer, checksum=True)
    product = Product(make("cal").name, buffer.getvalue())
    out = both(product, tmp_path, scenario({"header_loss": {"keys": 60}}, "read_noise"))
    assert len(out) < len(product.content)


def test_packed_products_and_damaged_files_go_through_memory(make: Make, tmp_path: Path) -> None:
    packed = Product("jw01234001001_02101_00001_nrca1_cal.fits.gz", make("cal", packed=True).content)
    assert both(packed, tmp_path, scenario("read_noise"))[:2] == b"\x1f\x8b"
    (tmp_path / packed.name).unlink()
    damaged = both(make("cal"), tmp_path, scenario({"file_damage": {"severity": 5}}, valid_only=False))
    assert damaged != make("cal").content


def test_a_plan_that_does_nothing_copies(make: Make, tmp_path: Path) -> None:
    assert both(make("cal"), tmp_path, scenario({"read_noise": {"severity": 0}})) == make("cal").content
    noise_of_nothing = scenario({"packet_loss": {"loss": 1e-12}})
    assert both(make("cal"), tmp_path, noise_of_nothing) == make("cal").content


def test_a_file_that_fails_leaves_nothing_behind(make: Make, tmp_path: Path) -> None:
    source, target = tmp_path / "jw01234001001_02101_00001_nrca1_cal.fits", tmp_path / "out.fits"
    plan = make_plan(scenario("read_noise"), source.name, None)
    with pytest.raises(BadInputError, match="No such file"):
        perturb_file(source, target, plan)
    for content, error in ((b"", UnreadableFitsError), (b"<html></html>", UnreadableFitsError)):
        source.write_bytes(content)
        with pytest.raises(error):
            perturb_file(source, target, plan)
    source.write_bytes(make("cal").content[:100_000])
    with pytest.raises(UnreadableFitsError):
        perturb_file(source, target, plan)
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU()]).writeto(buffer)
    source.write_bytes(buffer.getvalue())
    with pytest.raises(RefusedProductError):
        perturb_file(source, target, plan)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]
    source.write_bytes(make("cal").content)
    with pytest.raises(HwosimError, match="absent"):
        perturb_file(source, tmp_path / "absent" / "out.fits", plan)


def test_a_product_in_its_file_answers_as_one_in_memory(make: Make, tmp_path: Path) -> None:
    product = make("cal")
    source = tmp_path / product.name
    product.write(source)
    there = open_in_place(source)
    assert (there.sha256, there.stream_time, there.keyword("DETECTOR")) == (product.sha256, 60000.5, "NRCA1")
    np.testing.assert_array_equal(there.plane("SCI"), product.plane("SCI"))
    there.release()
    np.testing.assert_array_equal(there.plane("DQ"), product.plane("DQ"))


# --------------------------------------------------------------- what a product may hold


def test_integers_at_the_end_of_their_range_are_clipped_and_never_wrap(tmp_path: Path) -> None:
    """A ramp of 16 bits that is nearly full: an added background saturates it, it does not start again at 0."""
    ramp = np.full((1, 4, 32, 40), 65530, np.uint16)
    ramp[0, :, 16:] = np.array([5, 4, 3, 2])[:, None, None]
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "NIRCAM", "CHANNEL": "SHORT", "DETECTOR": "NRCA1", "TGROUP": 10.0})
    buffer = io.BytesIO()
    fits.HDUList([primary, fits.ImageHDU(ramp, name="SCI")]).writeto(buffer)
    product = Product("jw01234001001_02101_00001_nrca1_uncal.fits", buffer.getvalue())
    out = Product("out.fits", both(product, tmp_path, scenario({"read_noise": {"factor": 50}})))
    added = out.plane("SCI").astype(int) - ramp
    assert out.plane("SCI").max() == 65535
    assert out.plane("SCI").min() == 0
    assert np.abs(added).max() < 3000, "a value that wraps differs by 65 536"


@pytest.mark.parametrize("absent", ["ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"])
def test_a_plane_that_is_missing_is_missing_afterwards_and_the_others_agree(
    make: Make, tmp_path: Path, absent: str
) -> None:
    with fits.open(io.BytesIO(make("cal").content)) as hdus:
        del hdus[absent]
        buffer = io.BytesIO()
        hdus.writeto(buffer)
    product = Product(make("cal").name, buffer.getvalue())
    out = Product(product.name, both(product, tmp_path, scenario("read_noise", "background", "missing_values")))
    assert [plane.name for plane in out.planes] == [plane.name for plane in product.planes]
    assert np.isfinite(out.plane("SCI")).mean() > 0.98
    if absent != "ERR":
        kept = np.isfinite(out.plane("SCI"))
        assert np.nanmedian(out.plane("ERR")[kept] / product.plane("ERR")[kept]) > 1
