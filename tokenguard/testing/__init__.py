"""What users may import in their own tests: a model server, a fake clock."""

from tokenguard.testing.clock import FakeClock

__all__ = ["FakeClock"]
