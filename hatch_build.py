"""Ship the top-level migrations/ inside the wheel."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class MigrationsHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling leaves the parameter open
    """Put migrations/ at tokenguard/_migrations in wheels, never into an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folder to a standard build; an editable install reads the checkout's own copy."""
        if version == "standard":
            build_data["force_include"]["migrations"] = "tokenguard/_migrations"
