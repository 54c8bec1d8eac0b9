"""Schema numbers from a registry that speaks Confluent's protocol, where ``HWOSIM_SCHEMA_REGISTRY_URL`` names one.

Holds: :class:`Registry`, which registers the bundled schemas under their topics, says the number that each has on
the wire, and finds the schema of a number that somebody else wrote with. Without a registry the numbers are
our own and nothing is asked (``envelope``). Keep out the schemas and the wire format; they are ``envelope``'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.settings import redacted
from hwosim_streaming.clients import is_loopback
from hwosim_streaming.envelope import FAMILIES, bundled
from hwosim_streaming.refusals import BrokerRefusesError

if TYPE_CHECKING:
    from hwosim_assets.settings import Settings

__all__ = ["COMPATIBILITY", "Registry", "RegistryRefusesError", "diagnose"]

#: What a subject of ours demands of each new schema: to read, and to be read by, every one before it.
COMPATIBILITY = "FULL_TRANSITIVE"
#: Seconds for an answer; asked twice, it is known within half a minute that there is none.
ANSWER_SECONDS = 10.0
#: Numbers remembered, known or not: a poisoned topic may name millions.
REMEMBERED = 1000
#: The protocol's numbers are 32 bits with a sign.
LARGEST_NUMBER = 2**31 - 1
_NO_SUBJECT, _NO_SCHEMA = 40401, 40403


class RegistryRefusesError(BrokerRefusesError):
    """A registry that is there and says no; asking again changes nothing."""


class Registry:
    """A schema registry.

    Parameters
    ----------
    config : dict of str to str
        Properties of ``confluent_kafka.schema_registry.SchemaRegistryClient``, ``url`` among them.

    Raises
    ------
    BadInputError
        If the client does not take a property, or a password would cross the network in the clear.
    BackendAbsentError
        If the extra ``registry`` is not installed.
    """

    def __init__(self, config: Mapping[str, str]) -> None:
        self._named = f"schema registry {redacted(config['url'])}"
        _refuse_clear_passwords(config)
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError as error:
            reason = f"needs further packages ({error})"
            raise BackendAbsentError(self._named, reason, "install the extra registry") from error
        ours = {"timeout": ANSWER_SECONDS, "max.retries": 1, "retries.wait.ms": 200}
        try:
            self._client = SchemaRegistryClient({**config, **ours})
        except (TypeError, ValueError, OSError) as error:
            # OSError: a certificate that is not there
            reason, mend = str(error), "correct or unset the one of that name"
            raise BadInputError("HWOSIM_SCHEMA_REGISTRY_* variables", reason, mend) from error
        self._found: dict[int, tuple[str, Any] | None] = {}

    @classmethod
    def configured(cls, settings: Settings) -> Registry | None:
        """Return the configured registry, or ``None`` where there is none.

        Raises
        ------
        BadInputError
            If its configuration cannot be used.
        """
        config = settings.schema_registry_client()
        return cls(config) if "url" in config else None

    def check(self) -> None:
        """Ask it for something that needs no right of ours but to read.

        Raises
        ------
        RegistryRefusesError
            If it refuses our credentials, or is no registry.
        BackendAbsentError
            If it does not answer.
        """
        with self._asked("its subjects"):
            self._client.get_subjects()

    def number(self, family: str, topic: str) -> int:
        """Return the number of a family's newest schema, registering under ``<topic>-value`` what is missing there.

        Parameters
        ----------
        family : str
            Family of the schema.
        topic : str
            Full name of the topic.

        Raises
        ------
        RegistryRefusesError
            If it refuses our credentials, or a schema: it does not go with those before it.
        BackendAbsentError
            If it does not answer.
        """
        numbers = [self._registered(f"{topic}-value", json.dumps(schema)) for schema in bundled(family)]
        return numbers[-1]

    def _registered(self, subject: str, text: str) -> int:
        from confluent_kafka.schema_registry import Schema, SchemaRegistryError

        schema = Schema(text, "AVRO")
        with self._asked(subject):
            try:
                return self._client.lookup_schema(subject, schema).schema_id or 0
            except SchemaRegistryError as error:
                if error.error_code not in {_NO_SUBJECT, _NO_SCHEMA}:
                    raise
                if error.error_code == _NO_SUBJECT:
                    self._client.set_compatibility(subject, COMPATIBILITY)
            return int(self._client.register_schema(subject, schema) or 0)

    def find(self, number: int) -> tuple[str, Any] | None:
        """Return family and schema of a number on the wire, or ``None`` for one that is none of ours.

        Raises
        ------
        RegistryRefusesError
            If it refuses our credentials.
        BackendAbsentError
            If it does not answer: whether the message can be read is then not known.
        """
        if number not in self._found:
            while len(self._found) >= REMEMBERED:
                self._found.pop(next(iter(self._found)))
            self._found[number] = self._fetched(number) if number <= LARGEST_NUMBER else None
        return self._found[number]

    def _fetched(self, number: int) -> tuple[str, Any] | None:
        from confluent_kafka.schema_registry import SchemaRegistryError

        with self._asked(f"schema {number}"):
            try:
                schema = self._client.get_schema(number)
            except SchemaRegistryError as error:
                if error.error_code == _NO_SCHEMA:
                    return None
                raise
        return _ours(schema.schema_type, schema.schema_str)

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """Word the registry's failures; never with a password."""
        import httpx2
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            yield
        except SchemaRegistryError as error:
            raise self._refusal(what, error) from error
        except (httpx2.HTTPError, OSError) as error:
            reason = f"does not answer ({str(error) or type(error).__name__})"
            raise BackendAbsentError(
                self._named, reason, "start it, or correct or unset HWOSIM_SCHEMA_REGISTRY_URL"
            ) from error
        except ValueError as error:
            reason = "answers with something else than JSON"
            raise RegistryRefusesError(self._named, reason, "correct HWOSIM_SCHEMA_REGISTRY_URL") from error

    def _refusal(self, what: str, error: Any) -> BackendAbsentError:
        status, said = error.http_status_code, " ".join(str(error.error_message).split())[:300]
        if status in {401, 403}:
            mend = "correct HWOSIM_SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO (user:password), or ask for the right"
            return RegistryRefusesError(self._named, f"refuses these credentials for {what} (HTTP {status})", mend)
        if status == 409:
            mend = "write with the version that is registered, or make the new schema readable by old readers"
            return RegistryRefusesError(self._named, f"takes no such schema for {what}: incompatible ({said})", mend)
        if status >= 500:
            return BackendAbsentError(self._named, f"fails (HTTP {status}, {said})", "see its log")
        mend = "see that HWOSIM_SCHEMA_REGISTRY_URL is a registry's address"
        return RegistryRefusesError(self._named, f"refuses {what} (HTTP {status}, {said})", mend)


