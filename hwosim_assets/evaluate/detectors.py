"""Reference detectors: classical ones of a few lines each, against which models are measured.

Holds: sources by a matched filter, dips and flares by a scan of boxes over the white light, cosmic rays by clipping in
time; :func:`reference`, the model made of them, and :func:`fragile`, the same ideas with means in place of medians and
blind to flags, which must come out worse. Keep out scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.stats import sigma_clipped_stats
from scipy import ndimage

from hwosim_assets.evaluate.injected import is_series
from hwosim_assets.fits.dq import DQ
from hwosim_assets.perturb.effects.shapes import stamp
from hwosim_assets.perturb.times import frame_times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.measurements import Measurement
    from hwosim_assets.perturb.product import Product

    Floats = NDArray[np.float64]

__all__ = ["find_cosmic_rays", "find_in_time", "find_sources", "fragile", "reference"]

#: Standard deviations in a median absolute deviation of normal numbers.
_MAD = 1.4826
#: PSF of the matched filter: a Gaussian of so many pixels, integrated over each of 7 x 7.
_FWHM = 2.0
_PSF = stamp((7, 7), 3.0, 3.0, _FWHM)[1].reshape(7, 7)
#: Pixels of a box over which the background is one.
_BOX = 16
#: A peak that is so much sharper than the PSF is one pixel and no star.
_SHARPEST = 2.0
#: Signal to noise from which something counts as found.
SOURCE, EVENT, RAY = 5.0, 7.0, 5.0


def reference(product: Product) -> Iterator[dict[str, Any]]:
    """Yield what the reference detectors find in a product: medians throughout, flagged pixels left out."""
    yield from find_sources(product)
    yield from find_in_time(product)
    yield from find_cosmic_rays(product)


def fragile(product: Product) -> Iterator[dict[str, Any]]:
    """Yield what the same detectors find with means and clipped deviations, blind to flags and to sharpness."""
    yield from find_sources(product, robust=False)
    yield from find_in_time(product, robust=False)
    yield from find_cosmic_rays(product, robust=False)


def find_sources(product: Product, threshold: float = SOURCE, *, robust: bool = True) -> Iterator[dict[str, Any]]:
    """Yield the point sources of every image of a product.

    A matched filter with a Gaussian of 2 pixels after the background of boxes of 16 pixels, with pixels without a value
    weighing nothing; peaks of the signal to noise, whose noise is that of the filtered image. Of integrations and of
    the planes of a cube it takes the median.

    Parameters
    ----------
    product : Product
        Any; tables of spectra have no images.
    threshold : float
        Signal to noise.
    robust : bool
        Medians, flags and a limit of sharpness; else means (of the background a clipped one) and none of these.
    """
    for item in product.measurements:
        if item.sci.column or len(item.frame) != 2 or min(item.frame) < _PSF.shape[0]:
            continue
        image = _image(product, item, robust)
        good = np.isfinite(image)
        if not good.any():
            continue
        light = np.where(good, image, 0.0)
        light = np.where(good, light - _background(np.where(good, light, np.nan), robust), 0.0)
        weight = ndimage.convolve(good.astype(np.float64), _PSF**2, mode="constant")
        filtered = ndimage.convolve(light, _PSF, mode="constant")
        signal = filtered / np.sqrt(np.maximum(weight, 1e-12))
        enough = weight > 0.5 * (_PSF**2).sum()
        noise = _scatter(signal[enough], robust)
        peaks = enough & (signal == ndimage.maximum_filter(signal, 5)) & (signal > threshold * noise) & (noise > 0)
        for y, x in np.argwhere(peaks).tolist():
            if robust and light[y, x] > _SHARPEST * filtered[y, x] / weight[y, x] * _PSF.max():
                continue
            place = _centroid(light, y, x)
            flux = _flux(light, good, *place)
            yield {"kind": "source", "hdu": item.sci.hdu, "y": place[0], "x": place[1], "flux": flux}


def _image(product: Product, item: Measurement, robust: bool) -> Floats:
    """Return one image of a measurement; NaN where a pixel is not to be used."""
    values = _values(product, item)
    if item.dq is not None and item.dq.shape == values.shape and robust:
        values[(item.dq.read(product.payload) & DQ.DO_NOT_USE) != 0] = np.nan
    if item.ramp:
        values = (values[:, -1] - values[:, 0]) / max(item.groups - 1, 1)
    return _middle(values.reshape(-1, *item.frame), robust)


def _values(product: Product, item: Measurement) -> Floats:
    """Return the science values of a measurement, in its shape; NaN where there is none."""
    values: Floats = item.sci.read(product.payload).astype(np.float64)
    values[np.isinf(values)] = np.nan
    return values


def _middle(stack: Floats, robust: bool) -> Floats:
    """Return the median or the mean over the first axis of what is there."""
    if stack.shape[0] == 1:
        return np.asarray(stack[0])
    blank = ~np.isfinite(stack).any(axis=0)
    filled = np.where(blank, 0.0, stack)
    middle = np.nanmedian(filled, axis=0) if robust else np.nanmean(filled, axis=0)
    return np.where(blank, np.nan, middle)


def _background(image: Floats, robust: bool) -> Floats | float:
    """Return a smooth background: the medians of boxes, interpolated; or the clipped mean of the whole image."""
    if not robust:
        return float(sigma_clipped_stats(image[np.isfinite(image)])[0])
    rows, columns = (-(-length // _BOX) for length in image.shape)
    padded = np.full((rows * _BOX, columns * _BOX), np.nan)
    padded[: image.shape[0], : image.shape[1]] = image
    boxes = padded.reshape(rows, _BOX, columns, _BOX).swapaxes(1, 2).reshape(rows, columns, -1)
    levels = _middle(np.moveaxis(boxes, -1, 0), True)
    levels = np.where(np.isfinite(levels), levels, np.nanmedian(image))
    wide = ndimage.zoom(levels, _BOX, order=1, mode="nearest", grid_mode=True)
    return np.asarray(wide[: image.shape[0], : image.shape[1]], np.float64)


def _scatter(values: Floats, robust: bool) -> float:
    """Return the noise of numbers of which few are signal: from their median absolute deviation, or clipped."""
    if not values.size:
        return 0.0
    if not robust:
        return float(sigma_clipped_stats(values)[2])
    return _MAD * float(np.median(np.abs(values - np.median(values))))


def _centroid(light: Floats, y: int, x: int) -> tuple[float, float]:
    """Return the centre of the light in 3 x 3 pixels around a peak."""
    low_y, low_x = max(y - 1, 0), max(x - 1, 0)
    part = np.maximum(light[low_y : y + 2, low_x : x + 2], 0.0)
    if not part.sum() > 0:
        return float(y), float(x)
    rows, columns = np.indices(part.shape)
    return float((part * rows).sum() / part.sum()) + low_y, float((part * columns).sum() / part.sum()) + low_x


def _flux(light: Floats, good: NDArray[np.bool_], y: float, x: float) -> float:
    """Return the light of a source at a place, by least squares with the PSF there."""
    places, share = stamp(light.shape, y, x, _FWHM)
    share = share * good.reshape(-1)[places]
    return float((light.reshape(-1)[places] * share).sum() / max((share * share).sum(), 1e-12))


def find_in_time(product: Product, threshold: float = EVENT, *, robust: bool = True) -> Iterator[dict[str, Any]]:
    """Yield the dips and flares of a product with integrations.

    Boxes, each half as long again as the one before and up to half of the series, are moved over the white light; the
    one of the highest signal to noise is taken, then the next that does not touch it. Noise is that of the differences
    between neighbours.

    Parameters
    ----------
    product : Product
        Any; without integrations that have times nothing is found.
    threshold : float
        Signal to noise.
    robust : bool
        Medians, and pixels compared with themselves; else sums, means and the clipped deviation.
    """
    times, light = _white_light(product, robust)
    if times.size < _SHORTEST:
        return
    base = float(np.median(light)) if robust else float(light.mean())
    noise = _scatter(np.diff(light), True) / np.sqrt(2.0) if robust else _scatter(light, False)
    if not noise > 0 or not base > 0:
        return
    for start, stop in _boxes((light - base) / noise, threshold):
        change = float(light[start:stop].mean() / base - 1.0)
        moment = float(times[start:stop].mean())
        if change < 0:
            yield {"kind": "dip", "mjd": moment, "depth": -change}
        else:
            brightest = start + int(light[start:stop].argmax())
            yield {"kind": "flare", "mjd": float(times[brightest]), "amplitude": float(light[brightest] / base - 1.0)}


#: A series of fewer integrations has no course in time.
_SHORTEST = 8


def _boxes(deviation: Floats, threshold: float) -> list[tuple[int, int]]:
    """Return the intervals whose mean deviates most, one after the other, none touching an earlier one."""
    total = np.concatenate([[0.0], np.cumsum(deviation)])
    found = []
    length = 1
    while length <= deviation.size // 2:
        signal = np.abs(total[length:] - total[:-length]) / np.sqrt(length)
        best = (signal == ndimage.maximum_filter1d(signal, length)) & (signal > threshold)
        found += [(float(signal[start]), start, start + length) for start in np.flatnonzero(best).tolist()]
        length = max(length + 1, length * 3 // 2)
    taken: list[tuple[int, int]] = []
    for _, start, stop in sorted(found, reverse=True):
        if all(stop < other or start > end for other, end in taken):
            taken.append((start, stop))
    return taken


def _white_light(product: Product, robust: bool) -> tuple[Floats, Floats]:
    """Return times (MJD UTC) and the light of each integration relative to the typical one; empty without a series."""
    series: dict[tuple[str, int], list[tuple[Floats, Floats]]] = {}
    for item in product.measurements:
        told = None if item.ramp or item.resampled or item.sci.column == "SURF_BRIGHT" else frame_times(product, item)
        if told is not None:
            rows = _values(product, item).reshape(item.frames, -1)
            series.setdefault((item.sci.column, item.pixels), []).append((told.mid, rows))
    parts = max(series.values(), key=lambda parts: sum(mid.size for mid, _ in parts), default=[])
    if not parts:
        return np.empty(0), np.empty(0)
    times, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(times, kind="stable")
    return times[order], _relative(values[order], robust)


def _relative(values: Floats, robust: bool) -> Floats:
    """Return the light of each row; robustly over what the same pixels have in the typical row."""
    if not robust:
        light = np.nansum(values, axis=1)
        return np.asarray(light / light.mean() if light.mean() else light)
    typical = _middle(values, True)
    there = np.isfinite(values) & np.isfinite(typical)
    seen, usual = np.where(there, values, 0.0).sum(axis=1), np.where(there, typical, 0.0).sum(axis=1)
    return np.asarray(np.divide(seen, usual, out=np.ones_like(seen), where=usual > 0))


def find_cosmic_rays(product: Product, threshold: float = RAY, *, robust: bool = True) -> Iterator[dict[str, Any]]:
    """Yield masks of the pixels of integrations that stand out from the same pixel in the others.

    Parameters
    ----------
    product : Product
        Any; measurements of five integrations or more are looked at.
    threshold : float
        Standard deviations; of ERR, or of the scatter in time where that is larger.
    robust : bool
        Medians over time, scaled with the white light; else the mean and three standard deviations.
    """
    for item in product.measurements:
        if not is_series(item):
            continue
        values = _values(product, item)
        stack = values.reshape(item.frames, *item.frame)
        blank = ~np.isfinite(stack).any(axis=0)
        stack = np.where(blank, 0.0, stack)
        if robust:
            light = _relative(stack.reshape(item.frames, -1), True)
            rest = stack - np.nanmedian(stack, axis=0) * light[:, None, None]
            noise = np.broadcast_to(_MAD * np.nanmedian(np.abs(rest), axis=0), stack.shape)
            if item.err is not None:
                noise = np.fmax(noise, item.err.read(product.payload).astype(np.float64).reshape(stack.shape))
            limit = threshold * noise
        else:
            rest = stack - np.nanmean(stack, axis=0)
            limit = np.broadcast_to(_FEW * np.nanstd(stack, axis=0), stack.shape)
        with np.errstate(invalid="ignore"):
            mask = (rest > limit) & (limit > 0)
        yield {"kind": "cosmic_rays", "hdu": item.sci.hdu, "mask": mask.reshape(values.shape)}


#: Of n numbers none is more than (n - 1) / sqrt(n) standard deviations off their mean: 4.2 of 20.
_FEW = 3.0
