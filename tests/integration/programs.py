"""The programs of other people that the integration tests call."""

from __future__ import annotations

import shutil

import pytest


def tool(name: str) -> str:
    """Return the path of a program, or skip and name it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (tests/integration/install)")
    return found
