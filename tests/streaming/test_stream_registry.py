"""Schema numbers from a registry: on the wire, for readers, and each way it can fail told apart."""

from __future__ import annotations

import hashlib
import json
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registry_server import RegistryServer, registry_server, understands
from stream_data import files
from test_stream_publication import WINDY, Program

from hwosim_assets.errors import BackendAbsentError, BadInputError
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.settings import Settings
from hwosim_streaming import connect, envelope
from hwosim_streaming.clients import client_config, low_offsets, read_between
from hwosim_streaming.envelope import Frame, Header, UnreadableMessageError, decode, encode, own_numbers
from hwosim_streaming.registry import Registry, RegistryRefusesError, diagnose
from hwosim_streaming.topics import existing_topics

RELEASED = json.loads((Path(__file__).parent / "released_schemas.json").read_text(encoding="utf-8"))
CONTROL = {"run_id": "r", "event": "started", "program": "01093", "plan_sha256": "", "at": ""}
CONTROL = {**CONTROL, "position": 0, "sends": 0, "offsets": []}
FOREIGN = json.dumps({"type": "record", "name": "Frame", "namespace": "somebody", "fields": []})
PASSWORD = "correct horse"


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry_server() as running:
        running.add("somebody-value", FOREIGN)
        yield running


@pytest.fixture
def program(stream_settings: Settings, server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setenv("HWOSIM_SCHEMA_REGISTRY_URL", server.url)
    return Program(stream_settings, Scenario.from_mapping("windy", WINDY))


def on_topics(settings: Settings, *families: str) -> list[Any]:
    config = client_config(settings, settings.kafka_bootstrap_servers)
    topics = existing_topics(config, settings.topic_prefix)
    return list(read_between(config, low_offsets(config, topics.places(*families)), None))


def wire_number(message: Any) -> int:
    return int.from_bytes(message.value()[1:5], "big")


def frames_read() -> tuple[list[Frame], int]:
    with connect("hwosim.frames.v1", idle=0.5) as stream:
        return list(stream), stream.refused


def test_the_registrys_numbers_are_on_the_wire_and_readers_ask_for_them(
    program: Program, server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program.publish().row["verified"]
    prefix = program.settings.topic_prefix
    for family in ("frame", "product", "truth", "control"):
        subject = f"{prefix}{envelope.TOPIC_OF[family]}-value"
        assert server.levels[subject] == "FULL_TRANSITIVE"
        registered = [json.loads(server.schemas[number]) for number in server.subjects[subject]]
        assert registered == envelope.bundled(family)
        newest = server.subjects[subject][-1]
        intact = [message for message in on_topics(program.settings, family) if is_intact(message)]
        assert {wire_number(message) for message in intact} == {newest}
    frames, refused = frames_read()
    assert len(files()) >= len({frame.product for frame in frames}) > 0
    # A second publication finds the first: its control records are read through the registry too.
    assert program.publish().already
    monkeypatch.delenv("HWOSIM_SCHEMA_REGISTRY_URL")
    nothing, all_refused = frames_read()
    assert not nothing
    assert all_refused >= len(frames) + refused


def is_intact(message: Any) -> bool:
    return dict(message.headers())[Header.CRC] == f"{zlib.crc32(message.value()):08x}".encode()


def test_messages_from_before_the_registry_are_still_read(
    program: Program, server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HWOSIM_SCHEMA_REGISTRY_URL")
    assert program.publish().row["verified"]
    before, refused = frames_read()
    assert before
    # Somebody else's schema has the number that our frames had.
    server.schemas[own_numbers()["frame"]] = FOREIGN
    monkeypatch.setenv("HWOSIM_SCHEMA_REGISTRY_URL", server.url)
    after, refused_now = frames_read()
    assert [frame.message_id for frame in after] == [frame.message_id for frame in before]
    assert refused_now == refused


def registry(url: str, **more: str) -> Registry:
    return Registry({"url": url, **more})


def test_a_newer_schema_is_read_through_the_registry(server: RegistryServer) -> None:
    newest = envelope.bundled("control")[-1]
    extra = {"name": "moon", "type": ["null", "string"], "default": None, "doc": "New."}
    newer = {**newest, "fields": [*newest["fields"], extra]}
    number = server.add("hwosim.control.v1-value", json.dumps(newer))
    value = encode("control", CONTROL, number) + b"\0"  # the new field, absent
    assert decode(value, registry(server.url)).record == CONTROL
    with pytest.raises(UnreadableMessageError, match=f"unknown schema {number}"):
        decode(value)


def test_a_number_that_nobody_knows_is_a_message_to_refuse(server: RegistryServer) -> None:
    known = registry(server.url)
    for number in (1, 7, 2**32 - 1):
        for _again in range(2):
            with pytest.raises(UnreadableMessageError, match=f"unknown schema {number}"):
                decode(encode("control", CONTROL, number), known)
    assert server.asked == ["GET /schemas/ids/1", "GET /schemas/ids/7"]


def test_readers_without_the_right_to_register_find_what_is_there(server: RegistryServer) -> None:
    first = registry(server.url).number("truth", "hwosim.truth.v1")
    server.asked.clear()
    assert registry(server.url).number("truth", "hwosim.truth.v1") == first
    assert set(server.asked) == {"POST /subjects/hwosim.truth.v1-value"}


def test_an_unreachable_registry_is_said_before_anything_is_published(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv("HWOSIM_SCHEMA_REGISTRY_URL", url)
        with pytest.raises(BackendAbsentError, match="does not answer") as told:
            program.publish()
    assert not isinstance(told.value, RegistryRefusesError)
    assert url in str(told.value)
    assert not on_topics(program.settings, "frame", "product", "truth", "control")


def test_a_registry_that_goes_away_is_no_reason_to_set_messages_aside(program: Program, server: RegistryServer) -> None:
    program.publish()
    server.password = PASSWORD
    with pytest.raises(RegistryRefusesError, match="refuses these credentials"):
        frames_read()


def test_an_incompatible_schema_is_refused_in_one_line(server: RegistryServer) -> None:
    newest = envelope.bundled("frame")[-1]
    with_more = {**newest, "fields": [*newest["fields"], {"name": "moon", "type": "string"}]}
    server.add("hwosim.frames.v1-value", json.dumps(with_more))
    server.levels["hwosim.frames.v1-value"] = "FULL_TRANSITIVE"
    with pytest.raises(RegistryRefusesError, match=r"takes no such schema for hwosim\.frames\.v1-value: incompatible"):
        registry(server.url).number("frame", "hwosim.frames.v1")


def test_wrong_credentials_are_told_apart_and_never_shown() -> None:
    with registry_server(PASSWORD) as guarded:
        right = {"basic.auth.user.info": f"hwosim:{PASSWORD}"}
        assert registry(guarded.url, **right).number("control", "c") >= 0
        for wrong in ({}, {"basic.auth.user.info": "hwosim:wrong guess"}):
            with pytest.raises(RegistryRefusesError, match="refuses these credentials") as told:
                registry(guarded.url, **wrong).number("control", "c")
            assert "guess" not in str(told.value)
            assert "\n" not in str(told.value)


def test_what_is_no_registry_and_what_cannot_be_configured_is_said() -> None:
    with registry_server() as other, pytest.raises(RegistryRefusesError, match="is a registry's address"):
        other.answer = lambda *_asked: (404, {"message": "no such page"})  # type: ignore[method-assign]
        registry(other.url).number("control", "c")
    with pytest.raises(BadInputError, match="unencrypted"):
        registry("http://registry.example.org", **{"basic.auth.user.info": "hwosim:x"})
    with pytest.raises(BadInputError, match="unencrypted") as told:
        registry("http://hwosim:hunter2@registry.example.org")
    assert "hunter2" not in str(told.value)
    for wrong in ({"url": "ftp://x"}, {"url": "http://127.0.0.1:1", "no.such.thing": "1"}):
        with pytest.raises(BadInputError, match="HWOSIM_SCHEMA_REGISTRY"):
            Registry(wrong)


@pytest.mark.usefixtures("state")
def test_the_doctor_asks_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert diagnose(Settings())[1].startswith("none")
    with registry_server(PASSWORD) as guarded:
        monkeypatch.setenv("HWOSIM_SCHEMA_REGISTRY_URL", guarded.url)
        with pytest.raises(RegistryRefusesError, match="refuses these credentials"):
            diagnose(Settings())[2]()
        monkeypatch.setenv("HWOSIM_SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO", f"hwosim:{PASSWORD}")
        name, where, check = diagnose(Settings())
        check()
    assert (name, where) == ("schema registry", guarded.url)
    with pytest.raises(BackendAbsentError, match="does not answer"):
        check()


# ------------------------------------------------------------------ compatibility of the repository's schemas


def sha256(schema: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def broken(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return which way two versions of a schema do not go together."""
    ways = {"backward": understands(new, old), "forward": understands(old, new)}
    return [way for way, fits in ways.items() if not fits]


def test_a_released_schema_is_never_edited_and_never_removed() -> None:
    """A release adds the line of a new schema to released_schemas.json; no line is ever changed."""
    assert {str(number): sha256(schema) for number, schema in envelope.schemas().items()} == RELEASED


@pytest.mark.parametrize("family", envelope.FAMILIES)
def test_every_schema_goes_with_every_one_before_it(family: str) -> None:
    versions = envelope.bundled(family)
    for number, new in enumerate(versions):
        for old in versions[:number]:
            assert broken(old, new) == []


def test_what_would_break_readers_or_old_messages_is_caught() -> None:
    frame = envelope.bundled("frame")[-1]
    fields = frame["fields"]
    without_default = {**frame, "fields": [*fields, {"name": "moon", "type": "string"}]}
    assert broken(frame, without_default) == ["backward"]
    assert broken(frame, {**frame, "fields": fields[1:]}) == ["forward"]
    other_type = [{**field, "type": "string"} if field["name"] == "sequence" else field for field in fields]
    assert broken(frame, {**frame, "fields": other_type}) == ["backward", "forward"]
    assert broken(frame, {**frame, "name": "Picture"}) == ["backward", "forward"]
    with_default = {**frame, "fields": [*fields, {"name": "moon", "type": ["null", "string"], "default": None}]}
    assert broken(frame, with_default) == []
