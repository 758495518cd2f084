"""What is seen while the demo runs: a live line in a terminal, a line a second in a pipe, nothing for `--json`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from tokenguard.cli.terminal import output, say

if TYPE_CHECKING:
    from collections.abc import Generator

    from tokenguard.core.clock import Clock

__all__ = ["Screen"]

_PLAIN_EVERY_S = 1.0


class Screen:
    """Progress of one demo. `quiet` prints nothing at all."""

    def __init__(self, clock: Clock, *, quiet: bool) -> None:
        self._clock = clock
        self._quiet = quiet
        self._live: Live | None = None
        self._last_s = float("-inf")

    def heading(self, title: str) -> None:
        """Begin a part."""
        if not self._quiet:
            say("", title, style="bold")

    def tell(self, *sentences: str) -> None:
        """Say something that stays."""
        if not self._quiet:
            say(*sentences)

    @contextmanager
    def progress(self, doing: str) -> Generator[None]:
        """Show that something is under way until the block ends; the last line of a part stays."""
        console = output()
        if self._quiet or not console.is_terminal:
            if not self._quiet:
                say(doing)
            self._last_s = self._clock.monotonic()
            yield
            return
        with Live(Spinner("dots", text=Text(doing)), console=console, refresh_per_second=8, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def update(self, line: str) -> None:
        """Show how far it is."""
        if self._live is not None:
            self._live.update(Spinner("dots", text=Text(line)))
        elif not self._quiet and self._clock.monotonic() - self._last_s >= _PLAIN_EVERY_S:
            self._last_s = self._clock.monotonic()
            say(line)
