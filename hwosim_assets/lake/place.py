"""Where a lake lies: the meaning of its root URI, how its store is opened, what its failures mean.

Holds: :class:`Place` (``file://`` or ``s3://``, with the S3 properties for obstore and for
PyIceberg) and :func:`store_errors`. Keep out reading and writing; that is ``lake.store``.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from hwosim_assets.errors import BackendAbsentError, BadInputError, HwosimError
from hwosim_assets.settings import redacted

__all__ = ["Place", "client_options", "profile_credentials", "store_errors"]

#: What S3 takes where nothing names a region.
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class Place:
    """The root of a lake.

    Attributes
    ----------
    uri : str
        Root URI without a trailing slash.
    folder : pathlib.Path or None
        The root folder of a ``file://`` lake.
    bucket, prefix : str
        Bucket and key prefix of an ``s3://`` lake.
    """

    uri: str
    folder: Path | None = None
    bucket: str = ""
    prefix: str = ""

    @classmethod
    def parse(cls, uri: str) -> Place:
        """Read a root URI.

        Raises
        ------
        BadInputError
            If it is neither ``file:///folder`` nor ``s3://bucket[/prefix]``, or has ``?`` or ``#`` in
            a name, which PyIceberg would take for the end of the path.
        """
        parts = urlsplit(uri)
        path = unquote(parts.path)
        if parts.query or parts.fragment or ".." in path.split("/"):
            raise _bad_uri(uri)
        local = parts.scheme == "file" and parts.netloc in ("", "localhost")
        if local and path.strip("/") and path.isprintable() and not set(path) & set("?#"):
            folder = Path(path)
            return cls(folder.as_uri(), folder=folder)
        if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
            prefix = parts.path.strip("/")
            return cls(f"s3://{parts.netloc}/{prefix}".rstrip("/"), bucket=parts.netloc, prefix=prefix)
        raise _bad_uri(uri)

    @classmethod
    def of_iceberg(cls, location: str) -> Place:
        """Return the place of an Iceberg location (see :attr:`iceberg_location`)."""
        return cls.parse(Path(location.removeprefix("file://")).as_uri() if location.startswith("file:") else location)

    @property
    def iceberg_location(self) -> str:
        """The root as PyIceberg understands it: it takes the path of a ``file://`` URI literally, ``%20`` and all."""
        return self.uri if self.folder is None else f"file://{self.folder}"

    def uri_of(self, key: str) -> str:
        """Return the URI of a key; S3 keys stand as they are, as every S3 tool writes them."""
        return f"{self.uri}/{quote(key) if self.folder is not None else key}"

    def key_of(self, uri: str) -> str:
        """Return the key of a URI below this root."""
        if not uri.startswith(self.uri + "/"):
            raise BadInputError(uri, f"does not lie in the lake {self.uri}", "check HWOSIM_LAKE_URI")
        key = uri.removeprefix(self.uri + "/")
        return unquote(key) if self.folder is not None else key

    @property
    def endpoint(self) -> str:
        """The S3 endpoint of the environment, empty for Amazon's own.

        Raises
        ------
        BadInputError
            If it is no HTTP URL: obstore's requests would panic, which nobody catches.
        """
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        if endpoint and not re.match(r"https?://[^/]", endpoint):
            mend = "set it to http://host:port or https://host, or unset it for Amazon's own"
            raise BadInputError("the endpoint in AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL", "is no HTTP URL", mend)
        return endpoint

    @property
    def region(self) -> str:
        """The S3 region of the environment."""
        return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION

    def open_store(self) -> Any:
        """Return the obstore store of this place; the folder of a ``file://`` lake is made."""
        from obstore.store import LocalStore, S3Store

        if self.folder is not None:
            return LocalStore(self.folder, mkdir=True)
        options: dict[str, Any] = {"region": self.region}
        if self.endpoint:
            options["endpoint"] = self.endpoint
        if not os.environ.get("AWS_ACCESS_KEY_ID"):
            options["credential_provider"] = profile_credentials(self)
        return S3Store(
            self.bucket,
            prefix=self.prefix or None,
            client_options=client_options(plain_http=self.endpoint.startswith("http://")),
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=30)},
            **options,
        )

    def iceberg_properties(self) -> dict[str, str]:
        """Return the properties by which PyIceberg reaches the same store (``lake.iceberg_io``).

        The region is always said: without one PyIceberg asks Amazon for it, whatever the endpoint.
        Without keys in the environment the AWS SDK inside PyArrow finds the profile by itself.
        """
        if self.folder is not None:
            return {"py-io-impl": "hwosim_assets.lake.local_io.LocalFileIO"}
        properties = {"py-io-impl": "hwosim_assets.lake.iceberg_io.S3FileIO"}
        properties["s3.region"] = self.region
        properties["s3.connect-timeout"] = "5"
        properties["s3.request-timeout"] = "60"
        if self.endpoint:
            properties["s3.endpoint"] = self.endpoint
        for name, variable in (
            ("s3.access-key-id", "AWS_ACCESS_KEY_ID"),
            ("s3.secret-access-key", "AWS_SECRET_ACCESS_KEY"),
            ("s3.session-token", "AWS_SESSION_TOKEN"),
        ):
            if value := os.environ.get(variable):
                properties[name] = value
        return properties