def diagnose(settings: Settings) -> tuple[str, str, Callable[[], object]]:
    """Return what ``hwosim doctor`` says of the registry: its name, what is configured, and the test."""
    config = settings.schema_registry_client()
    if "url" not in config:
        return "schema registry", "none: the schemas' own numbers", lambda: None
    return "schema registry", redacted(config["url"]), lambda: Registry(config).check()


def _ours(kind: str | None, text: str | None) -> tuple[str, Any] | None:
    """Return family and parsed schema, if it is a record of ours; the text comes from outside."""
    from fastavro import parse_schema
    from fastavro.schema import SchemaParseException, UnknownType

    try:
        schema = json.loads(text or "null")
        if kind not in {None, "AVRO"} or not isinstance(schema, dict) or schema.get("namespace") != "hwosim":
            return None
        family = str(schema.get("name")).lower()
        return (family, parse_schema(schema)) if family in FAMILIES else None
    except (SchemaParseException, UnknownType, ValueError, KeyError, TypeError, RecursionError):
        return None


def _refuse_clear_passwords(config: Mapping[str, str]) -> None:
    secret = any(name.startswith(("basic.auth", "bearer.auth")) for name in config)
    for url in config["url"].split(","):
        parts = urlsplit(url.strip())
        secret_here = secret or parts.password is not None
        if secret_here and parts.scheme == "http" and not is_loopback(f"{parts.hostname}:0"):
            reason = "would send the password unencrypted off this machine"
            raise BadInputError(f"HWOSIM_SCHEMA_REGISTRY_URL={redacted(url.strip())}", reason, "use https")
