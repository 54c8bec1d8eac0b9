"""What ERR does not say of the noise, at the evenly taken pixels by which a truth tells the loss of signal to noise.

Holds: :class:`Unsaid`, filled while a measurement is perturbed, and which pixels are taken. Keep out the accounts
themselves (``perturb.block``) and what is told of them (``perturb.truth``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwosim_assets.perturb.block import Block
    from hwosim_assets.perturb.measurements import Measurement

__all__ = ["Unsaid", "stride"]

#: Pixels that are looked at, or up to twice as many.
_SAMPLE = 65536


def stride(size: int) -> int:
    """Return every how many elements one is looked at, from the first on."""
    return max(1, size // _SAMPLE)


class Unsaid:
    """The variance of a measurement beyond what its planes state, while some effect's ``err`` is stale or biased.

    Attributes
    ----------
    variance : float64 array
        Of every :func:`stride`-th element, in squared science units; negative where less noise is left than stated.
    """

    def __init__(self, measurement: Measurement) -> None:
        self._step = stride(measurement.sci.size)
        self.variance: NDArray[np.float64] = np.zeros(-(-measurement.sci.size // self._step))

    def take(self, block: Block) -> None:
        """Keep what belongs to the elements of a block; blocks come in any order, and from several threads."""
        for group in range(block.groups):
            first = block.plane(group) * block.measurement.pixels + block.start
            skip = -first % self._step
            part = slice(skip, None, self._step)
            more = sum(block.true[kind][group, part] - block.stated[kind][group, part] for kind in block.true)
            if block.inert is not None:  # these stay as they were
                more = np.where(block.inert[part], 0.0, more)
            start = (first + skip) // self._step
            self.variance[start : start + np.size(more)] = more
