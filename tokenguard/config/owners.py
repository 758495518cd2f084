"""Which process this is, as no other on any machine is called, and whether another one of this machine still lives."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["boot_id", "is_dead", "namespace_id", "owner_id"]


def owner_id() -> str:
    """This process: boot, pid namespace, pid and start time.

    Where the kernel does not say (macOS, Windows), the host name stands for boot and namespace.
    """
    pid = os.getpid()
    boot, namespace, started = boot_id(), namespace_id("pid"), _started(pid)
    if boot is None or namespace is None or started is None:
        return f"{os.uname().nodename if hasattr(os, 'uname') else os.environ.get('COMPUTERNAME', 'host')}//{pid}/0"
    return f"{boot}/{namespace}/{pid}/{started}"


def is_dead(owner: str) -> bool:
    """Whether a process is known to have ended.

    Only one of the same boot and the same pid namespace can be known: a number says nothing in another container. A
    pid that has another start time belongs to somebody else by now.
    """
    boot, _, rest = owner.partition("/")
    namespace, _, rest = rest.partition("/")
    pid, _, started = rest.partition("/")
    if not boot or boot != boot_id() or not namespace or namespace != namespace_id("pid") or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # It lives and is somebody else's; or this is no pid.
    now = _started(int(pid))
    return now is not None and now != started


def boot_id() -> str | None:
    """This start of the machine; None where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def namespace_id(kind: str) -> str | None:
    """The kernel's number of a namespace that this process is in: `pid`, `time`; None where there is none."""
    try:
        return Path(f"/proc/self/ns/{kind}").readlink().name.partition("[")[2].rstrip("]") or None
    except OSError:
        return None


_ENDED = "ended"


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks since boot; None: the kernel does not say, or hides it from us."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # proc(5): the fields after the command, which may contain spaces and parentheses itself.
    state, *fields = stat.rpartition(")")[2].split()
    # A zombie has ended; only its parent has not asked how.
    return _ENDED if state in ("Z", "X") else fields[_START_FIELD]


_START_FIELD = 18
"""Of the fields after the state: number 22 of proc(5)."""
