"""astroquery, pointed at one archive and at nothing else.

Holds: astroquery's ``Observations`` and ``MastMissions`` built so that every request goes through
this archive's :class:`~hwosim_assets.archive.transport.Transport`, and their tables as plain rows.
Only the two instances are changed; astroquery's configuration and its class attributes stay as they
are. Keep out which questions are asked (``client``).

astroquery sets URLs as class attributes from ``astroquery.mast.conf`` at import time, keeps column
configurations in a dictionary shared by all instances, and sets no time limit on requests; hence
the instance attributes and the adapter here. Its name resolution (``objectname=``) asks hosts that
are fixed in its code, so it is never used.
"""

from __future__ import annotations

import io
import json
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hwosim_assets.archive.errors import ArchiveAnswerError, ArchiveSilentError
from hwosim_assets.archive.transport import SERVE_HINT, Reply, Transport, shown
from hwosim_assets.errors import BadInputError

if TYPE_CHECKING:
    import requests
    from astropy.table import Table

__all__ = ["ask", "missions_at", "observations_at", "plain_rows"]

#: How many time limits a question may take in all while MAST says "executing"; with the default
#: limit of 60 s this is astroquery's own 600 s.
PATIENCE = 10
#: Seconds between two looks at a question that MAST is still executing; astroquery itself does not wait.
POLL_SECONDS = 0.5


def observations_at(transport: Transport) -> Any:
    """Return astroquery's CAOM observations query, asking this archive.

    Parameters
    ----------
    transport : Transport
        The archive.

    Returns
    -------
    astroquery.mast.ObservationsClass
        A new instance.
    """
    from astroquery.mast import ObservationsClass

    observations = ObservationsClass()
    portal = observations._portal_api_connection  # noqa: SLF001  (astroquery has no public way to set the server of an instance)
    portal.MAST_REQUEST_URL = f"{transport.url}/api/v0/invoke"
    portal.COLUMNS_CONFIG_URL = f"{transport.url}/portal/Mashup/Mashup.asmx/columnsconfig"
    portal.MAST_DOWNLOAD_URL = f"{transport.url}/api/v0.1/Download/file"
    portal.MAST_BUNDLE_URL = f"{transport.url}/api/v0.1/Download/bundle"
    portal.TIMEOUT = PATIENCE * transport.timeout
    portal._column_configs = {}  # noqa: SLF001  (shared by all archives otherwise)
    _route(portal._session, transport)  # noqa: SLF001
    return observations


def missions_at(transport: Transport) -> Any:
    """Return astroquery's JWST mission search, asking this archive.

    The list of columns is fetched here: astroquery fetches it past its own session.

    Parameters
    ----------
    transport : Transport
        The archive.

    Returns
    -------
    astroquery.mast.MastMissionsClass
        A new instance for the mission ``jwst``.

    Raises
    ------
    ArchiveError
        When the archive does not give its list of columns.
    """
    from astropy.table import Table
    from astroquery.mast import MastMissionsClass

    url = f"{transport.url}/search/util/api/v0.1/column_list?{urlencode({'mission': 'jwst'})}"
    reply = transport.request("GET", url, headers={"Accept": "application/json"})
    try:
        listed = [(row["column_name"], row["qual_type"], row["description"]) for row in json.loads(reply.content)]
    except (ValueError, KeyError, TypeError) as problem:
        raise _not_mast(url, problem) from problem
    missions = MastMissionsClass(mission="jwst")
    missions.columns = {"jwst": Table(rows=listed, names=("name", "data_type", "description"))}
    service = missions._service_api_connection  # noqa: SLF001
    service.SERVICE_URL = transport.url
    service.MISSIONS_DOWNLOAD_URL = f"{transport.url}/search/"
    service.MAST_DOWNLOAD_URL = f"{transport.url}/api/v0.1/Download/file"
    service.TIMEOUT = PATIENCE * transport.timeout
    service.set_service_params(missions.service_dict, "search/jwst")
    _route(service._session, transport)  # noqa: SLF001
    return missions


