"""How a loop is compiled, and where what numba made of it is kept.

Holds: :func:`loop`, the decorator of every loop of this package. Keep out the loops.

Numba keeps what it compiled until the file of that loop changes. A loop may be made of others in other files, though,
and after a change of theirs alone it would go on as before, with other bits. So what is kept lies in a folder of the
version of all files: below ``NUMBA_CACHE_DIR`` where that is set, else beside the modules. Where neither can be written
to, numba finds a place of its own, by the file of the loop alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
from numba import njit

__all__ = ["loop", "version"]


def loop(**options: Any) -> Callable[[Any], Any]:
    """Return a decorator that compiles a loop when it is first called, keeps that, and lets other threads run.

    Parameters
    ----------
    **options
        Of ``numba.njit``.
    """

    def compiled(function: Any) -> Any:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(_folder(before))  # numba looks once, when it is told to keep what it compiles
        try:
            return njit(cache=True, nogil=True, **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return compiled


@lru_cache(maxsize=8)
def _folder(given: str) -> Path:
    here = Path(__file__).parent
    return (Path(given) if given else here / "__pycache__") / f"loops-{version(here)}"


def version(folder: Path) -> str:
    """Return sixteen hexadecimal digits of all modules in a folder: others when any of them changes."""
    found = hashlib.sha256()
    for module in sorted(folder.glob("*.py")):
        found.update(f"{module.name} {hashlib.sha256(module.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()[:16]
