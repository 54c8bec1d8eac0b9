"""Random numbers and rounding, so that a seed gives the same bytes wherever it is drawn.

Holds: the keyed generator and the rounding that keeps the last bits of a mathematics library out of
the data. Keep out what is drawn; that stands beside the physics that needs it.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "generator", "steady"]

#: Double precision, whatever the shape.
Floats = NDArray[np.float64]

#: Mantissa bits that :func:`steady` keeps: one part in 2**22, far below the noise of any pixel.
_KEPT_BITS = 22


def generator(seed: int, *what: object) -> np.random.Generator:
    """Return the random stream of one thing: an exposure, a detector, a star field.

    Parameters
    ----------
    seed : int
        The root seed.
    *what : object
        What the stream is for. The Philox key is a digest of seed and words, so that a stream never
        depends on what else was drawn before it.
    """
    words = "/".join([str(seed), *map(str, what)])
    key = hashlib.blake2b(words.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype="<u8").astype(np.uint64)))


def steady(values: Floats) -> Floats:
    """Round to 22 mantissa bits.

    Exponentials, powers and matrix products differ in their last bits between processors and numpy
    builds; rounded values do not, but for one pixel in some hundred million.

    Parameters
    ----------
    values : ndarray of float64
        Any shape and unit; finite.
    """
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(mantissa * 2.0**_KEPT_BITS), exponent - _KEPT_BITS))
