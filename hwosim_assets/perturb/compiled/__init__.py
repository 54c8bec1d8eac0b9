"""Loops over pixels that numba compiles, where it is installed: the bits that numpy makes, in a fraction of the time.

Holds: :func:`want` and :func:`on`, which decide whether the loops of this package are used; the loops themselves stand
in its modules, each beside the numpy code that calls it by name. Compiled without ``fastmath`` LLVM neither reorders
nor fuses arithmetic, so both ways give the same bits, and the tests compare them; of what is no number only that it
is none, since of two such operands either may be kept. Keep out anything that only the loops could do: without numba
(extra ``fast``) everything works, slower.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec

import numpy as np

__all__ = ["LEAST_PIXELS", "on", "want"]

#: Pixels of a measurement from which on the loops are loaded. Importing numba takes 1.3 s once in a process, which
#: small products never earn back: a frame of 2048 x 2048 saves about 0.1 s.
LEAST_PIXELS = 1 << 21

_LOOPS = ("convolution", "draws", "effects", "exact", "scattered", "transfer")
_tried = _wanted = False


def want(pixels: int) -> None:
    """Use the loops from now on, in this process, if so many pixels are worth it and numba is installed.

    Where numba cannot work, with a numpy that is newer than it knows or without a folder that it may write to, numpy
    does everything and the log says why: the loops would be compiled anew by each process, which takes longer than they
    save.
    """
    global _tried, _wanted  # they change speed and nothing else
    if _tried or pixels < LEAST_PIXELS or find_spec("numba") is None:
        return
    _tried = True
    try:
        loops = {name: import_module(f"{__name__}.{name}") for name in _LOOPS}
        loops["transfer"].root_of_change(
            np.zeros(1, np.float32), np.zeros(1, np.float32)
        )  # one can be compiled, and kept
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        mend = "where it finds no place for what it compiles, name one that only you can write to in NUMBA_CACHE_DIR"
        logging.getLogger(__name__).warning("compiled loops are not used, numba says: %s; %s", reason, mend)
    else:
        _wanted = True


def on() -> bool:
    """Return whether the loops are used."""
    return _wanted
