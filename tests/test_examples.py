"""Each example runs offline, in a folder of its own, and prints what stands beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_prints_what_stands_beside_it(script: Path, tmp_path: Path) -> None:
    keys = {name for name in os.environ if name.endswith("_API_KEY") or name.startswith("TOKENGUARD_")}
    environment = {name: value for name, value in os.environ.items() if name not in keys}

    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**environment, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "COLUMNS": "120", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, script.with_suffix(".out").read_text()), done.stderr[-2000:]


def test_every_expected_output_has_its_example() -> None:
    assert [path.name for path in EXAMPLES.glob("*.out") if not path.with_suffix(".py").exists()] == []