def ask(question: Callable[[], Table], transport: Transport) -> list[dict[str, Any]]:
    """Ask through astroquery and return plain rows.

    Parameters
    ----------
    question : callable
        Calls a method of :func:`observations_at` or :func:`missions_at`.
    transport : Transport
        The archive, for the words of an error.

    Returns
    -------
    list of dict
        See :func:`plain_rows`; empty when nothing matches.

    Raises
    ------
    BadInputError
        When astroquery does not know a criterion.
    ArchiveError
        When the archive fails or its reply is not MAST's.
    """
    from astroquery.exceptions import InvalidQueryError, MaxResultsWarning, NoResultsWarning, RemoteServiceError
    from astroquery.exceptions import TimeoutError as AstroqueryTimeoutError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoResultsWarning)
            warnings.simplefilter("ignore", MaxResultsWarning)
            return plain_rows(question())
    except (TimeoutError, AstroqueryTimeoutError) as problem:
        raise ArchiveSilentError(
            shown(transport.url),
            f"time-out, the question was not answered within {PATIENCE * transport.timeout:g} s",
            "ask for less, or raise HWOSIM_ARCHIVE_TIMEOUT_SECONDS",
            rule="timeout",
        ) from problem
    except RemoteServiceError as problem:
        raise ArchiveAnswerError(
            shown(transport.url), f"refused the question: {problem}", "ask for other criteria", rule="refused"
        ) from problem
    except InvalidQueryError as problem:
        raise BadInputError("question to the archive", str(problem), "ask for other criteria") from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise _not_mast(transport.url, problem) from problem


def plain_rows(table: Table) -> list[dict[str, Any]]:
    """Return a table as dictionaries of Python values.

    Parameters
    ----------
    table : astropy.table.Table
        As astroquery returns it.

    Returns
    -------
    list of dict
        Masked values, NaN and empty strings are ``None``.
    """
    columns = {name: table[name].tolist() for name in table.colnames}
    return [{name: _plain(values[i]) for name, values in columns.items()} for i in range(len(table))]


def _plain(value: Any) -> Any:
    return None if value is None or value == "" or value != value else value


def _not_mast(url: str, problem: Exception) -> ArchiveAnswerError:
    said = " ".join(str(problem).split())[:200]
    return ArchiveAnswerError(
        shown(url),
        f"answered what is not MAST's form ({type(problem).__name__}: {said})",
        SERVE_HINT,
        rule="bad_answer",
    )


def _counts_agree(reply: Reply) -> None:
    """Hold the rows of a reply against the number that the archive says it sends.

    Raises
    ------
    ArchiveAnswerError
        When there are fewer or more; it may pass.
    """
    try:
        said = json.loads(reply.content)
        rows, paging = said["data"], said["paging"]
        counted = int(paging["rowsFiltered"] if paging["pagesFiltered"] == 1 else paging["rows"])
    except (ValueError, KeyError, TypeError):
        return  # a reply without rows, or not of the portal
    if isinstance(rows, list) and len(rows) != counted:
        raise ArchiveAnswerError(
            shown(reply.url),
            f"counts {counted} rows and sent {len(rows)}",
            "ask again later",
            rule="incomplete_list",
            passing=True,
        )


def _route(session: requests.Session, transport: Transport) -> None:
    """Send everything that a session of astroquery asks through the transport."""
    from requests import PreparedRequest, Response
    from requests.adapters import BaseAdapter
    from requests.structures import CaseInsensitiveDict

    class Adapter(BaseAdapter):  # type: ignore[misc, unused-ignore]
        def send(self, request: PreparedRequest, *_: object, **__: object) -> Response:
            named = {name: str(request.headers[name]) for name in ("Content-Type", "Accept") if name in request.headers}
            body = request.body if isinstance(request.body, (bytes, str)) else None
            reply = transport.request(
                request.method or "GET", request.url or "", content=body, headers=named, check=_counts_agree
            )
            if b'"EXECUTING"' in reply.content[:200]:
                time.sleep(POLL_SECONDS)
            response = Response()
            response.status_code, response.url, response.request = reply.status, reply.url, request
            response.headers = CaseInsensitiveDict(reply.headers)
            response.raw = io.BytesIO(reply.content)
            response.encoding = "utf-8"
            return response

        def close(self) -> None:
            """Leave the transport open; it belongs to the client."""

    session.trust_env = False
    session.mount("http://", Adapter())
    session.mount("https://", Adapter())
