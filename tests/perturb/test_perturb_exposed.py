"""Times of integrations and groups: GROUP before INT_TIMES before the readout pattern, and none that cannot be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

from hwosim_assets.perturb.exposed import delivered_times, exposed_times
from hwosim_assets.perturb.product import Product

#: 3 integrations of 4 groups, each the mean of 2 frames of 10 s with a gap of 1, one reset between.
PATTERN = {"NINTS": 3, "NGROUPS": 4, "NFRAMES": 2, "GROUPGAP": 1, "TFRAME": 10.0, "NRESETS": 1}
START = 60000.0
INTEGRATION_S = (3 * 3 + 2) * 10.0
SPACING_S = INTEGRATION_S + 10.0
END = START + (2 * SPACING_S + INTEGRATION_S) / 86400


def product(
    shape: tuple[int, ...] = (3, 4, 2, 2), group: list[Any] | None = None, ints: Any = None, **keywords: Any
) -> Product:
    primary = fits.PrimaryHDU()
    primary.header.update({**PATTERN, "EXPSTART": START, "EXPEND": END, **keywords})
    hdus = [primary, fits.ImageHDU(np.zeros(shape, np.float32), name="SCI")]
    if group is not None:
        numbers = [np.array([row[axis] for row in group], np.int16) for axis in (0, 1)]
        columns = [fits.Column(f"{name}_number", "I", array=array)
                   for name, array in zip(("integration", "group"), numbers, strict=True)]  # fmt: skip
        times = np.array([row[2] for row in group])
        hdus.append(fits.BinTableHDU.from_columns([*columns, fits.Column("group_end_time", "26A", array=times)]))
        hdus[-1].name = "GROUP"
    if ints is not None:
        columns = [fits.Column(f"int_{name}_MJD_UTC", "D", array=np.asarray(ints)[:, number])
                   for number, name in enumerate(("start", "end"))]  # fmt: skip
        hdus.append(fits.BinTableHDU.from_columns(columns, name="INT_TIMES"))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return Product("jw00001001001_02101_00001_nrca1_uncal.fits", buffer.getvalue())


def group_table(second: float = 5.0, integrations: int = 3) -> list[tuple[int, int, str]]:
    return [
        (integration, group, Time(START + (100 * integration + second * group) / 86400, format="mjd").isot)
        for integration in range(1, integrations + 1)
        for group in range(1, 5)
    ]


def seconds(times: Any) -> Any:
    return np.round((times.ends - START) * 86400, 2)


PLAUSIBLE = [[START + number / 500, START + number / 500 + 105 / 86400] for number in range(3)]


def test_group_is_trusted_first() -> None:
    found = exposed_times(product(group=group_table(), ints=PLAUSIBLE), "uncal")
    assert found is not None
    assert found.by == "GROUP"
    assert np.array_equal(seconds(found), [[100 * i + 5 * g for g in range(1, 5)] for i in range(1, 4)])


@pytest.mark.parametrize(
    "table",
    [
        group_table(second=0.0),  # repeats
        group_table(integrations=2),  # lacks one
        [(i, g, "N/A") for i, g, _time in group_table()],
        [],
    ],
)
def test_a_group_table_that_cannot_be_is_passed_over(table: list[Any]) -> None:
    found = exposed_times(product(group=table, ints=PLAUSIBLE), "uncal")
    assert found is not None
    assert found.by == "INT_TIMES"
    # The groups are counted from the start of their integration, and end with it.
    assert np.allclose(seconds(found)[1], 172.8 + np.array([20, 50, 80, 105]), atol=0.01)


def test_integrations_end_as_their_table_says_and_a_segment_takes_its_rows() -> None:
    found = exposed_times(product((3, 2, 2), ints=PLAUSIBLE), "rateints")
    assert found is not None
    assert (found.by, found.ends.tolist()) == ("INT_TIMES", [[end] for _start, end in PLAUSIBLE])
    segment = exposed_times(product((2, 2, 2), ints=PLAUSIBLE, INTSTART=2, INTEND=3), "calints")
    assert segment is not None
    assert segment.ends.tolist() == [[end] for _start, end in PLAUSIBLE[1:]]


@pytest.mark.parametrize("ints", [None, [[START, START]] * 3, [[np.nan, np.nan]] * 3, [[0.0, 0.0]] * 3])
def test_else_the_pattern_is_counted_from_the_start(ints: Any) -> None:
    found = exposed_times(product(ints=ints), "uncal")
    assert found is not None
    assert found.by == "EXPSTART"
    assert np.allclose(seconds(found), [[120 * i + g for g in (20, 50, 80, 110)] for i in range(3)], atol=0.01)
    combined = exposed_times(product((3, 2, 2), ints=ints), "rateints")
    assert combined is not None
    assert np.allclose(seconds(combined), [[120 * i + 110] for i in range(3)], atol=0.01)
    segment = exposed_times(product((2, 4, 2, 2), ints=ints, INTSTART=2), "uncal")
    assert segment is not None
    assert np.allclose(seconds(segment)[0], [140, 170, 200, 230], atol=0.01)  # all segments share one EXPSTART


def test_a_pattern_that_does_not_end_at_expend_is_not_believed() -> None:
    found = exposed_times(product(TFRAME=7.0), "uncal")
    assert found is not None
    assert found.by == "EXPSTART..EXPEND"
    assert np.allclose(np.diff(found.ends.reshape(-1)), (END - START) / 12)
    assert found.ends[-1, -1] == pytest.approx(END)


@pytest.mark.parametrize(("shape", "kind"), [((2, 4, 2, 2), "uncal"), ((2, 2, 2), "rateints")])
def test_a_segment_without_a_pattern_takes_its_part_of_the_exposure(shape: tuple[int, ...], kind: str) -> None:
    found = exposed_times(product(shape, TFRAME=None, NINTS=8, INTSTART=4, INTEND=5), kind)
    assert found is not None
    assert found.by == "EXPSTART..EXPEND"
    groups = found.ends.shape[1]
    shares = (3 + np.arange(1, 2 * groups + 1).reshape(2, groups) / groups) / 8
    assert np.allclose(found.ends, START + (END - START) * shares, rtol=0, atol=1e-9)


def test_what_has_no_integrations_or_no_times_has_none() -> None:
    assert exposed_times(product((2, 2)), "cal") is None
    assert exposed_times(product((5, 2, 2)), "s3d") is None  # wavelengths
    assert exposed_times(product(EXPSTART=0.0, EXPEND=0.0), "uncal") is None


def test_a_product_that_lost_integrations_has_the_times_of_what_is_left() -> None:
    before = product((3, 2, 2), ints=PLAUSIBLE)
    after = product((2, 2, 2), ints=[PLAUSIBLE[0], PLAUSIBLE[2]], INTSTART=1)
    found = delivered_times(before, after, "rateints")
    assert found is not None
    assert found.ends.tolist() == [[PLAUSIBLE[0][1]], [PLAUSIBLE[2][1]]]
    shifted = product((3, 2, 2), ints=np.asarray(PLAUSIBLE) + 1)
    kept = delivered_times(before, shifted, "rateints")
    assert kept is not None
    assert kept.ends.tolist() == [[end] for _start, end in PLAUSIBLE], "a clock that was damaged does not move the link"


def test_the_groups_of_a_real_file_are_one_frame_apart(real_data: Path) -> None:
    path = next(real_data.rglob("jw00793001001_01101_00001_nis_uncal.fits"), None)
    if path is None:
        pytest.skip("jw00793001001_01101_00001_nis_uncal.fits is not among the real files")
    real = Product.open(path)
    found = exposed_times(real, "uncal")
    assert found is not None
    assert (found.by, found.ends.shape) == ("GROUP", (5, 6))
    frame = real.number("TFRAME")
    assert frame is not None
    assert np.allclose(np.diff(found.ends, axis=1) * 86400, frame, atol=2e-3)
    first = (found.ends[0, 0] - (real.number("EXPSTART") or 0)) * 86400
    assert first == pytest.approx(frame, abs=2e-3)  # the pattern from EXPSTART agrees
