"""What effects of every pixel do to a run of pixels, in one pass over its planes.

Holds: noise, light and factors, each with the variance that goes with it. Arrays are rows of pixels of one length.
``accounts`` are the rows that keep one variance, the true one first
(:meth:`hwosim_assets.perturb.block.Block.accounts`); all of them take the whole change. Keep out draws (``draws``), and
changes of which uncertainties say a share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwosim_assets.perturb.compiled.draws import MORE, counts_into, normals_into
from hwosim_assets.perturb.compiled.loop import loop

__all__ = ["add_lanes", "add_light", "add_noise", "flat_pattern", "lose_light", "scale"]

#: Pixels that are worked on at once: what is drawn for them stays in the nearest cache.
_SOME = 8192


@loop()
def add_noise(sci: Any, draws: Any, share: Any, accounts: Any) -> None:
    """Add noise of a share of a variance, and let the accounts of the variance take it."""
    room = np.empty(_SOME + MORE, np.float32)
    for begin in range(0, sci.size, _SOME):
        light, variance = sci[begin : begin + _SOME], accounts[0][begin : begin + _SOME]
        deviates = normals_into(room, draws, begin, light.size)
        for number in range(1, len(accounts)):
            said = accounts[number][begin : begin + _SOME]
            for place in range(said.size):
                said[place] += variance[place] * share
        for place in range(light.size):
            added = variance[place] * share
            light[place] += np.sqrt(added) * deviates[place]
            variance[place] += added


@loop()
def add_light(sci: Any, draws: Any, per_electron: Any, more: Any, accounts: Any) -> None:
    """Add electrons, and one variance for all pixels."""
    room = np.empty(_SOME + MORE, np.float32)
    for begin in range(0, sci.size, _SOME):
        light = sci[begin : begin + _SOME]
        counts = counts_into(room, draws, begin, light.size)
        for place in range(light.size):
            light[place] += sci.dtype.type(counts[place]) * per_electron
        for number in range(len(accounts)):
            said = accounts[number][begin : begin + _SOME]
            for place in range(said.size):
                said[place] += more


@loop()
def lose_light(sci: Any, read: Any, draws: Any, shares: Any, accounts: Any, flat: Any) -> None:
    """Keep a share of the light, add the noise that this takes away too much, and scale the accounts of its variance.

    ``shares`` are q, q(1-q), 1-q^2 and q^2 in the type of the rows; ``flat`` is scaled by the last, or empty.
    """
    kept, shot, still, square = shares
    room = np.empty(_SOME + MORE, np.float32)
    for begin in range(0, sci.size, _SOME):
        light, poisson = sci[begin : begin + _SOME], accounts[0][begin : begin + _SOME]
        other = read[begin : begin + _SOME]
        deviates = normals_into(room, draws, begin, light.size)
        for place in range(light.size):
            variance = poisson[place] * shot + other[place] * still
            light[place] = light[place] * kept + np.sqrt(variance) * deviates[place]
            poisson[place] *= kept
        for number in range(1, len(accounts)):
            said = accounts[number][begin : begin + _SOME]
            for place in range(said.size):
                said[place] *= kept
        last = flat[begin : begin + _SOME]
        for place in range(last.size):
            last[place] *= square


@loop()
def scale(sci: Any, factor: Any, accounts: Any) -> None:
    """Multiply by a factor for each pixel, and variances by its square."""
    for place in range(sci.size):
        sci[place] *= factor[place]
    for account in accounts:
        for place in range(sci.size):
            account[place] *= factor[place] * factor[place]


@loop()
def add_lanes(
    sci: Any, start: int, table: Any, index: Any, along_x: Any, sigma: Any, variance: Any, accounts: Any
) -> None:
    """Add noise of a standard deviation from a table of what amplifiers read, from a flat pixel of the frame on.

    Where lanes lie along x, ``index`` says which column of the table a column of the frame shows, else which row.
    """
    columns = index.size if along_x else table.shape[1]
    even, line = along_x and _in_eights(index), np.empty(columns, np.float32)
    for row in range(start // columns, (start + sci.size - 1) // columns + 1):
        first = max(start - row * columns, 0)
        part = sci[row * columns + first - start : (row + 1) * columns - start]
        if even:
            for run in range(columns >> 3):
                value = table[row, index[run << 3]] * sigma
                for place in range(8):
                    line[(run << 3) + place] = value
        elif along_x:
            for place in range(columns):
                line[place] = table[row, index[place]] * sigma
        else:
            for place in range(columns):
                line[place] = table[index[row], place] * sigma
        here = line[first:]
        for place in range(part.size):
            part[place] += here[place]
    for account in accounts:
        for place in range(sci.size):
            account[place] += variance


@loop()
def _in_eights(index: Any) -> Any:
    """Return whether every eight columns show one place of a table, so that they are written at once."""
    found = index.size % 8 == 0
    for place in range(index.size):
        found &= index[place] == index[place & -8]
    return found


@loop()
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
