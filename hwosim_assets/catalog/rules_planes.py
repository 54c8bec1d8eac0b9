"""The rules on values: can the data be read, and do values, errors, variances and flags agree.

Holds: the rules that read pixels or rows, in slabs, so that memory stays small whatever the file. Of the slits
and spectra of one file the first that holds a value is judged. Keep out rules that headers can answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.catalog.finding import Finding, Subject, found
from hwosim_assets.catalog.rules_structure import main_hdus
from hwosim_assets.fits.dq import DQ
from hwosim_assets.fits.opening import astropy_errors, open_fits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.fits.hdus import HduFacts

    Values = NDArray[Any]

__all__ = ["planes"]

#: Bytes of a slab of one plane.
_SLAB = 2**22
#: Of a slit or a cube up to a third is empty; less than this is finite in no product that was looked at.
_FEWEST_FINITE = 0.2
#: float32 rounding is 1e-7; the sum is off by more where something changed one plane alone.
_SUM_TOLERANCE = 0.01
#: Charge migration and saturated ramps leave a few percent of pixels whose ERR has its own terms.
_SUM_SHARE = 0.1
_VARIANCES = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
#: Bit 8 is reserved since stdatamodels 2 and was never set by a pipeline step (UNRELIABLE_ERROR).
_KNOWN_BITS = {"DQ": 0xFFFFFFFF & ~int(DQ.UNRELIABLE_ERROR), "GROUPDQ": 0b11101111}
#: Kinds in which a pixel without a value must be flagged; resampled kinds say it with the weight.
_ERROR_COLUMNS = ("FLUX_ERROR", "ERROR")


@dataclass
class _Counts:
    """What was seen of one measurement."""

    values: int = 0
    finite: int = 0
    low: float = np.inf
    high: float = -np.inf
    negative_errors: int = 0
    negative_variances: int = 0
    compared: int = 0
    not_summed: int = 0
    unknown_bits: int = 0
    unflagged: int = 0
    misweighted: int = 0


def planes(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the values of the measurement itself."""
    with open_fits(subject.path, subject.facts.file_name) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = _judged(subject, hdus)
    yield from findings


def _judged(subject: Subject, hdus: Any) -> list[Finding]:
    """Judge the first measurement that has a value; slits and spectra beyond it are not read."""
    mains = main_hdus(subject)
    for item in mains:
        try:
            if item.kind == "table":
                findings, finite = _spectrum(hdus[item.index], item)
            else:
                counts = _counted(subject, hdus, item)
                findings, finite = list(_image(item, counts)), counts.finite
        except astropy_errors() as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            return [found("unreadable_data", f"{item.extname},{item.extver} or a plane of it cannot be read: {reason}")]
        if finite:
            return findings
    return [found("no_finite_data", f"{mains[0].extname} holds no finite value")] if mains else []


