"""TLS, SCRAM and OAUTHBEARER by variables alone, on Apache Kafka; what is wrong is told apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from kafka_program import assert_proved
from secured import Authority, Secured, secured_kafka
from test_stream_publication import WINDY, Program

from hwosim_assets.errors import BackendAbsentError
from hwosim_assets.perturb.scenario import Scenario
from hwosim_assets.settings import Settings
from hwosim_streaming import connect

pytestmark = pytest.mark.integration

NUMBER = count()


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as found:
        yield found


Configure = Callable[..., Settings]


@pytest.fixture
def configure(kafka: Secured, state: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Return what sets HWOSIM_KAFKA_* variables."""
    monkeypatch.setenv("HWOSIM_TOPIC_PREFIX", f"s{next(NUMBER)}.")

    def set_all(**variables: str) -> Settings:
        for name, value in {"SSL_CA_LOCATION": str(kafka.authority.certificate), **variables}.items():
            monkeypatch.setenv(f"HWOSIM_KAFKA_{name}", value)
        return Settings()

    return set_all


def scram(kafka: Secured) -> dict[str, str]:
    return {
        "BOOTSTRAP_SERVERS": kafka.servers,
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISMS": "SCRAM-SHA-512",
        "SASL_USERNAME": "hwosim",
        "SASL_PASSWORD": kafka.password,
    }


def oauth(kafka: Secured, url: str) -> dict[str, str]:
    return {
        "BOOTSTRAP_SERVERS": kafka.servers,
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISMS": "OAUTHBEARER",
        "SASL_OAUTHBEARER_METHOD": "oidc",
        "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": url,
        "SASL_OAUTHBEARER_CLIENT_ID": kafka.tokens.client,
        "SASL_OAUTHBEARER_CLIENT_SECRET": kafka.tokens.secret,
    }


def assert_published_and_read(settings: Settings) -> None:
    program = Program(settings, Scenario.from_mapping("windy", WINDY))
    row = program.publish().row
    assert_proved(row)
    with connect("hwosim.frames.v1", group="model", idle=3, settings=settings) as stream:
        frames = [stream.predict(frame, 1.0) or frame for frame in stream]
    assert frames
    assert all(frame.data.size for frame in frames)


def refused(settings: Settings) -> str:
    """Return why a publication is refused: at once, in one line, without a secret."""
    program = Program(settings, Scenario.from_mapping("windy", WINDY))
    began = time.monotonic()
    with pytest.raises(BackendAbsentError) as caught:
        program.publish()
    assert time.monotonic() - began < 20
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    return said


def test_tls_alone(kafka: Secured, configure: Configure) -> None:
    assert_published_and_read(configure(BOOTSTRAP_SERVERS=kafka.encrypted, SECURITY_PROTOCOL="SSL"))


def test_scram_over_tls(kafka: Secured, configure: Configure) -> None:
    assert_published_and_read(configure(**scram(kafka)))


def test_tokens_over_tls(kafka: Secured, configure: Configure) -> None:
    with kafka.tokens.serving() as url:
        assert_published_and_read(configure(**oauth(kafka, url)))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"SASL_PASSWORD": "not-the-password"}, "refuses these credentials"),
        ({"SASL_USERNAME": "nobody"}, "refuses these credentials"),
        ({"SASL_MECHANISMS": "SCRAM-SHA-256"}, "does not know this SASL mechanism"),
        ({"SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "does not answer"),
    ],
)
def test_what_is_wrong_with_scram_is_told_apart(
    kafka: Secured, configure: Configure, wrong: dict[str, str], reason: str
) -> None:
    said = refused(configure(**{**scram(kafka), **wrong}))
    assert reason in said
    assert "not-the-password" not in said
    assert kafka.password not in said


def test_a_certificate_of_another_authority_is_not_trusted(
    kafka: Secured, configure: Configure, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    said = refused(configure(**scram(kafka), SSL_CA_LOCATION=str(other.certificate)))
    assert "makes no TLS connection" in said
    assert "HWOSIM_KAFKA_SSL_CA_LOCATION" in said


def test_what_is_wrong_with_a_token_is_told_apart(
    kafka: Secured, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kafka.tokens.serving() as url:
        said = refused(configure(**{**oauth(kafka, url), "SASL_OAUTHBEARER_CLIENT_SECRET": "not-the-secret"}))
        assert "token" in said
        assert "not-the-secret" not in said
        monkeypatch.setattr(kafka.tokens, "audience", "somebody-else")
        assert "refuses these credentials" in refused(configure(**oauth(kafka, url)))
    assert "token" in refused(configure(**oauth(kafka, url)))  # nobody issues any
