"""What can go wrong when asking an archive, told apart.

Holds: :class:`ArchiveError` and its kinds, each with the short ``rule`` under which a refused file
stands in quarantine. Keep out what the transport does before it gives up; that is ``transport``.
"""

from __future__ import annotations

from hwosim_assets.errors import BackendAbsentError, BadInputError

__all__ = [
    "ArchiveAnswerError",
    "ArchiveBrokenError",
    "ArchiveError",
    "ArchiveMissingError",
    "ArchiveRefusedError",
    "ArchiveSilentError",
    "ArchiveSlowError",
    "ArchiveUnreachableError",
    "NoSuchProgramError",
    "ProgramsNotListedError",
]


class ArchiveError(BackendAbsentError):
    """An archive did not give what it was asked for.

    Parameters
    ----------
    thing : str
        The URL that was asked.
    reason : str
        What came back, or did not.
    mend : str
        What the reader can do about it.
    rule : str
        Short name in snake case, for example ``timeout`` or ``http_404``.
    passing : bool
        Whether asking again at once may help (a server error, a broken connection).
    wait : float
        Seconds that the archive asked to wait before that.
    """

    def __init__(
        self, thing: str, reason: str, mend: str, *, rule: str = "archive", passing: bool = False, wait: float = 0.0
    ) -> None:
        super().__init__(thing, reason, mend)
        self.rule = rule
        self.passing = passing
        self.wait = wait


class ArchiveUnreachableError(ArchiveError):
    """Nobody listens there, the name does not resolve, or the connection breaks off."""


class ArchiveSilentError(ArchiveError):
    """The archive took the request and said nothing within the time limit."""


class ArchiveSlowError(ArchiveError):
    """The archive sends, but so little that the reply would never end."""


class ArchiveBrokenError(ArchiveError):
    """The archive answered with a server error (5xx) or "too many requests" (429), more than once."""


class ArchiveRefusedError(ArchiveError):
    """The archive refuses us (401, 403): exclusive access, or a token that is wrong or expired."""


class ArchiveMissingError(ArchiveError):
    """The archive does not have it (404)."""


class ArchiveAnswerError(ArchiveError):
    """The archive answered with something that is not what MAST would say."""


class ProgramsNotListedError(ArchiveError):
    """The archive cannot list its programs (MAST); they must be named."""


class NoSuchProgramError(BadInputError):
    """The archive knows no observation of a program."""
