"""What users may import in their own tests: a scripted guard, a fake clock, a model server.

`ModelServer` is imported from `tokenguard.testing.model_server`; docs/testing.md shows all three.
"""

from tokenguard.backends.scripted import ScriptedBackend, ScriptedCall, ScriptedReply
from tokenguard.testing.clock import FakeClock
from tokenguard.testing.ids import CountingIds
from tokenguard.testing.scripted import scripted_guard

__all__ = ["CountingIds", "FakeClock", "ScriptedBackend", "ScriptedCall", "ScriptedReply", "scripted_guard"]
