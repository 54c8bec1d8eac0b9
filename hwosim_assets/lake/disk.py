"""Waiting until a disk has what was written to it.

Holds: :func:`flush`. A kill loses nothing that a process has written; a power cut does, for as long as it lies in the
memory of the system. Keep out what is written (``lake.store``) and when it has to be safe (``lake.ingest``).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = ["flush"]


def flush(folder: Path) -> None:
    """Wait until the file system of a folder is on its disk, with all files and folders that were made in it.

    One call for any number of files: waiting for each of a thousand takes as many turns of the disk.

    Parameters
    ----------
    folder : pathlib.Path
        Any folder of the file system.

    Raises
    ------
    OSError
        If something could not be written (Linux from 5.8 on says so).
    """
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):  # Linux only
        os.sync()
        return
    at = os.open(folder, os.O_RDONLY)
    try:
        if library.syncfs(at):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(folder))
    finally:
        os.close(at)
