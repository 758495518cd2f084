"""Reading numbers out of a config.json without believing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tokenguard.errors import SettingsError

__all__ = ["Fields"]

_LARGEST: Final = 10**9


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a config, or of an object in it.

    Attributes:
        values: As they stand there.
        place: What goes before a name in a sentence, such as `vision_config.`.
    """

    values: Mapping[str, Any]
    place: str = ""

    def get(self, name: str) -> Any:
        """A field as it is; None where there is none."""
        return self.values.get(name)

    def count(self, name: str, default: int | None = None, *, most: int = _LARGEST) -> int:
        """A field that counts something: a whole number from 1 to `most`, and from 0 on where the default is 0.

        Raises:
            SettingsError: It is missing and has no default, or is no such number.
        """
        value = self.values.get(name)
        if value is None:
            value = default
        if value is None:
            raise SettingsError(
                f"config.json has no {self.place}{name}: give the whole config.json of the model.", field=name
            )
        least = 0 if default == 0 else 1
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise SettingsError(
                f"config.json: {self.place}{name}={value!r} must be a whole number from {least} to {most:,}; "
                "correct it in the file.",
                field=name,
                value=repr(value),
            )
        return value
