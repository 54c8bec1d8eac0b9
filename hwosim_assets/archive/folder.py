"""A folder of FITS files as an archive: what lies in it, what cannot be read and why.

Holds: :class:`Folder`, which looks at the folder again when it is asked (cheaply: only files whose
size or time changed are opened) and returns an :class:`Index`. Nothing is written into the folder.
Links and names that would lead out of it are refused. Keep out how files become observations
(``caom``) and how they are served (``server``).
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hwosim_assets.archive.caom import ArchivedFile, Listing, list_files
from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.describe import Description, UnreadableFitsError, describe
from hwosim_assets.fits.names import safe_file_name

__all__ = ["Folder", "Index", "Skipped"]

#: File name endings that are looked at; others (JSON, text, partial downloads) are not FITS files.
ENDINGS = ("fits", ".fits.gz", ".fits.fz")
#: The folder is looked at again when the last look is older than this, in seconds.
RESCAN_SECONDS = 1.0


@dataclass(frozen=True)
class Skipped:
    """A file that the archive does not serve.

    Attributes
    ----------
    path : str
        Relative to the folder; what cannot be printed in it is escaped.
    reason : str
        One sentence.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Index:
    """What a folder holds at one moment.

    Attributes
    ----------
    files : dict of str to ArchivedFile
        By file name.
    listing : Listing
        The same as observations, products, file sets and programs.
    skipped : tuple of Skipped
        In order of path.
    """

    files: dict[str, ArchivedFile]
    listing: Listing
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class _Looked:
    """What a file was found to be when it had this size and time."""

    size: int
    mtime_ns: int
    inode: int
    found: Description | str


class Folder:
    """A folder of FITS files, at any depth.

    Parameters
    ----------
    root : Path
        The folder.
    exclusive : sequence of str
        File name patterns (``jw01234*``) of exclusive-access files.
    rescan_seconds : float
        How old the last look may be before the folder is looked at again.
    on_file : callable or None
        Called with (files done, files in all) as new files are read.

    Raises
    ------
    BadInputError
        When it is not a folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        exclusive: Sequence[str] = (),
        rescan_seconds: float = RESCAN_SECONDS,
        on_file: Callable[[int, int], None] | None = None,
    ) -> None:
        self.root = root.resolve()
        if not self.root.is_dir():
            raise BadInputError(f"archive folder {root}", "is not a folder", "name a folder of FITS files")
        self.exclusive = tuple(exclusive)
        self._rescan_seconds = rescan_seconds
        self._on_file = on_file
        self._lock = threading.Lock()
        self._looked: dict[str, _Looked] = {}
        self._refused: list[Skipped] = []
        self._index: Index | None = None
        self._scanned_at = 0.0

    def index(self) -> Index:
        """Return what the folder holds now.

        Returns
        -------
        Index
            The same object as long as nothing changed.

        Raises
        ------
        OSError
            When the folder itself cannot be read any more.
        """
        with self._lock:
            if self._index is None or time.monotonic() - self._scanned_at >= self._rescan_seconds:
                self._index = self._scan()
                self._scanned_at = time.monotonic()
            return self._index

    def is_inside(self, path: Path) -> bool:
        """Tell whether a path, links resolved, lies in the folder."""
        return path.resolve().is_relative_to(self.root)

    def _scan(self) -> Index:
        refused: list[Skipped] = []
        states: dict[str, os.stat_result] = {}
        for relative, reason in self._walk():
            if reason:
                refused.append(_skipped(relative, reason))
                continue
            state = self._stat(relative)
            if isinstance(state, str):
                refused.append(_skipped(relative, state))
            else:
                states[relative] = state
        looked = self._look(states)
        if self._index is not None and looked == self._looked and refused == self._refused:
            return self._index
        self._looked, self._refused = looked, refused
        return self._built()

    def _walk(self) -> Iterator[tuple[str, str]]:
        """Yield the relative path of each file that may be FITS, or a path and why it is refused."""
        unreadable: list[OSError] = []
        for folder, folders, names in os.walk(self.root, onerror=unreadable.append):
            here = Path(folder)
            for name in [name for name in folders if (here / name).is_symlink()]:
                yield _relative(here / name, self.root), "is a link to a folder, which is not followed"
            folders[:] = sorted(name for name in folders if not name.startswith(".") and not (here / name).is_symlink())
            for name in sorted(names):
                if not name.startswith(".") and name.lower().endswith(ENDINGS):
                    yield _relative(here / name, self.root), ""
        for problem in unreadable:
            path = Path(problem.filename or self.root)
            if path == self.root:
                raise problem
            yield _relative(path, self.root), f"the folder cannot be read ({problem.strerror})"

    def _stat(self, relative: str) -> os.stat_result | str:
        """Return the state of a file, or why it is refused."""
        path = self.root / relative
        try:
            safe_file_name(path.name)
            if path.is_symlink() and not self.is_inside(path):
                return "is a link that leads out of the archive's folder"
            state = path.stat()
        except BadInputError as bad:
            return bad.reason
        except OSError as problem:
            return f"cannot be read ({problem.strerror})"
        return state if stat.S_ISREG(state.st_mode) else "is not a regular file"

    def _look(self, states: dict[str, os.stat_result]) -> dict[str, _Looked]:
        """Describe the files that are new or changed."""
        looked: dict[str, _Looked] = {}
        fresh = 0
        for relative, state in states.items():
            known = self._looked.get(relative)
            mark = (state.st_size, state.st_mtime_ns, state.st_ino)
            if known is None or (known.size, known.mtime_ns, known.inode) != mark:
                known = _Looked(*mark, _described(self.root / relative))
                fresh += 1
                if self._on_file:
                    self._on_file(len(looked) + 1, len(states))
            looked[relative] = known
        return looked

    def _built(self) -> Index:
        files: dict[str, ArchivedFile] = {}
        skipped = list(self._refused)
        for relative, looked in sorted(self._looked.items(), key=lambda item: (item[0].count(os.sep), item[0])):
            path = self.root / relative
            if isinstance(looked.found, str):
                skipped.append(_skipped(relative, looked.found))
            elif path.name in files:
                first = _relative(files[path.name].path, self.root)
                skipped.append(_skipped(relative, f"has the same file name as {first}"))
            else:
                rights = any(fnmatchcase(path.name, pattern) for pattern in self.exclusive)
                files[path.name] = ArchivedFile(path, looked.size, looked.mtime_ns, rights, looked.found)
        return Index(files, list_files(files.values()), tuple(sorted(skipped, key=lambda item: item.path)))


def _described(path: Path) -> Description | str:
    """Return what a file is, or why it cannot be read."""
    try:
        return describe(path, path.name)
    except UnreadableFitsError as unreadable:
        return unreadable.reason
    except OSError as problem:
        return f"cannot be read ({problem.strerror or problem})"
    except Exception as problem:  # one odd file must not hide all others; it is listed with what happened
        return f"cannot be described ({type(problem).__name__}: {' '.join(str(problem).split())})"


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root))


def _skipped(relative: str, reason: str) -> Skipped:
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in relative)
    return Skipped(shown, reason)
