"""Processes by name: this one, others that live, and those that are known to be dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tokenguard.config import owners
from tokenguard.config.owners import is_dead, owner_id

NAMED = "from tokenguard.config.owners import owner_id; print(owner_id(), flush=True); input()"

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says when a process started")


def start() -> tuple[subprocess.Popen[str], str]:
    """A process that waits, and its name."""
    other = subprocess.Popen([sys.executable, "-c", NAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    return other, other.stdout.readline().strip()


def test_this_process_is_called_the_same_as_long_as_it_lives_and_others_are_not() -> None:
    other, name = start()
    other.communicate("", timeout=20)

    assert owner_id() == owner_id() != name
    assert str(os.getpid()) in owner_id().split("/")


def test_where_the_kernel_does_not_say_the_host_stands_for_it_and_nobody_is_known_to_be_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: Any, **__: Any) -> str:
        raise FileNotFoundError("/proc")

    monkeypatch.setattr(owners.Path, "read_text", unknown)  # as on macOS and Windows
    monkeypatch.setattr(owners.Path, "readlink", unknown)

    assert owner_id() == f"{os.uname().nodename}//{os.getpid()}/0"
    assert not is_dead(f"{os.uname().nodename}//999999999/0")


@linux
def test_a_process_is_known_to_be_dead_once_it_was_killed_also_before_its_parent_asked() -> None:
    other, name = start()
    lived = is_dead(name)

    other.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not reaped: a zombie
    zombie = is_dead(name)
    other.communicate(timeout=20)

    assert (lived, zombie, is_dead(name)) == (False, True, True)
    assert not is_dead(owner_id())


@linux
def test_a_pid_that_was_given_to_another_process_is_not_the_one_that_died() -> None:
    boot, namespace, pid, started = owner_id().split("/")

    assert is_dead(f"{boot}/{namespace}/{pid}/{int(started) - 1}")


@linux
@pytest.mark.parametrize("place", ["boot", "namespace"])
def test_nothing_is_known_about_processes_of_other_boots_and_other_containers(place: str) -> None:
    boot, namespace, *_ = owner_id().split("/")

    other = {"boot": f"0{boot[1:]}x/{namespace}", "namespace": f"{boot}/1{namespace}"}[place]

    assert not is_dead(f"{other}/999999999/1")


@linux
@pytest.mark.parametrize("name", ["", "owner", "a/b/c/d", "{boot}/{ns}/many/1", "{boot}/{ns}/99999999999999999999/1"])
def test_a_name_that_is_none_of_ours_is_nobody_we_know(name: str) -> None:
    boot, namespace, *_ = owner_id().split("/")

    assert not is_dead(name.format(boot=boot, ns=namespace))


@linux
def test_a_process_of_another_user_that_the_kernel_hides_is_not_known_to_be_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boot, namespace, *_ = owner_id().split("/")

    def refused(pid: int, _: int) -> None:
        raise PermissionError(pid)

    monkeypatch.setattr(os, "kill", refused)  # what the kernel answers about somebody else's process
    other, name = start()
    other.communicate("", timeout=20)  # gone from /proc, as under hidepid=2

    assert not is_dead(name)
    assert not is_dead(f"{boot}/{namespace}/999999999/1")
