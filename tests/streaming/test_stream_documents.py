"""The page about the stream says what is so: its code reads a frame without any of ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from stream_data import manifest
from test_stream_round_trip import Bench

from hwosim_assets.lake.store import Lake
from hwosim_assets.settings import Settings

TOP = Path(__file__).parents[2]


def test_a_reader_without_hwosim_gets_the_arrays(stream_settings: Settings, lake: Lake) -> None:
    bench = Bench(stream_settings, lake, manifest(lake))
    bench.deliver()
    (code,) = re.findall(r"```python\n(.*?)```", (TOP / "docs" / "stream.md").read_text(), re.S)
    assert "import hwosim" not in code
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=TOP, env=dict(os.environ), timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"_calints\.fits SCI \(150, 150\)", done.stdout), done.stdout
