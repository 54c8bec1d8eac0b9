"""What effects of few pixels do to them: a call for each band, where numpy takes a dozen for each group of pixels.

Holds: the charge along the tracks of particles, what it does to slopes, and pixels that show a share of their charge.
``places`` are flat positions in rows of pixels, ascending, each once; ``accounts`` are as in ``effects``. Keep out
effects of every pixel (``effects``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwosim_assets.perturb.compiled.loop import loop

__all__ = ["add_light", "gathered", "give_neighbours", "settle", "tracks", "weaken"]


@loop()
def tracks(hits: Any, shape: Any, pitch_um: float) -> Any:
    """Return (flat pixels, electrons, which hit); see :func:`hwosim_assets.perturb.effects.particles.deposits`."""
    y, x, dy, dx, length, electrons, _, _ = hits
    rows, columns = shape
    many = np.int64(0)
    for hit in range(length.size):
        many += np.int64(np.ceil(length[hit] / pitch_um * 2.0)) + 1
    pixels, freed, which = np.empty(many, np.int64), np.empty(many), np.empty(many, np.int64)
    last = 0
    for hit in range(length.size):
        steps = np.int64(np.ceil(length[hit] / pitch_um * 2.0)) + 1
        for step in range(steps):
            along = (step + 0.5) / steps * length[hit] / pitch_um
            row, column = np.floor(y[hit] + along * dy[hit]), np.floor(x[hit] + along * dx[hit])
            if 0 <= row < rows and 0 <= column < columns:
                pixels[last] = np.int64(row) * columns + np.int64(column)
                freed[last] = electrons[hit] / steps
                which[last] = hit
                last += 1
    return pixels[:last], freed[:last], which[:last]


@loop()
def gathered(pixels: Any, electrons: Any, u: Any, missed: Any, k: float) -> Any:
    """Bring hits together by pixel, which ascend; see :func:`hwosim_assets.perturb.effects.particles.settle`."""
    struck = np.empty(pixels.size, np.int64)
    added, worst = np.zeros(pixels.size), np.ones(pixels.size)
    last = -1
    for hit in range(pixels.size):
        if last < 0 or pixels[hit] != struck[last]:
            last += 1
            struck[last] = pixels[hit]
        early, late = u[hit], 1.0 - u[hit]
        if missed[hit]:
            added[last] += 6.0 * early * late * electrons[hit] / k
        else:
            worst[last] = min(worst[last], early * early * early + late * late * late)
    return struck[: last + 1], added[: last + 1], worst[: last + 1]


@loop()
def settle(sci: Any, charge: Any, cuts: Any, accounts: Any) -> None:
    """Add what stays in the slopes of struck pixels, and the noise of those whose ramps are cut.

    Parameters
    ----------
    sci : floating array, (pixels,)
        Slopes.
    charge : (int64 array, floating array)
        Places, and what is added.
    cuts : (int64 array, float64 array, float32 array)
        Places, by what their read variance grows, and deviates of the noise that makes it grow.
    accounts : tuple of floating arrays, (pixels,)
        Of the read variance.
    """
    (struck, added), (cut, factor, deviates), kind = charge, cuts, sci.dtype.type
    for index in range(struck.size):
        sci[struck[index]] += added[index]
    for index in range(cut.size):
        variance = np.float64(accounts[0][cut[index]])
        sci[cut[index]] += kind(np.sqrt(variance * (factor[index] - 1.0)) * deviates[index])
    for account in accounts:
        for index in range(cut.size):
            account[cut[index]] *= kind(factor[index])


@loop()
def add_light(sci: Any, places: Any, counts: Any, amount: Any, k: Any, accounts: Any) -> None:
    """Add counts of electrons, and what their mean is the variance of; see ``signals.add_light``.

    ``counts`` (float32) and ``amount`` (float64, science units) belong to the places; ``k`` are electrons per unit.
    """
    kind = sci.dtype.type
    for index in range(places.size):
        sci[places[index]] += kind(counts[index] / np.float32(k))
    for account in accounts:
        for index in range(places.size):
            account[places[index]] += kind(amount[index] / k)


@loop()
def give_neighbours(sci: Any, places: Any, columns: Any, shares: Any, accounts: Any) -> None:
    """Give a share of the light of pixels to each of their four neighbours, and its square of their variance.

    What is no finite number gives nothing. One side comes after the other, as numpy does it.
    """
    (share, square), kind = shares, sci.dtype.type
    light, shot = np.empty(places.size, sci.dtype), np.empty(places.size, sci.dtype)
    for index in range(places.size):
        value, variance = sci[places[index]], accounts[0][places[index]]
        light[index] = (value if np.isfinite(value) else kind(0)) * share
        shot[index] = (variance if np.isfinite(variance) else kind(0)) * square
    for side in range(4):
        for index in range(places.size):
            place = places[index]
            column = place % columns
            if side == 0:
                other = place - columns
            elif side == 1:
                other = place - 1 if column > 0 else -1
            elif side == 2:
                other = place + 1 if column < columns - 1 else -1
            else:
                other = place + columns
            if 0 <= other < sci.size:
                sci[other] += light[index]
                for account in accounts:
                    account[other] += shot[index]


@loop()
def weaken(sci: Any, read: Any, places: Any, deviates: Any, shares: Any, accounts: Any) -> None:
    """Let pixels show a share of their light, of their variance its square, and all of their read noise.

    ``shares`` are the share, the root of what its square lacks of 1, and its square.
    """
    (share, rest, square), zero = shares, sci.dtype.type(0)
    for index in range(places.size):
        place = places[index]
        sci[place] = (zero + share * (sci[place] - zero)) + rest * np.sqrt(read[place]) * deviates[index]
    for account in accounts:
        for index in range(places.size):
            account[places[index]] *= square
