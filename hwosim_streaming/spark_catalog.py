"""The lake's table catalog in Spark's words: the same tables that PyIceberg sees, through Iceberg's own code.

Holds: :data:`CATALOG`, :func:`packages` and :func:`catalog_properties`. Keep out the job (``spark``) and the other
catalogs that PyIceberg knows, which this job does not write to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.place import Place

if TYPE_CHECKING:
    from hwosim_assets.settings import Settings

__all__ = ["CATALOG", "catalog_properties", "packages"]

#: Our name for the catalog, in Spark as in PyIceberg: it is part of each row of the catalog's tables.
CATALOG = "hwosim"
#: From Maven Central: Iceberg for this Spark, the drivers of the catalogs, and what reaches an s3:// lake (60 MB).
_ICEBERG = "1.11.0"
_PACKAGES = (
    f"org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:{_ICEBERG}",
    "org.xerial:sqlite-jdbc:3.50.3.0",
    "org.postgresql:postgresql:42.7.8",
)
_AWS = f"org.apache.iceberg:iceberg-aws-bundle:{_ICEBERG}"


def packages(settings: Settings) -> tuple[str, ...]:
    """Return the coordinates of the jars that Spark needs for this lake and catalog."""
    return (*_PACKAGES, _AWS) if settings.lake_uri.startswith("s3:") else _PACKAGES


def catalog_properties(settings: Settings) -> dict[str, str]:
    """Return the properties of Spark's catalog :data:`CATALOG`, a password among them.

    Credentials of an s3:// lake are not: Java finds the ``AWS_*`` variables and the profile by itself.

    Raises
    ------
    BadInputError
        If Spark has no such catalog here.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    place = Place.parse(settings.lake_uri + "/tables")
    try:
        url = make_url(settings.catalog_uri.get_secret_value())
        kind = url.get_backend_name()
    except ArgumentError:
        kind = "unknown"
    if kind == "postgresql":
        more = f"?{urlencode(url.query, doseq=True)}" if url.query else ""
        uri = f"jdbc:postgresql://{url.host}:{url.port or 5432}/{url.database}{more}"
    elif kind == "sqlite":
        uri = f"jdbc:sqlite:{url.database}?busy_timeout=30000"
    else:
        mend = "set HWOSIM_CATALOG_URI to sqlite:///file or postgresql+psycopg2://…"
        raise BadInputError(f"table catalog of kind {kind}", "is none that the Spark job writes to", mend)
    login = {".jdbc.user": url.username, ".jdbc.password": url.password}
    return {
        "": "org.apache.iceberg.spark.SparkCatalog",
        ".catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        ".uri": uri,
        ".warehouse": place.iceberg_location,
        # What a batch has just committed is what the next query is to see.
        ".cache-enabled": "false",
        **{name: value for name, value in login.items() if value},
        **(_s3(place) if place.folder is None else {}),
    }


def _s3(place: Place) -> dict[str, str]:
    """Return how Iceberg reaches the store of an s3:// lake."""
    found = {".io-impl": "org.apache.iceberg.aws.s3.S3FileIO", ".client.region": place.region}
    if place.endpoint:
        found |= {".s3.endpoint": place.endpoint, ".s3.path-style-access": "true"}
    return found
