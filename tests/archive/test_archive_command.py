"""`hwosim archive serve` in a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from hwosim_assets.archive.client import ArchiveClient

COMMAND = [sys.executable, "-m", "hwosim_assets", "archive", "serve"]


def test_it_serves_until_it_is_interrupted(root: Path) -> None:
    (root / "empty.fits").write_bytes(b"")
    with subprocess.Popen(
        [*COMMAND, "--root", str(root), "--exclusive", "jw02107*"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Started behind a shell's "&", these tests pass an ignored SIGINT on: the server would never end.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        with ArchiveClient(url, timeout=10) as client:
            assert list(client.programs()) == ["00000", "01979", "02107"]
            assert len(client.observations(data_rights="EXCLUSIVE_ACCESS")) == 2
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert url.startswith("http://127.0.0.1:")
    assert "7 files of 3 programs" in said
    assert "skipped empty.fits: " in said
    assert "Traceback" not in said


def test_what_it_cannot_serve(root: Path, tmp_path: Path) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60, check=False)

    missing = run("--root", str(tmp_path / "none"))
    assert (missing.returncode, "does not exist" in missing.stderr) == (2, True)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        busy = run("--root", str(root), "--port", str(taken.getsockname()[1]))
    assert busy.returncode == 1
    assert busy.stderr.strip().splitlines()[-1].startswith("hwosim: address 127.0.0.1:")
    assert "name another port" in busy.stderr
