"""Loops over pixels that numba compiles, where it is installed: the bits that numpy makes, in a fraction of the time.

Holds: :func:`want` and :func:`on`, which decide whether the loops of this package are used; the loops themselves stand
in its modules, each beside the numpy code that calls it by name. Compiled without ``fastmath`` LLVM neither reorders
nor fuses arithmetic, so both ways give the same bits, and the tests compare them. Keep out anything that only the loops
could do: without numba (extra ``fast``) everything works, slower.
"""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["LEAST_PIXELS", "on", "want"]

#: Pixels of a measurement from which on the loops are loaded. Importing numba takes 0.6 s once in a process, which
#: small products never earn back: a frame of 2048 x 2048 saves about 0.1 s.
LEAST_PIXELS = 1 << 21

_wanted = False


def want(pixels: int) -> None:
    """Use the loops from now on, in this process, if so many pixels are worth it and numba is installed."""
    global _wanted  # it changes speed and nothing else
    if not _wanted and pixels >= LEAST_PIXELS and find_spec("numba") is not None:
        _wanted = True


def on() -> bool:
    """Return whether the loops are used."""
    return _wanted