def _counted(subject: Subject, hdus: Any, main: HduFacts) -> _Counts:
    """Read SCI and the planes of its shape beside it, slab by slab."""
    beside = {
        item.extname: hdus[item.index]
        for item in subject.facts.hdus
        if item.kind == "image" and item.extver == main.extver and item.shape == main.shape and item.index > main.index
    }
    counts = _Counts()
    length = max(1, _SLAB // max(1, int(np.prod(main.shape[1:], dtype=np.int64)) * 8))
    for start in range(0, main.shape[0], length):
        part = slice(start, start + length)
        slab = {name: _section(hdu, part) for name, hdu in beside.items() if name in _READ}
        _count(counts, _section(hdus[main.index], part), slab)
    return counts


_READ = frozenset({"ERR", "DQ", "GROUPDQ", "WHT", *_VARIANCES})


def _section(hdu: Any, part: slice) -> Values:
    return np.asarray(hdu.section[part] if hasattr(hdu, "section") else hdu.data[part])


def _count(counts: _Counts, values: Values, beside: dict[str, Values]) -> None:
    finite = np.isfinite(values) if values.dtype.kind in "fc" else np.ones(values.shape, bool)
    counts.values += values.size
    counts.finite += int(finite.sum())
    if finite.any():
        good = values[finite]
        counts.low, counts.high = min(counts.low, float(good.min())), max(counts.high, float(good.max()))
    if "ERR" in beside:
        counts.negative_errors += int((beside["ERR"] < 0).sum())
    variances = [beside[name] for name in _VARIANCES if name in beside]
    counts.negative_variances += sum(int((plane < 0).sum()) for plane in variances)
    if "ERR" in beside and len(variances) > 1:
        _count_sums(counts, beside["ERR"], variances)
    for name, known in _KNOWN_BITS.items():
        if name in beside and beside[name].dtype.kind in "iu":
            counts.unknown_bits += int((beside[name].astype(np.int64) & ~known != 0).sum())
    if "DQ" in beside and beside["DQ"].dtype.kind in "iu":
        good = beside["DQ"].astype(np.int64) & int(DQ.DO_NOT_USE) == 0
        counts.unflagged += int((good & ~finite).sum())
    if "WHT" in beside:
        counts.misweighted += int(((beside["WHT"] > 0) & ~finite).sum() + (beside["WHT"] < 0).sum())


def _count_sums(counts: _Counts, errors: Values, variances: list[Values]) -> None:
    """Compare ERR squared with the sum of the variances where both are positive and can be squared."""
    squared = np.square(errors.astype(np.float64))
    total = np.sum([np.nan_to_num(plane.astype(np.float64), nan=0.0) for plane in variances], axis=0)
    # float32 ends at 3.4e38: what is near overflowed in one plane and not in the other
    comparable = np.isfinite(squared) & np.isfinite(total) & (squared > 0) & (total > 0) & (squared < 1e36)
    counts.compared += int(comparable.sum())
    off = np.abs(total[comparable] - squared[comparable]) > _SUM_TOLERANCE * squared[comparable]
    counts.not_summed += int(off.sum())


def _image(main: HduFacts, counts: _Counts) -> Iterator[Finding]:
    if not counts.finite:
        return
    where = f"{main.extname},{main.extver}"
    if counts.finite < _FEWEST_FINITE * counts.values:
        yield found("finite_fraction", f"{counts.finite / counts.values:.1%} of {where} is finite")
    if counts.low == counts.high and counts.finite > 1:
        yield found("constant_data", f"every finite value of {where} is {counts.low:g}")
    if counts.negative_errors:
        yield found("errors", f"ERR of {where} holds {counts.negative_errors} negative values")
    if counts.negative_variances:
        yield found("variances", f"the variances of {where} hold {counts.negative_variances} negative values")
    if counts.not_summed > _SUM_SHARE * counts.compared:
        share = counts.not_summed / counts.compared
        yield found("variance_sum", f"the variances do not sum to ERR squared in {share:.1%} of the pixels of {where}")
    if counts.unknown_bits:
        yield found("dq_bits", f"{counts.unknown_bits} flags of {where} have bits that JWST does not use")
    if counts.unflagged:
        yield found("dq_blank", f"{counts.unflagged} pixels of {where} have no value and no flag DO_NOT_USE")
    if counts.misweighted:
        yield found("weights", f"{counts.misweighted} pixels of {where} have weight and no value, or negative weight")


def _spectrum(hdu: Any, main: HduFacts) -> tuple[list[Finding], int]:
    """Judge the first spectrum of a table; return what was found, and how many values are finite."""
    names = {name.upper(): name for name in hdu.columns.names}
    flux = np.asarray(hdu.data[names["FLUX"]] if "FLUX" in names else hdu.data.field(0))
    finite = int(np.isfinite(flux).sum()) if flux.dtype.kind in "fc" else flux.size
    findings, where = [], f"{main.extname},{main.extver}"
    if finite and finite < _FEWEST_FINITE * flux.size:
        findings.append(found("finite_fraction", f"{finite / flux.size:.1%} of FLUX in {where} is finite"))
    for name in (name for name in _ERROR_COLUMNS if name in names):
        negative = int((np.asarray(hdu.data[names[name]]) < 0).sum())
        if negative:
            findings.append(found("errors", f"{name} of {where} holds {negative} negative values"))
    if "WAVELENGTH" in names:
        waves = np.asarray(hdu.data[names["WAVELENGTH"]], np.float64)
        waves = waves[0] if waves.ndim > 1 else waves
        waves = waves[np.isfinite(waves) & (waves != 0)]  # vectors are filled up with 0 or NaN
        steps = np.diff(waves)
        if waves.size and ((waves < 0).any() or not ((steps > 0).all() or (steps < 0).all())):
            findings.append(found("wavelengths", f"the wavelengths of {where} are negative or out of order"))
    return findings, finite
