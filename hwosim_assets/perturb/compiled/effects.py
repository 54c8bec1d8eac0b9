"""What effects of every pixel do to a run of pixels, in one pass over its planes.

Holds: noise, light and factors, each with the variance that goes with it. Arrays are rows of pixels of one length.
``accounts`` are the rows that keep one variance, the true one first
(:meth:`hwosim_assets.perturb.block.Block.accounts`); all of them take the whole change. Keep out draws (``draws``), and
changes of which uncertainties say a share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["add_lanes", "add_light", "add_noise", "flat_pattern", "gathered", "lose_light", "scale"]


@njit(cache=True, nogil=True)
def add_noise(sci: Any, deviates: Any, share: Any, accounts: Any) -> None:
    """Add noise of a share of a variance, and let the accounts of the variance take it."""
    variance = accounts[0]
    for place in range(sci.size):
        sci[place] += np.sqrt(variance[place] * share) * deviates[place]
    # The true one, which all are changed by, changes last.
    for account in accounts[::-1]:
        for place in range(sci.size):
            account[place] += variance[place] * share


@njit(cache=True, nogil=True)
def add_light(sci: Any, counts: Any, per_electron: Any, variance: Any, accounts: Any) -> None:
    """Add electrons, and one variance for all pixels."""
    for place in range(sci.size):
        sci[place] += sci.dtype.type(counts[place]) * per_electron
    for account in accounts:
        for place in range(sci.size):
            account[place] += variance


@njit(cache=True, nogil=True)
def lose_light(sci: Any, read: Any, deviates: Any, shares: Any, accounts: Any) -> None:
    """Keep a share of the light, add the noise that this takes away too much, and scale the accounts of its variance.

    ``shares`` are q, q(1-q) and 1-q^2 as numbers of the type of the rows.
    """
    kept, shot, still = shares
    poisson = accounts[0]
    for place in range(sci.size):
        variance = poisson[place] * shot + read[place] * still
        sci[place] = sci[place] * kept + np.sqrt(variance) * deviates[place]
    for account in accounts:
        for place in range(sci.size):
            account[place] *= kept


@njit(cache=True, nogil=True)
def scale(sci: Any, factor: Any, accounts: Any) -> None:
    """Multiply by a factor for each pixel, and variances by its square."""
    for place in range(sci.size):
        sci[place] *= factor[place]
    for account in accounts:
        for place in range(sci.size):
            account[place] *= factor[place] * factor[place]


@njit(cache=True, nogil=True)
def add_lanes(
    sci: Any, start: int, table: Any, index: Any, along_x: Any, sigma: Any, variance: Any, accounts: Any
) -> None:
    """Add noise of a standard deviation from a table of what amplifiers read, from a flat pixel of the frame on.

    Where lanes lie along x, ``index`` says which column of the table a column of the frame shows, else which row.
    """
    columns = index.size if along_x else table.shape[1]
    for row in range(start // columns, (start + sci.size - 1) // columns + 1):
        first = max(start - row * columns, 0)
        part = sci[row * columns + first - start : (row + 1) * columns - start]
        if along_x:
            values, which = table[row], index[first:]
            for place in range(part.size):
                part[place] += values[which[place]] * sigma
        else:
            values = table[index[row]][first:]
            for place in range(part.size):
                part[place] += values[place] * sigma
    for account in accounts:
        for place in range(sci.size):
            account[place] += variance


@njit(cache=True, nogil=True)
def flat_pattern(deviates: Any, start: int, curves: Any, rows: Any, white: Any) -> None:
    """Turn deviates into the factors of a flat, in place: one curve along x, and for each row a multiple of another.

    Parameters
    ----------
    deviates : float32 array, (pixels,)
        From a flat pixel of the frame on.
    start : int
        Places before the first of them in its row.
    curves : tuple of two float32 arrays, (columns,)
        The slope along y at each x, and the level.
    rows : tuple of two float32 arrays, (rows,)
        y, and the level of each row.
    white : float32
        Standard deviation of the part that is not smooth.
    """
    (slope, level), (height, more) = curves, rows
    one, columns = np.float32(1.0), slope.size
    for row in range(height.size):
        first = max(start - row * columns, 0)
        part = deviates[row * columns + first - start : (row + 1) * columns - start]
        along, lift, y, base = slope[first:], level[first:], height[row], more[row]
        for place in range(part.size):
            part[place] = part[place] * white + (y * along[place] + lift[place] + base) + one


@njit(cache=True, nogil=True)
def gathered(order: Any, pixels: Any, electrons: Any, u: Any, missed: Any, k: float) -> Any:
    """Bring hits together by pixel; see :func:`hwosim_assets.perturb.effects.particles.settle`."""
    struck = np.empty(pixels.size, np.int64)
    added, worst = np.zeros(pixels.size), np.ones(pixels.size)
    last = -1
    for hit in order:
        if last < 0 or pixels[hit] != struck[last]:
            last += 1
            struck[last] = pixels[hit]
        early, late = u[hit], 1.0 - u[hit]
        if missed[hit]:
            added[last] += 6.0 * early * late * electrons[hit] / k
        else:
            worst[last] = min(worst[last], early * early * early + late * late * late)
    return struck[: last + 1], added[: last + 1], worst[: last + 1]
