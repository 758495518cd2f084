"""A process that forks while another of its threads holds one of our locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FORKER = str(Path(__file__).parent / "programs" / "forker.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("name", ["hub", "parts", "counter", "streams", "prices", "vocabulary", "scope"])
def test_a_child_forked_while_a_thread_holds_a_lock_does_not_wait_for_it(name: str) -> None:
    forker = subprocess.run([sys.executable, FORKER, name], capture_output=True, text=True, timeout=60, check=False)

    assert forker.returncode == 0, forker.stderr
