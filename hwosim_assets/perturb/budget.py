"""The noise budget of a measurement, inferred from the product itself.

Holds: :class:`Budget` (electrons per science unit, read noise, background level, and by which method
each was found) and its inference from VAR planes, keywords, ERR or the scatter of the pixels. Only
medians, sorting and exact sums are used, so that the numbers are the same on every machine. Keep
out what is done with them (``perturb.block``, ``perturb.effects``).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.facts import find_facts
from hwosim_assets.perturb.parameters import rounded
from hwosim_assets.perturb.published import Detector, detector_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.planes import Plane
    from hwosim_assets.perturb.product import Product

    Floats = NDArray[np.float64]

__all__ = ["Budget", "infer_budget"]

#: Pixels that are looked at to infer a budget.
SAMPLE = 65536
_BINS = 32
_FEWEST = 64
#: Standard deviations above which a pixel shows the signal rather than its noise.
_SIGNIFICANT = 3.0
#: Above this spread, pixels are converted differently (wavelength) and a slope mixes them up.
_ONE_CONVERSION = 3.0
#: How far keywords may lie from ERR and be believed, either way. Real products whose keywords mean something lie up to
#: 5 from their own VAR_POISSON (few groups, pixels of a resampled grid); the next, of NIRSpec, 12 powers of ten.
_AGREEING = 10.0
#: Typical variances that single precision holds with those of pixels ten thousand times less and more noisy.
_SQUARES = 1e-30, 1e30
#: Median of |x - y| of two normal deviates of unit variance.
_MEDIAN_DIFFERENCE = 0.9538725524089208


@dataclass(frozen=True)
class Budget:
    """What a measurement's noise is made of.

    Attributes
    ----------
    k : float or None
        Electrons per science unit.
    k_method : str
        ``VAR_POISSON`` (slope of VAR_POISSON against SCI is 1/k), ``VAR_POISSON ratio`` (SCI
        over VAR_POISSON where no one slope can be seen), ``keywords`` (published gain, exposure time,
        PHOTMJSR), ``ERR`` (slope of ERR^2 against SCI is 1/k, but the light of a typical pixel is no
        noisier than its ERR), ``ERR against keywords`` (the same, where keywords say more than ten
        times as much or less than a tenth) or ``none``.
    k_spread : float or None
        Ratio of the 84th to the 16th percentile of SCI/VAR_POISSON: how far one number describes
        all pixels.
    read_method : str
        Where the signal-independent noise comes from: ``VAR_RNOISE``, ``ERR``, ``published`` or
        ``scatter`` (median difference of neighbours), or ``none``.
    read_sigma : float or None
        One number for all pixels (published, scatter), in science units.
    background : float or None
        Median of the valid pixels, or of the photon signal that VAR_POISSON implies; of a ramp, DN
        per group. Science units.
    background_method : str
        ``SCI``, ``VAR_POISSON`` or ``none``.
    sums : bool
        Whether ERR^2 = VAR_POISSON + VAR_RNOISE (+ VAR_FLAT) holds in the input.
    sampled : int
        Valid pixels that were looked at.
    double : bool
        Whether the square of its noise leaves the range of single precision, so that blocks are worked on in double.
    """

    k: float | None
    k_method: str
    k_spread: float | None
    read_method: str
    read_sigma: float | None
    background: float | None
    background_method: str
    sums: bool
    sampled: int
    double: bool = False

    def record(self) -> dict[str, Any]:
        """Return the budget for the truth record, with ``double`` only where it is so."""
        return {name: value for name, value in asdict(self).items() if name != "double" or value}


def infer_budget(product: Product, measurement: Measurement) -> Budget:
    """Return the noise budget of a measurement of a product."""
    detector = detector_of(*(str(product.keyword(name) or "") for name in ("INSTRUME", "CHANNEL", "DETECTOR")))
    with np.errstate(invalid="ignore", over="ignore"):  # of what is infinite, or huge in its square
        if measurement.ramp:
            return _ramp_budget(product, measurement, detector)
        return _budget(product, measurement, detector)


def _budget(product: Product, measurement: Measurement, detector: Detector | None) -> Budget:
    """Return the budget of what is no ramp."""
    sample = _sample(product, measurement)
    spread = _spread(sample)
    k, method = _electrons(product, measurement, sample, spread, detector)
    read, sigma = _read_noise(product, measurement, sample)
    background, background_method = _background(sample, k, method)
    return Budget(
        k=k,
        k_method=method,
        k_spread=spread,
        read_method=read,
        read_sigma=sigma,
        background=background,
        background_method=background_method,
        sums=_sums(sample),
        sampled=int(sample["SCI"].size),
        double=_needs_double(sample, sigma),
    )


def _needs_double(sample: dict[str, Floats], sigma: float | None) -> bool:
    """Return whether the squared noise of a typical pixel is no safe number of single precision (1e-38 to 3e38)."""
    err = sample.get("ERR", np.zeros(0))
    known = err[np.isfinite(err) & (err > 0)]
    level = _median(known) if known.size else sigma
    return level is not None and not _SQUARES[0] < level * level < _SQUARES[1]


def _step(measurement: Measurement) -> int:
    """Return a stride that takes at most SAMPLE elements and visits all columns."""
    step = max(1, -(-measurement.sci.size // SAMPLE))
    while math.gcd(step, measurement.frame[-1]) > 1 and step > 1:
        step += 1
    return step


def _sample(product: Product, measurement: Measurement) -> dict[str, Floats]:
    """Return evenly taken valid elements of every companion, as float64."""
    step = _step(measurement)

    def taken(plane: Plane) -> NDArray[Any]:
        product.release()  # a few numbers of each page are all of the pages
        return plane.decode(plane.raw(product.payload).reshape(-1)[::step])

    sci = taken(measurement.sci).astype(np.float64)
    valid = np.isfinite(sci)
    if measurement.dq is not None:
        valid &= (taken(measurement.dq) & (DQ.DO_NOT_USE | DQ.NON_SCIENCE)) == 0
    for weight in measurement.weights:
        if weight.size == measurement.sci.size:
            valid &= taken(weight) != 0
    found = {"SCI": sci[valid]}
    if measurement.err is not None:
        found["ERR"] = taken(measurement.err).astype(np.float64)[valid]
    for name, plane in measurement.variances.items():
        found[name] = taken(plane).astype(np.float64)[valid]
    return found


def _electrons(
    product: Product,
    measurement: Measurement,
    sample: dict[str, Floats],
    spread: float | None,
    detector: Detector | None,
) -> tuple[float | None, str]:
    """Return (electrons per science unit, method)."""
    if spread is None or spread <= _ONE_CONVERSION:
        k = _inverse_slope(sample["SCI"], sample.get("VAR_POISSON"))
        if k is not None:
            return k, "VAR_POISSON"
    k = _ratio(sample)
    if k is not None:
        return k, "VAR_POISSON ratio"
    k, seen = _from_keywords(product, measurement, detector), _from_err(sample)
    if seen is None:
        return k, "none" if k is None else "keywords"
    if k is None:
        return seen, "ERR"
    if seen / _AGREEING <= k <= seen * _AGREEING:
        return k, "keywords"
    return seen, "ERR against keywords"


def _inverse_slope(signal: Floats, variance: Floats | None) -> float | None:
    """Return 1 / (median slope of variance against signal), where the signal varies by more than its noise.

    The slopes are those between medians of bins (32 of equal population, and again 32 of the
    brightest pixels, where the sources are) that lie at least five standard deviations of a typical
    pixel apart, so that noise, which VAR_POISSON does not follow, does not flatten the slope.
    """
    if variance is None:
        return None
    good = np.isfinite(variance) & (variance > 0)
    x, y = signal[good], variance[good]
    if x.size < _FEWEST:
        return None
    apart = 5.0 * math.sqrt(_median(y))
    order = _order(x)
    top = order.size - order.size // _BINS
    bins = [*np.array_split(order[:top], _BINS), *np.array_split(order[top:], _BINS)]
    bins = [part for part in bins if part.size >= _FEWEST // _BINS]
    points = [(float(x[part[(part.size - 1) // 2]]), _median(y[part])) for part in bins]  # in the order of x
    slopes = [
        (y1 - y0) / (x1 - x0)
        for place, (x0, y0) in enumerate(points)
        for x1, y1 in points[place + 1 :]
        if x1 - x0 > apart
    ]
    slope = _median(np.array(slopes)) if slopes else 0.0
    return rounded(1.0 / slope) if slope > 0 else None


def _order(values: Floats) -> NDArray[np.intp]:
    """Return the stable order of finite values.

    Those that are stored in single precision are sorted as whole numbers, each with its place below it: a tenth of the
    time.
    """
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.array_equal(single, values):
        return np.argsort(values, kind="stable")
    keys = (single + np.float32(0)).view(np.int32).astype(np.int64)  # -0 becomes 0, which it equals
    keys ^= (keys >> 63) & 0x7FFFFFFF  # numbers below 0 have bits that ascend as they descend
    keys = (keys << 32) | np.arange(values.size)
    keys.sort()
    return np.asarray(keys & 0xFFFFFFFF, np.intp)


def _ratio(sample: dict[str, Floats]) -> float | None:
    """Return SCI over VAR_POISSON where no one slope can be seen.

    The ratio of the medians where the typical pixel is well above its noise; else the median ratio
    of the pixels that are.
    """
    variance = sample.get("VAR_POISSON")
    if variance is None:
        return None
    good = np.isfinite(variance) & (variance > 0)
    if np.count_nonzero(good) < _FEWEST:
        return None
    x, y = sample["SCI"][good], variance[good]
    if _median(x) > _SIGNIFICANT * math.sqrt(_median(y)):
        return rounded(_median(x) / _median(y))
    ratios = _bright_ratios(sample, variance)
    return rounded(_median(ratios)) if ratios.size else None


def _from_err(sample: dict[str, Floats]) -> float | None:
    """Return the inverse slope of ERR^2 against SCI, or SCI over ERR^2 of a typical bright pixel where that is more.

    ERR^2 grows faster than light where flat field, resampling or a model of the source have their part in it, and its
    slope at the brightest pixels would then make the others noisier by their own light than all of their ERR.
    """
    err = sample.get("ERR")
    if err is None:
        return None
    k = _inverse_slope(sample["SCI"], err * err)
    ratios = _bright_ratios(sample, err * err)
    return k if k is None or not ratios.size else max(k, rounded(_median(ratios)))


def _bright_ratios(sample: dict[str, Floats], variance: Floats) -> Floats:
    """Return SCI over a variance, of the pixels that are well above their noise."""
    sci = sample["SCI"]
    noise = sample["ERR"] if "ERR" in sample else np.sqrt(np.maximum(variance, 0.0))
    good = np.isfinite(variance) & (variance > 0) & (sci > _SIGNIFICANT * noise) & (sci > 0)
    return sci[good] / variance[good]


def _median(values: Floats) -> float:
    """Return the lower median: an element, so that no rounding enters."""
    return float(np.partition(values, (values.size - 1) // 2)[(values.size - 1) // 2])


def _from_keywords(product: Product, measurement: Measurement, detector: Detector | None) -> float | None:
    """Return gain x time / flux conversion for products in DN/s or MJy/sr.

    A PHOTMJSR of 1 stands in cubes, where each wavelength has a conversion of its own that the header does not tell.
    """
    if detector is None:
        return None
    flux = product.number("PHOTMJSR")
    conversion = {"DN/s": 1.0, "MJy/sr": None if flux == 1.0 else flux}.get(measurement.sci.unit)
    time = find_facts(product, measurement).frame_s
    if time is None or not conversion or conversion <= 0:
        return None
    return rounded(detector.gain * time / conversion)


def _read_noise(product: Product, measurement: Measurement, sample: dict[str, Floats]) -> tuple[str, float | None]:
    """Return (method, sigma where it is one number)."""
    for name in ("VAR_RNOISE", "ERR"):
        values = sample.get(name)
        # Where every pixel is flagged none is sampled, and a plane is all there is to know.
        if values is not None and (np.any(values > 0) or not values.size):
            return name, None
    sigma = _scatter(product, measurement)
    return ("scatter", sigma) if sigma else ("none", None)


def _scatter(product: Product, measurement: Measurement) -> float | None:
    """Return the noise per pixel from the median difference of neighbours along the last axis."""
    flat = measurement.sci.raw(product.payload).reshape(-1)
    step = max(2, _step(measurement))
    first, second = (measurement.sci.decode(flat[start::step]).astype(np.float64) for start in (0, 1))
    size = min(first.size, second.size)
    with np.errstate(invalid="ignore"):  # infinities differ by nothing
        difference = np.abs(first[:size] - second[:size])
    difference = difference[np.isfinite(difference) & (difference > 0)]
    return rounded(_median(difference) / _MEDIAN_DIFFERENCE) if difference.size >= _FEWEST else None


def _background(sample: dict[str, Floats], k: float | None, method: str) -> tuple[float | None, str]:
    """Return (level in science units, method)."""
    if sample["SCI"].size:
        level = _median(sample["SCI"])
        if level > 0:
            return rounded(level), "SCI"
    variance = sample.get("VAR_POISSON")
    if k is not None and method.startswith("VAR_POISSON") and variance is not None:
        level = _median(variance[np.isfinite(variance)]) * k
        if level > 0:
            return rounded(level), "VAR_POISSON"
    return None, "none"


def _spread(sample: dict[str, Floats]) -> float | None:
    """Return the 84th over the 16th percentile of SCI/VAR_POISSON, of pixels well above their noise."""
    if "VAR_POISSON" not in sample:
        return None
    ratio = np.sort(_bright_ratios(sample, sample["VAR_POISSON"]))
    if ratio.size < _FEWEST:
        return None
    return rounded(float(ratio[int(0.84 * ratio.size)]) / float(ratio[int(0.16 * ratio.size)]))


def _sums(sample: dict[str, Floats]) -> bool:
    """Return whether ERR^2 is the sum of the variances, to a part in a thousand, in every sampled pixel."""
    err = sample.get("ERR")
    if err is None or not {"VAR_POISSON", "VAR_RNOISE"} <= sample.keys():
        return False
    total = sample["VAR_POISSON"] + sample["VAR_RNOISE"]
    flat = sample.get("VAR_FLAT")
    if flat is not None:
        total = total + flat
    square = err * err
    good = np.isfinite(total) & (square > 0)
    return bool(good.any()) and bool(np.all(np.abs(total[good] - square[good]) <= 1e-3 * square[good]))


def _ramp_budget(product: Product, measurement: Measurement, detector: Detector | None) -> Budget:
    """Return the budget of a ramp: published gain and read noise, DN per group as the background."""
    sci, groups = measurement.sci, measurement.groups
    raw = sci.raw(product.payload).reshape(measurement.frames, groups, measurement.pixels)
    step = max(1, -(-measurement.frames * measurement.pixels // SAMPLE))
    while math.gcd(step, measurement.frame[-1]) > 1 and step > 1:
        step += 1
    first, last = (sci.decode(raw[:, group, ::step]).astype(np.float64) for group in (0, groups - 1))
    rate = (last - first).reshape(-1)
    rate = rate[np.isfinite(rate)]
    level = _median(rate) / (groups - 1) if groups > 1 and rate.size else 0.0
    reads = product.number("NFRAMES") or 1.0
    sigma = None if detector is None else rounded(detector.read_noise / detector.gain / math.sqrt(max(reads, 1.0)))
    return Budget(
        k=None if detector is None else detector.gain,
        k_method="none" if detector is None else "keywords",
        k_spread=None,
        read_method="none" if sigma is None else "published",
        read_sigma=sigma,
        background=rounded(level) if level > 0 else None,
        background_method="SCI" if level > 0 else "none",
        sums=False,
        sampled=int(rate.size),
    )
