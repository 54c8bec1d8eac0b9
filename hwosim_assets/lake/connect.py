"""The table catalog: which kind an address names, opening it, wording its failures.

Holds: :func:`connect` and :func:`catalog_errors`. SQLite by default; PostgreSQL, REST and AWS Glue by
``HWOSIM_CATALOG_URI`` alone.
Keep out the tables (``lake.tables``). The libraries are imported when a catalog is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hwosim_assets.errors import BackendAbsentError, BadInputError, HwosimError
from hwosim_assets.lake.place import Place
from hwosim_assets.settings import redacted

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

__all__ = ["BehindError", "catalog_errors", "connect"]


class BehindError(Exception):
    """Another writer was faster; what was compared is out of date."""


def connect(uri: str, place: Place, namespace: str) -> Catalog:
    """Open a table catalog and make the namespace of the lake.

    Parameters
    ----------
    uri : str
        ``sqlite:///…``, ``postgresql+psycopg2://…``, the URL of a REST catalog, or ``glue://[region]``:
        AWS Glue, with the credentials and the endpoint that the ``AWS_*`` variables name.
    place : Place
        Where the tables lie.
    namespace : str
        Made where it is not there.

    Raises
    ------
    BadInputError
        If the address is none.
    BackendAbsentError
        If the folder of an SQLite file cannot be made.
    """
    from pyiceberg.catalog import load_catalog
    from pyiceberg.exceptions import NamespaceAlreadyExistsError
    from sqlalchemy.exc import ArgumentError

    if uri.startswith("sqlite:///"):
        _make_folder(uri)
        uri += "" if "?" in uri else "?timeout=30"
    try:
        catalog = load_catalog(
            "hwosim",
            warehouse=place.iceberg_location,
            **(_glue(uri, place) if uri.startswith("glue:") else {"uri": uri}),
            # a database server closes idle connections, and all of them when it restarts
            pool_pre_ping="true",
            **place.iceberg_properties(),
        )
    except (ValueError, ArgumentError) as error:
        # their words may hold the address, password and all
        raise BadInputError(
            _named(uri),
            "is no address of a table catalog",
            "set HWOSIM_CATALOG_URI to sqlite:///file, postgresql+psycopg2://user:password@host/database, "
            "glue://region or https://…",
        ) from error
    if not catalog.namespace_exists(namespace):
        with suppress(NamespaceAlreadyExistsError):
            catalog.create_namespace(namespace)
    return catalog


def _glue(uri: str, place: Place) -> dict[str, str]:
    """Return PyIceberg's properties for AWS Glue; boto3 finds credentials, profile and endpoint by itself."""
    region = urlsplit(uri).netloc or place.region
    return {"type": "glue", "glue.region": region}


def _make_folder(uri: str) -> None:
    folder = Path(uri.removeprefix("sqlite:///").partition("?")[0]).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"the folder {folder} cannot be made ({error.strerror})"
        raise BackendAbsentError(_named(uri), reason, "correct HWOSIM_CATALOG_URI") from error


@contextmanager
def catalog_errors(uri: str) -> Iterator[None]:
    """Word failures of a catalog; a locked SQLite catalog counts as another writer's turn.

    Raises
    ------
    BehindError
        If another writer was faster.
    HwosimError
        If the catalog's disk is full.
    BackendAbsentError
        If it cannot be used; the message says why, without secrets.
    """
    from pyiceberg.exceptions import NotInstalledError, RESTError
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except NotInstalledError as error:
        extra = "the package boto3" if uri.startswith("glue:") else "the extra postgres"
        raise BackendAbsentError(
            _named(uri), f"needs a further package ({error.__cause__ or error})", f"install {extra}"
        ) from error
    except _aws_failures(uri) as error:
        raise _aws_error(uri, error) from error
    # requests' is an OSError, which would be taken for the store's
    except (RequestException, SQLAlchemyError, RESTError) as error:
        raise _error(uri, error) from error


def _aws_failures(uri: str) -> tuple[type[Exception], ...]:
    """Return what boto3 raises, without importing it for another kind of catalog."""
    if not uri.startswith("glue:"):
        return ()
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError


def _named(uri: str) -> str:
    return f"table catalog {redacted(uri)}"


def _aws_error(uri: str, error: Exception) -> Exception:
    """Return the error for people that one of boto3's stands for."""
    code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
    if code in {"AlreadyExistsException", "ConcurrentModificationException"}:
        return BehindError(str(error))
    mend = {
        "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
        "PartialCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, both",
        "UnrecognizedClientException": "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "ExpiredTokenException": "renew AWS_SESSION_TOKEN",
        "AccessDeniedException": "grant this user glue:GetDatabase, GetTable, CreateTable and UpdateTable",
    }.get(code, "check the region in HWOSIM_CATALOG_URI and AWS_ENDPOINT_URL")
    reason = " ".join(str(error).split())[:300]
    return BackendAbsentError(_named(uri), f"cannot be used: {reason}", mend)


def _error(uri: str, error: Exception) -> Exception:
    text = str(getattr(error, "orig", None) or error)
    place = _named(uri)
    if "database is locked" in text or "already exists" in text or "UNIQUE constraint" in text:
        return BehindError(text)
    if "disk is full" in text:
        return HwosimError(place, "no space is left", "free space on that disk, then run again")
    if "readonly" in text:
        return BackendAbsentError(place, "is read-only", "change the file's permissions")
    reason = text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__
    return BackendAbsentError(place, f"cannot be used: {reason}", "start it, or correct HWOSIM_CATALOG_URI")
