"""Asking an archive, MAST or a local one: observations, products, programs, bytes.

Holds: :class:`ArchiveClient`. astroquery asks the questions (``mast``), the bytes come by an HTTP
client of ours (``download``), and both go through one transport that contacts this archive only.
Keep out what becomes of the answers: tables in ``schema``, files in ``lake.ingest``.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hwosim_assets.archive import mast
from hwosim_assets.archive.download import ByteStream, Facts, facts_of, open_stream
from hwosim_assets.archive.errors import (
    ArchiveAnswerError,
    ArchiveMissingError,
    ArchiveRefusedError,
    NoSuchProgramError,
    ProgramsNotListedError,
)
from hwosim_assets.archive.products import is_fits_science, unique_products
from hwosim_assets.archive.schema import OBSERVATION_COLUMNS
from hwosim_assets.archive.transport import Transport, shown
from hwosim_assets.errors import BadInputError
from hwosim_assets.fits.names import program_key

if TYPE_CHECKING:
    from hwosim_assets.settings import Settings

__all__ = ["ArchiveClient", "Cone"]

#: Right ascension, declination and radius, deg ICRS.
Cone = tuple[float, float, float]
#: Rows per page of the mission search (astroquery's own default limit).
MISSION_PAGE = 5000
#: Where a local archive lists its programs; MAST has no such page.
PROGRAMS_PATH = "/hwosim/v1/programs"
#: What changes in the mission search when a file set is reprocessed or released.
_VERSION_COLUMNS = ["fileSetName", "ArchiveFileID", "productLevel", "cal_ver", "access", "publicReleaseDate"]


class ArchiveClient:
    """A client of one archive that speaks like MAST.

    Parameters
    ----------
    url : str
        Root of the archive, ``https://mast.stsci.edu`` or that of a local one.
    token : str or None
        MAST API token for exclusive-access files.
    timeout : float
        Seconds without an answer after which the archive counts as silent.
    per_second : float or None
        Requests a second at the most, see :class:`~hwosim_assets.archive.transport.Transport`.

    Attributes
    ----------
    PRODUCT_BATCH : int
        Observations per product request: MAST times out on long lists, and repeats a file for each parent.

    Raises
    ------
    BadInputError
        When the URL is not an HTTP URL.
    """

    PRODUCT_BATCH = 50

    def __init__(
        self, url: str, *, token: str | None = None, timeout: float = 60.0, per_second: float | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._transport = Transport(self.url, token=token, timeout=timeout, per_second=per_second)
        self._asking = threading.Lock()
        self._observations: Any = None
        self._missions: Any = None
        self._lists_programs: bool | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> ArchiveClient:
        """Return the client of the archive that is configured (``HWOSIM_ARCHIVE_URL``)."""
        token = settings.mast_api_token.get_secret_value() if settings.mast_api_token else None
        return cls(
            settings.archive_url,
            token=token,
            timeout=settings.archive_timeout_seconds,
            per_second=settings.archive_requests_per_second,
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> ArchiveClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def observations(
        self,
        program: str | int | None = None,
        instrument: str | None = None,
        target: str | None = None,
        cone: Cone | None = None,
        calib_level: int | None = None,
        data_rights: str | None = None,
        product_type: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the JWST observations that meet all criteria.

        Parameters
        ----------
        program : str or int or None
            JWST program, padded or not.
        instrument : str or None
            ``NIRCAM`` for all its modes, ``NIRCAM/IMAGE`` for one.
        target : str or None
            ``target_name``; ``*`` stands for any characters.
        cone : tuple of float or None
            Right ascension, declination, radius, deg ICRS; the footprint must reach into it.
        calib_level : int or None
            CAOM level, 1 to 4.
        data_rights : str or None
            ``PUBLIC``, ``EXCLUSIVE_ACCESS`` or ``RESTRICTED``.
        product_type : str or None
            CAOM ``dataproduct_type``: image, spectrum, cube, timeseries, measurements, visibility.

        Returns
        -------
        list of dict
            One per ``obsid`` in the 33 columns of
            :data:`~hwosim_assets.archive.schema.OBSERVATION_COLUMNS`, in order of ``obs_id``.

        Raises
        ------
        NoSuchProgramError
            When a program is asked for of which the archive knows no observation.
        ArchiveError
            When the archive fails.
        """
        named: dict[str, Any] = {"obs_collection": "JWST"}
        if program is not None:
            named["proposal_id"] = _proposal_id(program)
        further = {
            "instrument_name": instrument if instrument is None or "/" in instrument else f"{instrument}*",
            "target_name": target,
            "calib_level": calib_level,
            "dataRights": data_rights,
            "dataproduct_type": product_type,
        }
        further = {name: value for name, value in further.items() if value is not None}
        rows = self._ask_observations(lambda caom: caom.query_criteria(**named, **further, **_position(cone)))
        if not rows and program is not None and (not (further or cone) or not self._knows(program)):
            raise self._no_such_program(program)
        by_id = {row.get("obsid"): row for row in rows}
        picked = [{name: row.get(name) for name in OBSERVATION_COLUMNS} for row in by_id.values()]
        return sorted(picked, key=lambda row: (row["obs_id"] or "", row["obsid"] or ""))

    def products(
        self,
        observations: Iterable[Mapping[str, Any]],
        product_type: str | None = None,
        data_rights: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the FITS science products of observations, each file once.

        Parameters
        ----------
        observations : iterable of mapping
            Rows with an ``obsid``.
        product_type : str or None
            File suffix such as ``cal`` (MAST's ``productSubGroupDescription``).
        data_rights : str or None
            ``PUBLIC`` for example; compared without regard to case.

        Returns
        -------
        list of dict
            One per ``dataURI`` in the 20 columns of
            :data:`~hwosim_assets.archive.schema.PRODUCT_COLUMNS`, in order of ``dataURI``. Of a file
            listed under several parents, the row of its own observation stands.

        Raises
        ------
        ArchiveError
            When the archive fails.
        """
        obsids = sorted({str(row["obsid"]) for row in observations if row.get("obsid")})
        found: list[dict[str, Any]] = []
        for start in range(0, len(obsids), self.PRODUCT_BATCH):
            for row in self._product_batch(obsids[start : start + self.PRODUCT_BATCH]):
                if not is_fits_science(row):
                    continue
                if product_type and str(row.get("productSubGroupDescription")).upper() != product_type.upper():
                    continue
                if data_rights and str(row.get("dataRights")).upper() != data_rights.upper():
                    continue
                found.append(row)
        return unique_products(found)[0]

    def product_lists(self, obsids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return what is listed under each of a few observations, in one request.

        Parameters
        ----------
        obsids : sequence of str
            At most :attr:`PRODUCT_BATCH`.

        Returns
        -------
        dict of str to list of dict
            Rows of every kind by the ``obsid`` they are listed under; an observation without any is left out.

        Raises
        ------
        ArchiveError
            When the archive fails, or lists files of observations that were not asked for.
        """
        lists: dict[str, list[dict[str, Any]]] = {}
        for row in self._product_batch(list(obsids)):
            parent = str(row.get("parent_obsid"))
            if parent not in obsids:
                raise ArchiveAnswerError(
                    shown(self.url),
                    f"lists {str(row.get('productFilename'))[:80]!a} under {parent[:40]!a}, which was not asked for",
                    "ask again later",
                    rule="bad_answer",
                )
            lists.setdefault(parent, []).append(row)
        return lists

    def file_set_versions(self, program: str) -> dict[str, str]:
        """Return what changes when a file set of a program is reprocessed or released, by file set name.

        Raises
        ------
        ArchiveError
            When the archive fails.
        """
        states: dict[str, list[str]] = {}
        for row in self.mission_search(program=program, columns=_VERSION_COLUMNS):
            state = json.dumps([row.get(name) for name in _VERSION_COLUMNS])
            states.setdefault(str(row.get("fileSetName")), []).append(state)
        return {name: "\n".join(sorted(of_name)) for name, of_name in states.items()}

    def programs(self, of: Sequence[str] | None = None) -> dict[str, str]:
        """Return programs with a fingerprint that changes when their products change.

        A local archive lists all its programs at once. MAST does not, and listing them is not
        feasible; there the programs asked for are looked up one by one in the mission search, whose
        rows change when a file set is reprocessed or released.

        Parameters
        ----------
        of : sequence of str or None
            Programs asked for; ``None`` for all.

        Returns
        -------
        dict of str to str
            Five-digit program to fingerprint; a program the archive does not know is left out.

        Raises
        ------
        ProgramsNotListedError
            When all programs are asked of an archive that does not list them.
        ArchiveError
            When the archive fails.
        """
        wanted = None if of is None else [program_key(program) for program in of]
        listed = self._listed_programs()
        if listed is not None:
            return listed if wanted is None else {key: listed[key] for key in wanted if key in listed}
        if wanted is None:
            raise ProgramsNotListedError(
                shown(self.url),
                "does not list its programs",
                "name them: `hwosim programs register P`",
                rule="not_listed",
            )
        prints = {key: self._fingerprint(key) for key in wanted}
        return {key: value for key, value in prints.items() if value}

    def mission_search(
        self,
        program: str | int | None = None,
        instrument: str | None = None,
        target: str | None = None,
        cone: Cone | None = None,
        columns: Sequence[str] | None = None,
        **conditions: object,
    ) -> list[dict[str, Any]]:
        """Search JWST file sets by header keywords (MAST's JWST mission search).

        Parameters
        ----------
        program : str or int or None
            JWST program, padded or not.
        instrument : str or None
            ``instrume``, for example ``NIRCAM``.
        target : str or None
            Proposer's target name (``targprop``).
        cone : tuple of float or None
            Right ascension, declination, radius, deg ICRS.
        columns : sequence of str or None
            Columns wanted; ``None`` for MAST's default ones.
        **conditions
            Further conditions by column name, for example ``exp_type="NRC_IMAGE"``.

        Returns
        -------
        list of dict
            One per file set.

        Raises
        ------
        BadInputError
            When nothing is asked for.
        ArchiveError
            When the archive fails, or does not know a column.
        """
        asked = {
            "program": None if program is None else int(program_key(program)),
            "instrume": instrument,
            "targprop": target,
        } | conditions
        asked = {name: value for name, value in asked.items() if value is not None}
        if not asked:
            raise BadInputError("mission search", "has no condition", "name a program, an instrument or a target")
        criteria = asked | _position(cone)
        rows: list[dict[str, Any]] = []
        while True:
            page = self._mission_page(criteria, columns, len(rows))
            rows += page
            if len(page) < MISSION_PAGE:
                return rows

    def facts(self, data_uri: str) -> Facts:
        """Ask for a file's size, tag and digest without its bytes.

        Parameters
        ----------
        data_uri : str
            As in a product row.

        Returns
        -------
        Facts
            What the archive says; unknown ones are ``None``.

        Raises
        ------
        ArchiveError
            When the archive fails or does not have the file.
        """
        return facts_of(self._transport, self.download_url(data_uri))

    def open(self, data_uri: str, offset: int = 0, etag: str | None = None) -> AbstractContextManager[ByteStream]:
        """Open a file of the archive for reading.

        Parameters
        ----------
        data_uri : str
            As in a product row, for example ``mast:JWST/product/jw…_cal.fits``.
        offset : int
            First byte wanted.
        etag : str or None
            Tag of the file whose first ``offset`` bytes are at hand.

        Returns
        -------
        context manager of ByteStream
            Look at its ``offset`` before using the chunks: an archive may send the whole file.

        Raises
        ------
        ArchiveError
            On entering, or from the chunks, when the archive fails.
        """
        return open_stream(self._transport, self.download_url(data_uri), offset, etag)

    def download_url(self, data_uri: str) -> str:
        """Return the address under which a file is downloaded.

        Raises
        ------
        BadInputError
            When the URI is not an archive URI.
        """
        if not data_uri.startswith("mast:") or not data_uri.isprintable():
            raise BadInputError(f"data URI {data_uri[:80]!a}", "is not an archive URI", "give mast:JWST/product/…")
        return f"{self.url}/api/v0.1/Download/file?uri={quote(data_uri, safe=':/')}"

    def mirror_path(self, data_uri: str) -> str:
        """Return where the archive's public mirror keeps a file, with a leading slash; empty where it does not.

        Raises
        ------
        ArchiveError
            When the archive fails.
        """
        url = f"{self.url}/api/v0.1/path_lookup/?uri={quote(data_uri, safe=':/')}"
        reply = self._transport.request("GET", url)
        try:
            found = json.loads(reply.content)[data_uri]
            return str(found["path"] or "") if found["status_code"] == 200 else ""
        except (ValueError, KeyError, TypeError) as problem:
            raise ArchiveAnswerError(
                shown(url), "did not say where the file lies", "unset HWOSIM_ARCHIVE_MIRROR", rule="bad_answer"
            ) from problem

    def _ask_observations(self, question: Callable[[Any], Any]) -> list[dict[str, Any]]:
        """Ask astroquery's observations query; it keeps state between calls, so one thread at a time."""
        with self._asking:
            if self._observations is None:
                self._observations = mast.observations_at(self._transport)
            return mast.ask(lambda: question(self._observations), self._transport)

    def _product_batch(self, obsids: list[str]) -> list[dict[str, Any]]:
        return self._ask_observations(lambda caom: caom.get_product_list(obsids))

    def _mission_page(
        self, criteria: Mapping[str, Any], columns: Sequence[str] | None, offset: int
    ) -> list[dict[str, Any]]:
        """Ask astroquery's mission search for one page; it appends to the list of columns, hence the copy."""
        with self._asking:
            if self._missions is None:
                self._missions = mast.missions_at(self._transport)
            selected = None if columns is None else list(columns)
            return mast.ask(
                lambda: self._missions.query_criteria(
                    limit=MISSION_PAGE, offset=offset, select_cols=selected, **criteria
                ),
                self._transport,
            )

    def _knows(self, program: str | int) -> bool:
        rows = self._ask_observations(
            lambda caom: caom.query_criteria(
                obs_collection="JWST", proposal_id=_proposal_id(program), pagesize=1, page=1
            )
        )
        return bool(rows)

    def _no_such_program(self, program: str | int) -> NoSuchProgramError:
        return NoSuchProgramError(
            f"program {program_key(program)}",
            f"{shown(self.url)} has no observation of it",
            "look for the number with `hwosim search --source archive`, or point HWOSIM_ARCHIVE_URL elsewhere",
        )

    def _listed_programs(self) -> dict[str, str] | None:
        """Return a local archive's own list of programs, or ``None`` where there is none."""
        if self._lists_programs is False:
            return None
        try:
            reply = self._transport.request("GET", f"{self.url}{PROGRAMS_PATH}")
            listed = {program_key(key): str(row["fingerprint"]) for key, row in json.loads(reply.content).items()}
        except (ArchiveMissingError, ArchiveRefusedError, ArchiveAnswerError):
            listed = None
        except (BadInputError, ValueError, KeyError, TypeError, AttributeError):
            listed = None  # a page for people, as MAST shows for some paths it does not know
        self._lists_programs = listed is not None
        return listed

    def _fingerprint(self, program: str) -> str:
        states = sorted(self.file_set_versions(program).values())
        return hashlib.sha256("\n".join(states).encode()).hexdigest() if states else ""


def _proposal_id(program: str | int) -> str:
    """Return a program as MAST writes it: without leading zeros."""
    return str(int(program_key(program)))


def _position(cone: Cone | None) -> dict[str, Any]:
    if cone is None:
        return {}
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    ra, dec, radius = cone
    if not (-90 <= dec <= 90 and 0 < radius <= 180 and -360 <= ra <= 360):
        raise BadInputError(f"cone {cone}", "lies outside the sky", "give RA DEC RADIUS in degrees")
    return {"coordinates": SkyCoord(ra * u.deg, dec * u.deg, frame="icrs"), "radius": radius * u.deg}
