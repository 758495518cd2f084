"""Does what we ship work? Build the sdist, the wheel from that sdist, install it into a clean environment and use it.

Usage: `python scripts/wheel_check.py`. Needs `uv`, and the package registry for the dependencies.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("tokenguard/py.typed", "tokenguard/_migrations/env.py")
NEVER = ("tests/", "benchmarks/", "examples/", "docs/", ".venv")
SMOKE = """
import sys
import tokenguard as tg
from tokenguard.backends.scripted import ScriptedBackend

assert "site-packages" in tg.__file__, tg.__file__
assert "litellm" not in sys.modules and "sqlalchemy" not in sys.modules

hello = [{"role": "user", "content": "Hi"}]
guard = tg.Guard(database="memory", backend=ScriptedBackend(["Hello."] * 5))
with guard.run("smoke", budget=tg.Budget(usd="1", calls=3)) as run:
    for _ in range(3):
        guard.completion("gpt-5-mini", hello)
    try:
        guard.completion("gpt-5-mini", hello)
    except tg.BudgetExceeded as stop:
        print("stopped:", stop.sentence)
    else:
        raise SystemExit("the fourth call was sent")
assert run.receipt().calls == 3, run.receipt()
assert run.receipt().usd > 0, run.receipt()
"""


def main() -> int:
    """Build, install, use; say each step, and stop at the first that fails."""
    with tempfile.TemporaryDirectory(prefix="wheel-check-") as name:
        folder = Path(name)
        wheel = build(folder)
        python = install(wheel, folder)
        use(python, folder)
    print("wheel-check: the wheel built from the sdist works in a clean environment")
    return 0


def build(folder: Path) -> Path:
    """The wheel, built from the unpacked sdist and not from the checkout."""
    say("sdist")
    run([*uv(), "build", "--sdist", "--out-dir", folder / "dist"], cwd=ROOT)
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [one.partition("/")[2] for one in archive.getnames()]
        archive.extractall(folder / "source", filter="data")
    strays = [one for one in names if one.startswith(NEVER)]
    assert not strays, f"the sdist ships {strays[:5]}"
    (source,) = (folder / "source").iterdir()
    say("wheel from the sdist")
    run([*uv(), "build", "--wheel", "--out-dir", folder / "dist"], cwd=source)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = [one for one in SHIPPED if one not in names]
    assert not missing, f"the wheel lacks {missing}"
    assert any(one.startswith("tokenguard/_migrations/versions/") for one in names), "the wheel has no migrations"
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Python of a clean environment with the wheel and the versions of our lock file."""
    say("clean environment")
    constraints = folder / "constraints.txt"
    exported = run(
        [*uv(), "export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--all-extras"], cwd=ROOT
    )
    constraints.write_text(exported)
    run([*uv(), "venv", "--python", sys.executable, folder / "venv"], cwd=folder)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run([*uv(), "pip", "install", "--python", python, "--constraint", constraints, wheel], cwd=folder)
    return python


def use(python: Path, folder: Path) -> None:
    """What a user types first: upgrade a ledger, ask the doctor, run the smallest guarded program."""
    home = folder / "home"
    home.mkdir()
    command = python.with_name("tokenguard")
    ledger = home / "books.db"
    say("tokenguard db upgrade")
    run([command, "db", "upgrade", "--database", ledger], cwd=home)
    assert ledger.exists(), "no ledger was made"
    say("tokenguard doctor --json")
    report = json.loads(run([command, "doctor", "--json", "--database", ledger], cwd=home))
    assert isinstance(report, dict), report
    say("a guarded program, in memory")
    print(run([python, "-W", "error::UserWarning", "-c", SMOKE], cwd=home), end="")


def uv() -> list[str]:
    """How to start uv here."""
    found = shutil.which("uv")
    return [found] if found else [sys.executable, "-m", "uv"]


def run(command: list[str | Path], *, cwd: Path) -> str:
    """Standard output of a command that must succeed; nothing of this checkout is visible to it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENGUARD_", "PYTHON"))}
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        [str(one) for one in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"wheel-check: {' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def say(step: str) -> None:
    """Announce a step."""
    print(f"wheel-check: {step}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
