"""The sample's files: complete, well-formed, named and keyed as JWST's, the same bytes for the same seed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner

from hwosim_assets.archive.sample import SampleSummary, write_sample
from hwosim_assets.commands.sample import sample as command
from hwosim_assets.errors import BadInputError, HwosimError
from hwosim_assets.fits.names import parse_name

KINDS = {"uncal", "rate", "rateints", "cal", "calints", "i2d", "s2d", "s3d", "x1d", "x1dints"}


def _digests(summary: SampleSummary) -> dict[str, str]:
    return {str(file.path.relative_to(summary.root)): file.sha256 for file in summary.files}


def test_the_default_sample_has_every_kind_and_instrument(sample: SampleSummary) -> None:
    assert {file.product_type for file in sample.files} == KINDS
    assert {file.instrument for file in sample.files} == {"NIRCAM", "NIRSPEC", "MIRI", "NIRISS", "FGS"}
    assert sample.programs == ("97001", "97002", "97003")
    assert 25 <= len(sample.files) <= 40
    assert sample.size_bytes < 20e6
    assert all(file.path.stat().st_size == file.size_bytes for file in sample.files)


def test_names_and_headers_say_the_same(sample: SampleSummary) -> None:
    for file in sample.files:
        name, header = parse_name(file.path.name), fits.getheader(file.path)
        assert name is not None, file.path.name
        assert name.program == file.program == header["PROGRAM"]
        assert name.product_type == file.product_type
        assert header["FILENAME"] == file.path.name
        assert header["VISIT_ID"] == header["PROGRAM"] + header["OBSERVTN"] + header["VISIT"]
        assert header["ORIGIN"] == "HWOSIM"
        assert header["SIMULATE"] is True
        assert header["DETECTOR"] == file.detector
        if name.detector:
            assert name.detector.upper() == header["DETECTOR"]
            stem = f"jw{header['VISIT_ID']}_{header['VISITGRP']}{header['SEQ_ID']}{header['ACT_ID']}"
            assert file.path.name.startswith(f"{stem}_{int(header['EXPOSURE']):05d}")


def test_astropy_finds_nothing_to_mend_and_checksums_hold(sample: SampleSummary) -> None:
    for file in sample.files:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with fits.open(file.path, checksum=True) as hdus:
                hdus.verify("exception")
                assert all("CHECKSUM" in hdu.header and "DATASUM" in hdu.header for hdu in hdus)
                assert hdus[0].data is None
                assert hdus[1].name in ("SCI", "EXTRACT1D")


def test_fitsverify_finds_no_error(sample: SampleSummary) -> None:
    program = shutil.which("fitsverify")
    if program is None:
        pytest.skip("fitsverify is not installed (Debian package fitsverify)")
    run = subprocess.run(
        [program, "-e", "-q", *(str(file.path) for file in sample.files)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("verification OK") == len(sample.files)


def test_both_layouts_of_time_series_spectra_are_there_in_different_programs(sample: SampleSummary) -> None:
    layouts = {}
    for file in sample.files:
        if file.product_type == "x1dints":
            with fits.open(file.path) as hdus:
                layouts[file.program] = [hdu.name for hdu in hdus].count("EXTRACT1D")
                assert hdus[0].header["NINTS"] in (layouts[file.program], len(hdus["EXTRACT1D"].data))
    assert sorted(layouts.values()) == [1, 10]


def test_planes_have_the_types_and_shapes_that_jwst_promises(sample: SampleSummary) -> None:
    for file in sample.files:
        with fits.open(file.path) as hdus:
            if file.product_type == "uncal":
                header = hdus[0].header
                size = (header["NINTS"], header["NGROUPS"], header["SUBSIZE2"], header["SUBSIZE1"])
                assert hdus["SCI"].data.shape == size
                assert hdus["SCI"].data.dtype == np.uint16
                assert len(hdus["GROUP"].data) == size[0] * size[1]
            elif file.product_type not in ("x1d", "x1dints"):
                sci = hdus["SCI"]
                names = [hdu.name for hdu in hdus]
                for other in ("ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "DQ", "WHT"):
                    assert other not in names or hdus[other].data.shape == sci.data.shape
                assert sci.data.dtype == np.dtype(">f4")
                assert ("DQ" in names) == (file.product_type not in ("i2d", "s2d"))
                if "DQ" in names:
                    unusable = (hdus["DQ"].data & 1) != 0
                    assert hdus["DQ"].data.dtype == np.uint32
                    for plane in {"SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"} & set(names):
                        np.testing.assert_array_equal(np.isnan(hdus[plane].data), unusable)


def test_resampled_images_are_blank_where_nothing_was_seen(sample: SampleSummary) -> None:
    for file in sample.files:
        if file.product_type == "i2d":
            with fits.open(file.path) as hdus:
                unseen = hdus["WHT"].data == 0
                assert unseen[0].all()
                assert not unseen.all()
                for plane in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"):
                    np.testing.assert_array_equal(np.isnan(hdus[plane].data), unseen)
                np.testing.assert_array_equal(hdus["CON"].data[0] == 0, unseen)
                assert int(hdus["CON"].data.max()) == 2 ** hdus[0].header["NDRIZ"] - 1


def test_times_agree_with_each_other(sample: SampleSummary) -> None:
    for file in sample.files:
        with fits.open(file.path) as hdus:
            header = hdus[0].header
            start, end = header["EXPSTART"], header["EXPEND"]
            assert header["EXPMID"] == pytest.approx((start + end) / 2, abs=1e-9)
            assert header["EFFINTTM"] == pytest.approx(header["NGROUPS"] * header["TGROUP"])
            if header.get("NDRIZ", 1) == 1:
                assert (end - start) * 86400 == pytest.approx(header["DURATION"], abs=1e-4)
                assert header["EFFEXPTM"] == pytest.approx(header["NINTS"] * header["EFFINTTM"])
            if "INT_TIMES" not in hdus:
                continue
            times = hdus["INT_TIMES"].data
            assert len(times) == header["NINTS"]
            assert times["int_start_MJD_UTC"][0] == pytest.approx(start, abs=1e-9)
            assert times["int_end_MJD_UTC"][-1] == pytest.approx(end, abs=1e-9)
            for scale in ("MJD_UTC", "BJD_TDB"):
                begin, middle, last = (times[f"int_{when}_{scale}"] for when in ("start", "mid", "end"))
                assert (begin < middle).all()
                assert (middle < last).all()
                assert (last[:-1] < begin[1:]).all()
            length = (times["int_end_MJD_UTC"] - times["int_start_MJD_UTC"]) * 86400
            np.testing.assert_allclose(length, header["EFFINTTM"], atol=1e-4)


def test_groups_are_read_in_time_order_within_the_exposure(sample: SampleSummary) -> None:
    for file in sample.files:
        if file.product_type == "uncal":
            with fits.open(file.path) as hdus:
                ends = [np.datetime64(text) for text in hdus["GROUP"].data["group_end_time"]]
                assert all(first < second for first, second in pairwise(ends))
                gap = abs(ends[-1] - np.datetime64(hdus[0].header["DATE-END"]))
                assert gap <= np.timedelta64(1, "ms")


def test_every_file_is_accounted_for_in_the_truth(sample: SampleSummary) -> None:
    told: list[str] = []
    for path in sample.truth:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["program"] == path.stem
        for entry in record["observations"]:
            told += entry["files"]
            assert entry["noise"]["gain_electrons_per_dn"] > 0
    assert sorted(told) == sorted(file.path.name for file in sample.files)


def test_the_same_seed_gives_the_same_bytes_on_another_processor(sample: SampleSummary, tmp_path: Path) -> None:
    code = "import sys; from hwosim_assets.cli import main; main(['sample', sys.argv[1]])"
    plain = {
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3 AVX512_ICL AVX512_SKX AVX512F AVX2 FMA3",
        "OPENBLAS_CORETYPE": "Nehalem",
    }
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        check=True,
        env={**os.environ, **plain, "OPENBLAS_NUM_THREADS": "1", "TZ": "Asia/Tokyo"},
    )
    written = sorted(path.relative_to(sample.root) for path in sample.root.rglob("*") if path.is_file())
    assert written == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for path in written:
        assert (sample.root / path).read_bytes() == (tmp_path / path).read_bytes(), path


def test_another_seed_gives_other_skies_and_noise_under_the_same_names(sample: SampleSummary, tmp_path: Path) -> None:
    other = write_sample(tmp_path, programs=1, seed=2)
    mine = {name: digest for name, digest in _digests(sample).items() if name.startswith("jw97001")}
    assert _digests(other).keys() == mine.keys()
    assert not set(_digests(other).values()) & set(mine.values())


def test_further_programs_get_numbers_of_their_own(tmp_path: Path) -> None:
    told: list[str] = []
    summary = write_sample(tmp_path, programs=4, on_file=lambda file: told.append(file.path.name))
    assert summary.programs == ("97001", "97002", "97003", "97004")
    assert told == [file.path.name for file in summary.files]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize("arguments", [{"programs": 0}, {"programs": 1000}, {"size": "huge"}, {"seed": -1}])
def test_bad_arguments_are_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        write_sample(tmp_path / "x", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(HwosimError, match="cannot be written"):
        write_sample(tmp_path / "file", programs=1)


def test_the_command_prints_what_it_wrote_whatever_programs_follow(sample: SampleSummary, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path), "--programs", "1", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["size_bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.fits"))
    first = [file.sha256 for file in sample.files if file.program == "97001"]
    assert [file["sha256"] for file in told["files"]] == first
