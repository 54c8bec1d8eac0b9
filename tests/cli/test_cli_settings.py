"""Settings that cannot be are named; secrets in addresses are not shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwosim_assets.errors import BadInputError
from hwosim_assets.settings import Settings, redacted


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HWOSIM_ENVIRONMENT", "prod", "HWOSIM_ENVIRONMENT: cannot be 'prod': input should be 'dev', 'test'"),
        ("HWOSIM_TOPIC_PARTITIONS", "0", "HWOSIM_TOPIC_PARTITIONS: cannot be '0': input should be greater"),
        ("HWOSIM_TOPIC_PARTITIONS", "many", "HWOSIM_TOPIC_PARTITIONS: cannot be 'many': input should be a valid int"),
        ("HWOSIM_ARCHIVE_TIMEOUT_SECONDS", "-1", "HWOSIM_ARCHIVE_TIMEOUT_SECONDS: cannot be '-1'"),
        ("HWOSIM_ARCHIVE_TIMEOUT_SECONDS", "nan", "HWOSIM_ARCHIVE_TIMEOUT_SECONDS: cannot be 'nan'"),
    ],
)
def test_a_variable_that_cannot_be_is_named(
    state: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadInputError) as refused:
        Settings()
    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith("; correct it; .env.example lists every setting")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg2://me:p4ss@host:5432/db", "postgresql+psycopg2://me:***@host:5432/db"),
        ("postgresql://me:p4/s@s@host/db", "postgresql://me:***@host/db"),
        ("postgresql://host/db?user=me&password=p4ss&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("me:p4ss@host/db", "me:***@host/db"),
        ("https://me:p4ss@archive:8080/mast", "https://me:***@archive:8080/mast"),
        ("https://t0ken@archive/mast", "https://***@archive/mast"),
        ("https://archive/?api_token=t0ken#top", "https://archive/?api_token=***#top"),
        ("https://mast.stsci.edu", "https://mast.stsci.edu"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("file:///home/me/a:b@c", "file:///home/me/a:b@c"),
        ("sqlite:////home/me@work/catalog.db", "sqlite:////home/me@work/catalog.db"),
    ],
)
def test_secrets_in_addresses_are_not_shown(uri: str, shown: str) -> None:
    assert redacted(uri) == shown


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "ftp://127.0.0.1", "http://", "3080"])
def test_pages_have_an_address_that_a_browser_can_open(url: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWOSIM_REPORT_URL", url)
    with pytest.raises(BadInputError, match="HWOSIM_REPORT_URL"):
        Settings()