def client_options(*, plain_http: bool) -> Any:
    """Return how obstore's S3 client waits; its own limit of a whole request, body included, is 30 s.

    Parameters
    ----------
    plain_http : bool
        Whether the endpoint may be spoken to without TLS.

    Returns
    -------
    obstore.store.ClientConfig
        The options.
    """
    return {
        "allow_http": plain_http,
        "connect_timeout": timedelta(seconds=5),
        "read_timeout": timedelta(seconds=60),
        "timeout": timedelta(hours=1),  # of a whole object, some gigabytes on a slow line
    }


def profile_credentials(place: Place) -> Any:
    """Return the credentials of the AWS profile, for obstore, which itself reads the environment only."""
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except ValueError:
        raise BackendAbsentError(
            place.uri, "no AWS credentials were found", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        ) from None


def _bad_uri(uri: str) -> BadInputError:
    return BadInputError(
        f"lake {redacted(uri)!r}",
        "is not a place the lake can lie in",
        "set HWOSIM_LAKE_URI to file:///folder or s3://bucket",
    )


@contextmanager
def store_errors(place: Place, key: str = "") -> Iterator[None]:
    """Turn failures of the store into errors that name it, the reason and the mend.

    ``FileNotFoundError`` (no such object) and ``FileExistsError`` (key taken) pass through as these
    built-in kinds, for the caller to word.

    Raises
    ------
    HwosimError
        If a disk is full.
    BackendAbsentError
        If the store is unreachable, the bucket missing, the credentials wrong, or access denied.
    """
    from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

    try:
        yield
    except (AlreadyExistsError, FileExistsError) as error:
        raise FileExistsError(key) from error
    except (NotFoundError, FileNotFoundError) as error:
        if "NoSuchBucket" in str(error):
            raise meaning_of(error, place, key) from error
        raise FileNotFoundError(*error.args) from error
    except (BaseError, OSError) as error:
        raise meaning_of(error, place, key) from error


_SET_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
#: What the store's message contains, the reason for people, and the mend. First match counts.
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (r"NoSuchBucket", "the bucket does not exist", "create it, or set HWOSIM_LAKE_URI to one that does"),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|AuthFailure|status code: 401",
        "the credentials are wrong",
        _SET_KEYS,
    ),
    (r"ExpiredToken|RequestTimeTooSkewed", "the credentials have expired", "renew AWS_SESSION_TOKEN, check the clock"),
    (
        r"PermanentRedirect|AuthorizationHeaderMalformed|status code: 301",
        "the bucket lies in another region",
        "set AWS_REGION to the bucket's region",
    ),
    (
        r"AccessDenied|status code: 403",
        "access is denied",
        "grant this user list, read and write of the bucket",
    ),
    (r"SlowDown|status code: (503|429)", "the store is overloaded", "wait and try again"),
    (r"status code: 5\d\d", "the store has an internal error", "try again, look at the store's log"),
    (r"os error 13\b", "this user may not read or write there", "change the folder's permissions"),
    (r"os error 30\b", "the file system is read-only", "set HWOSIM_LAKE_URI to a writable folder"),
    (  # in the words of obstore, boto3 and PyArrow
        r"InvalidCertificate|certificate ?verify|SSL peer certificate",
        "its certificate is not one that is trusted",
        "set SSL_CERT_FILE to a PEM file of the authority that signed it",
    ),
    (
        r"error sending request|dns error|NetworkConnection|operation timed out|connection (closed|reset|refused)",
        "the store cannot be reached",
        "start it, or correct AWS_ENDPOINT_URL",
    ),
    (  # in boto3's words
        r"could not connect|connect timeout|read timeout|connection was closed",
        "the store cannot be reached",
        "start it, or correct AWS_ENDPOINT_URL",
    ),
)

_FULL = {errno.ENOSPC: "no space is left", errno.EDQUOT: "the quota is used up", errno.EFBIG: "a file became too large"}


def meaning_of(error: Exception, place: Place, key: str = "") -> HwosimError:
    """Return the error for people that a store's error stands for."""
    thing = f"lake {place.uri}" + (f" ({redacted(place.endpoint)})" if place.bucket and place.endpoint else "")
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        text = f"{text} (os error {error.errno})"
    for code, reason in _FULL.items():
        if f"os error {code})" in text:
            what = f"{reason} while writing {key}" if key else reason
            return HwosimError(thing, what, "free space on that disk, then run again; nothing half-written is visible")
    said = text.replace("_", "")  # the AWS SDK inside PyArrow says ACCESS_DENIED, S3 itself AccessDenied
    for sign, reason, mend in _MEANINGS:
        if re.search(sign, said, re.IGNORECASE):
            return BackendAbsentError(thing, reason, mend)
    first_line = text.splitlines()[0] if text else type(error).__name__
    return BackendAbsentError(thing, first_line[:300], "see the traceback with --debug")
