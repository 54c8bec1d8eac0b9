"""What is configured, read from the environment once and passed on as one typed object.

Holds: every ``HWOSIM_*`` setting with its default. Add a setting here when a person may want to set
it from outside; keep out what belongs to a scenario file (effects, schedule, transport) and what
belongs to a run (severity, seed, rate: Dagster's launchpad). Secrets are read from the environment
only and shown redacted.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hwosim_assets.errors import BadInputError

__all__ = ["Settings", "redacted", "state_folder"]

MAST_URL = "https://mast.stsci.edu"
_PREFIX = "HWOSIM_"
#: What stands before the host of an address: ``user:password@``, or a token alone.
_USER_AND_PASSWORD = re.compile(r"((?:^(?![\w.+-]+://)|://)[^:/@?]*):.*@")
_TOKEN_BEFORE_HOST = re.compile(r"(https?://)[^:/@?]+@")
_SECRET_IN_QUERY = re.compile(r"([?&][^=&#]*(?:password|secret|token|key)[^=&#]*=)[^&#]*", re.IGNORECASE)


def redacted(uri: str) -> str:
    """Return an address as it may be shown: without the password or token that stands in it.

    Parameters
    ----------
    uri : str
        URL or database URI, well formed or not.

    Returns
    -------
    str
        The address with ``***`` for each secret; user name, host and path stay.
    """
    shown = _USER_AND_PASSWORD.sub(r"\1:***@", uri)
    return _SECRET_IN_QUERY.sub(r"\1***", _TOKEN_BEFORE_HOST.sub(r"\1***@", shown))


def state_folder() -> Path:
    """Return the folder that keeps the state of this installation: ``DAGSTER_HOME``, else ``./.hwosim``.

    The lake and the table catalog lie there unless configured elsewhere, and the embedded
    broker's lock, so that every process of one installation finds the same ones.
    """
    return Path(os.environ.get("DAGSTER_HOME") or ".hwosim").absolute()


class Settings(BaseSettings):
    """The settings of this process.

    Attributes are documented in ``.env.example``; ``Settings()`` reads the environment at the time
    of the call, so a test sets variables and constructs anew. An environment other than ``dev`` has a lake, a
    namespace of tables and topics of its own below those that are set, so that two of them share nothing even
    where all else is set alike.

    Raises
    ------
    BadInputError
        If a variable has a value that it cannot have.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", populate_by_name=True)

    home: Path = Field(default_factory=state_folder, validation_alias="DAGSTER_HOME")
    environment: Literal["dev", "test", "shadow", "ops"] = "dev"
    archive_url: str = MAST_URL
    archive_timeout_seconds: float = Field(default=60.0, gt=0, le=86400)
    archive_requests_per_second: float | None = Field(default=None, ge=0)
    archive_mirror: str = ""
    mast_api_token: SecretStr | None = Field(default=None, validation_alias="MAST_API_TOKEN")
    lake_uri: str = ""
    catalog_uri: SecretStr = SecretStr("")
    kafka_bootstrap_servers: str = ""
    topic_prefix: str = ""
    topic_partitions: int = Field(default=12, ge=1, le=1000)
    perturb_workers: int = Field(default=1, ge=1, le=256)
    scenario_path: str = ""
    automated_scenarios: str = "clean,nominal_l2,ground_segment_bad_day"
    watch_uri: str = ""
    watch_queue_url: str = ""
    watch_template: str = ""
    report_url: str = "http://127.0.0.1:3080"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            name = str(wrong["loc"][0])
            variable = name if name.isupper() else _PREFIX + name.upper()
            # no setting that is a secret can have a wrong value: any text is one
            reason = f"cannot be {wrong['input']!r}: {wrong['msg'][:1].lower()}{wrong['msg'][1:]}"
            raise BadInputError(variable, reason, "correct it; .env.example lists every setting") from None

    @field_validator("archive_url", "report_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("report_url")
    @classmethod
    def _that_pages_can_have(cls, value: str) -> str:
        parts = urlsplit(value)
        _ = parts.port  # raises ValueError where no machine has such a port
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is not an address of pages, such as http://127.0.0.1:3080")
        return value

    def model_post_init(self, _context: object) -> None:
        """Derive what is not set from the state folder, and set environments apart."""
        self.home = self.home.absolute()
        if not self.lake_uri:
            self.lake_uri = (self.home / "lake").as_uri()
        self.lake_uri = self.lake_uri.rstrip("/")
        if self.environment != "dev":
            self.lake_uri += f"/{self.environment}"
            self.topic_prefix = f"{self.environment}.{self.topic_prefix}"
        if not self.catalog_uri.get_secret_value():
            self.catalog_uri = SecretStr(f"sqlite:///{self.home / 'catalog.db'}")

    @property
    def namespace(self) -> str:
        """The namespace of this environment's tables in the catalog."""
        return "hwosim" if self.environment == "dev" else f"hwosim_{self.environment}"

    def scenario_folders(self) -> list[Path]:
        """Return the folders of further scenario files (``HWOSIM_SCENARIO_PATH``), in order."""
        return [Path(part) for part in self.scenario_path.split(os.pathsep) if part]

    def automated(self) -> list[str]:
        """Return the scenarios that the sensors materialize and publish by themselves."""
        return [name.strip() for name in self.automated_scenarios.split(",") if name.strip()]

    def schema_registry_client(self) -> dict[str, str]:
        """Return the ``HWOSIM_SCHEMA_REGISTRY_*`` variables as properties of Confluent's registry client.

        ``HWOSIM_SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO`` becomes ``basic.auth.user.info``, and so on. The values may be
        secrets: never print them.
        """
        return _properties(f"{_PREFIX}SCHEMA_REGISTRY_")

    def kafka_client(self) -> dict[str, str]:
        """Return the ``HWOSIM_KAFKA_*`` variables as librdkafka properties.

        ``HWOSIM_KAFKA_SASL_USERNAME`` becomes ``sasl.username``, and so on; bootstrap servers are
        left out (they are found by the broker module). The values may be secrets: never print them.
        """
        passed = _properties(f"{_PREFIX}KAFKA_")
        return {name: value for name, value in passed.items() if name != "bootstrap.servers"}


def _properties(prefix: str) -> dict[str, str]:
    """Return the variables of a prefix as properties of a client: ``A_B`` behind it is ``a.b``."""
    return {
        name.removeprefix(prefix).lower().replace("_", "."): value
        for name, value in os.environ.items()
        if name.startswith(prefix) and value
    }
