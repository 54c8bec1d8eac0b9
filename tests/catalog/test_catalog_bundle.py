"""Bundles: what is in them, what is withheld, and that a script can be trusted with any name."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from hwosim_assets.archive.errors import ArchiveRefusedError
from hwosim_assets.archive.server import LocalArchive
from hwosim_assets.catalog.bundle import Entry, curl_script, entries
from hwosim_assets.commands.bundle import bundle as command
from hwosim_assets.errors import BadInputError
from hwosim_assets.lake.store import Lake
from hwosim_assets.lake.tables import Tables


@pytest.fixture
def ask(three_products: Path, monkeypatch: pytest.MonkeyPatch, state: Path) -> Callable[..., Result]:
    monkeypatch.setenv("HWOSIM_LAKE_URI", (three_products / "lake").as_uri())
    monkeypatch.setenv("HWOSIM_CATALOG_URI", f"sqlite:///{three_products / 'catalog.db'}")
    return lambda *words: CliRunner().invoke(command, list(words))


def test_a_zip_holds_the_public_files_and_names_the_others(
    ask: Callable[..., Result], tmp_path: Path, three_names: list[str]
) -> None:
    target = tmp_path / "out.zip"
    done = ask("--output", str(target))
    assert done.exit_code == 0, done.output
    assert "2 are not public" in done.stderr
    with zipfile.ZipFile(target) as found:
        assert found.testzip() is None
        files = json.loads(found.read("manifest.json"))
        assert [each["path"] for each in files["files"]] == [f"01093/{three_names[1]}"]
        assert {each["data_rights"] for each in files["withheld"]} == {"EXCLUSIVE_ACCESS"}
        (entry,) = files["files"]
        assert hashlib.sha256(found.read(entry["path"])).hexdigest() == entry["sha256"]
        assert found.read("SHA256SUMS").decode() == f"{entry['sha256']}  {entry['path']}\n"
        assert (entry["cal_ver"], entry["crds_ctx"]) == ("1.18.0", "jwst_1364.pmap")
    again = tmp_path / "again.zip"
    ask("--output", str(again))
    assert again.read_bytes() == target.read_bytes()


def test_a_file_that_rotted_is_told_and_no_zip_is_left(
    ask: Callable[..., Result], tmp_path: Path, three_products: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lake, "read_range", lambda _self, _key, _start, length: b"x" * length)
    done = ask("--output", str(tmp_path / "out.zip"))
    assert "is not what was stored" in str(done.exception)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("allowed", [True, False])
def test_a_token_opens_what_the_archive_says_it_may(
    ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    asked: list[str] = []

    def facts(_self: Any, data_uri: str) -> None:
        asked.append(data_uri)
        if not allowed:
            raise ArchiveRefusedError("https://archive/file", "answers 403", "ask for access")

    monkeypatch.setenv("MAST_API_TOKEN", "a-secret")
    monkeypatch.setattr("hwosim_assets.archive.client.ArchiveClient.facts", facts)
    done = ask("--format", "manifest")
    said = json.loads(done.stdout)
    assert len(asked) == 2
    assert (len(said["files"]), len(said["withheld"])) == ((3, 0) if allowed else (1, 2))
    assert "a-secret" not in done.output


def test_the_script_downloads_from_the_archive_and_goes_on_where_it_stopped(
    tmp_path: Path, make_cal: Callable[[], Any], packed: Callable[[Any], bytes]
) -> None:
    name, content = "jw01093012001_03102_00001_nis_cal.fits", packed(make_cal())
    source, here = tmp_path / "archive", tmp_path / "here"
    source.mkdir()
    (source / name).write_bytes(content)
    (here / "01093").mkdir(parents=True)
    (here / "01093" / f"{name}.part").write_bytes(content[:5000])
    digest = hashlib.sha256(content).hexdigest()
    entry = Entry(f"01093/{name}", digest, len(content), "k", f"mast:JWST/product/{name}", "PUBLIC", {})
    with LocalArchive(source) as archive:
        script = curl_script([entry], archive.url)
        done = subprocess.run(["sh"], input=script, text=True, cwd=here, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert [path.name for path in (here / "01093").iterdir()] == [name]
        assert (here / "01093" / name).read_bytes() == content
        wrong = curl_script([replace(entry, path="other.fits", sha256="0" * 64)], archive.url)
        done = subprocess.run(["sh"], input=wrong, text=True, cwd=here, capture_output=True)
    assert done.returncode == 1
    assert "failed: other.fits" in done.stderr
    assert not list(here.glob("other*")), "what is wrong would be continued for ever"
    done = subprocess.run(["sh"], input=script, text=True, cwd=here, capture_output=True)
    assert done.returncode == 0, "what is there is asked for again"


def test_the_script_is_safe_with_any_name(tmp_path: Path) -> None:
    evil = "x';touch hacked;'.fits"
    script = curl_script(
        [Entry(f"01093/{evil}", "0" * 64, 1, "k", f"mast:{evil}$(touch hacked)", "PUBLIC", {})], "http://127.0.0.1:9"
    )
    subprocess.run(["sh"], input=script, text=True, cwd=tmp_path, capture_output=True)
    assert not (tmp_path / "hacked").exists()


def test_the_script_keeps_no_password_of_who_made_it() -> None:
    script = curl_script([Entry("01093/x.fits", "0" * 64, 1, "k", "mast:x", "PUBLIC", {})], "https://me:s3cr3t@a.b:8/m")
    assert "s3cr3t" not in script
    assert " https://a.b:8/m/api/v0.1/Download/file?uri=mast:x" in script.replace("'", "")


def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    tables = Tables(f"sqlite:///{tmp_path}/catalog.db", (tmp_path / "tables").as_uri())
    row = {
        "program": "00001",
        "product_name": "../../evil.fits",
        "sha256": "0",
        "size_bytes": 1,
        "key": "k",
        "uri": "u",
    }
    rows = pa.Table.from_pylist([{**row, "data_uri": "d", "kw_cal_ver": None, "kw_crds_ctx": None}])
    with pytest.raises(BadInputError):
        entries(rows, tables)
