"""Who found what: things that a model found against things that were injected, each used once.

Holds: :func:`match` for places and times and :func:`match_pixels` for masks. Keep out where the injected ones come from
(``injected``) and what follows from the counts (``metrics``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from hwosim_assets.evaluate.metrics import Counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["Matched", "match", "match_pixels"]

Places = Sequence[tuple[float, ...]]


@dataclass(frozen=True)
class Matched:
    """What became of the injected and of the found.

    Attributes
    ----------
    pairs : tuple of (int, int)
        Injected and found that belong together, by their places in the lists.
    missed : tuple of int
        Injected that nobody found.
    blended : tuple of int
        Injected where something stood already, so that nobody can tell which of the two was found.
    wrong : tuple of int
        Found where nothing was injected and nothing stood.
    """

    pairs: tuple[tuple[int, int], ...]
    missed: tuple[int, ...]
    blended: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def counts(self) -> Counts:
        """How many of each."""
        return Counts(len(self.pairs), len(self.missed), len(self.wrong), len(self.blended))


def match(injected: Places, radii: Sequence[float], found: Places, known: Places, known_radius: float) -> Matched:
    """Match things by place, one to one: as many as can be, and of these the nearest.

    Parameters
    ----------
    injected : sequence of tuple of float, (n, d)
        Where things were injected.
    radii : sequence of float, (n,)
        How near a found one must be.
    found : sequence of tuple of float, (m, d)
        Where the model found some.
    known : sequence of tuple of float, (k, d)
        What stood there before anything was injected: finding it is neither right nor wrong.
    known_radius : float
        How near to a known one is at it.

    Returns
    -------
    Matched

    Notes
    -----
    An assignment of least total distance (``scipy.optimize.linear_sum_assignment``) in which every pair too far apart
    costs more than all near ones together.
    """
    near_known = _near(injected, known, np.asarray(radii, np.float64))
    blended = tuple(np.flatnonzero(near_known).tolist())
    clear = np.flatnonzero(~near_known)
    pairs: list[tuple[int, int]] = []
    if clear.size and len(found):
        distance = cdist(np.asarray(injected, np.float64)[clear], np.asarray(found, np.float64))
        allowed = distance <= np.asarray(radii, np.float64)[clear, None]
        some = np.flatnonzero(allowed.any(axis=0))  # of many thousand found ones few are near
        allowed, distance = allowed[:, some], distance[:, some]
        far = 1.0 + distance[allowed].sum()
        rows, columns = linear_sum_assignment(np.where(allowed, distance, far))
        kept = allowed[rows, columns]
        pairs = list(zip(clear[rows[kept]].tolist(), some[columns[kept]].tolist(), strict=True))
    hit, used = {one for one, _ in pairs}, {other for _, other in pairs}
    missed = tuple(index for index in clear.tolist() if index not in hit)
    # What is near a blended one cannot be told either.
    excused = _near(found, [*known, *(injected[index] for index in blended)], known_radius)
    wrong = tuple(index for index in range(len(found)) if index not in used and not excused[index])
    return Matched(tuple(pairs), missed, blended, wrong)


def _near(places: Places, others: Places, radius: float | Floats) -> Mask:
    """Return which places lie within a radius of any of the others."""
    if not len(places) or not len(others):
        return np.zeros(len(places), bool)
    distance, _ = KDTree(np.asarray(others, np.float64)).query(np.asarray(places, np.float64))
    return np.asarray(distance <= radius)


def match_pixels(truth: Mask, doubtful: Mask, found: Mask) -> Counts:
    """Count pixels of a mask that is true where another says so.

    Parameters
    ----------
    truth : bool array
        Pixels that were hit.
    doubtful : bool array
        Pixels that count neither way.
    found : bool array
        Pixels that the model says were hit.
    """
    counted = ~doubtful
    return Counts(
        int((truth & found & counted).sum()),
        int((truth & ~found & counted).sum()),
        int((~truth & found & counted).sum()),
        int((truth & doubtful).sum()),
    )
