"""Waiting until a disk has what was written to it.

Holds: :func:`flush`, and :class:`Boot` for what was not waited for. A kill loses nothing that a process has written; a
power cut does, for as long as it lies in the memory of the system. Keep out what is written (``lake.store``) and when
it has to be safe (``lake.ingest``).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = ["Boot", "flush"]

#: Where Linux says which start of the machine this is.
BOOT = Path("/proc/sys/kernel/random/boot_id")


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


class Boot:
    """In which start of the machine a folder was written to last.

    A file that was not waited for before a power cut may have its full size, and zeros where the bytes did not get to
    the disk.

    Parameters
    ----------
    folder : pathlib.Path
        The folder; it remembers the start in a file.
    """

    def __init__(self, folder: Path) -> None:
        self._note = folder / "boot"
        self._now = BOOT.read_text() if BOOT.exists() else ""

    @property
    def same(self) -> bool:
        """Whether the machine has run on since; where the system does not say (not Linux), it has."""
        return not self._now or (self._note.exists() and self._note.read_bytes() == self._now.encode())

    def note(self) -> None:
        """Remember this start, when everything from an earlier one was looked at."""
        if not self.same:
            self._note.write_text(self._now)
