"""A file of records that outlives its process, torn tails and full disks."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tokenguard.errors import LedgerUnavailable
from tokenguard.ledger import spool as spool_module
from tokenguard.ledger.spool import SUFFIX, Spool, orphans

fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

WRITER = """
import sys, time
from pathlib import Path
from tokenguard.ledger.spool import Spool
spool = Spool.open(Path(sys.argv[1]))
for number in range(3):
    spool.append({"number": number})
print("written", flush=True)
time.sleep(60)
"""


def test_records_come_back_in_their_order_and_as_they_were(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)

    spool.append({"pico": 2**80, "text": "Grüße \ud800\n"})
    spool.append({"list": [1, None, True]}, durable=True)

    assert spool.records() == [{"pico": 2**80, "text": "Grüße \ud800\n"}, {"list": [1, None, True]}]


def test_a_folder_that_is_not_there_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "a" / "b")

    assert spool.path.suffix == SUFFIX
    assert spool.path.stat().st_mode & 0o077 == 0


def test_what_a_living_process_writes_is_nobodys_to_take(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)

    assert orphans(tmp_path) == []

    spool.close()
    assert [one.path for one in orphans(tmp_path)] == [spool.path]


def test_a_killed_process_leaves_every_record_to_the_next(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        assert orphans(tmp_path) == []
        writer.send_signal(signal.SIGKILL)

    (left,) = orphans(tmp_path)

    assert left.records() == [{"number": 0}, {"number": 1}, {"number": 2}]


def test_only_one_process_takes_a_spool_over(tmp_path: Path) -> None:
    Spool.open(tmp_path).close()

    first, second = orphans(tmp_path), orphans(tmp_path)

    assert (len(first), len(second)) == (1, 0)


def test_a_file_that_is_taken_for_an_orphans_while_it_is_made_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.open
    taken: list[Spool] = []

    def then_somebody_looks(*arguments: Any) -> int:
        monkeypatch.undo()
        descriptor = make(*arguments)
        taken.extend(orphans(tmp_path))
        return descriptor

    monkeypatch.setattr(os, "open", then_somebody_looks)
    mine = Spool.open(tmp_path)
    mine.append({"number": 1})
    (taker,) = taken
    taker.close(remove=True)

    assert list(tmp_path.iterdir()) == [mine.path]
    assert orphans(tmp_path) == []


@pytest.mark.parametrize("torn", [b"0badc0de ", b"00000000 {}\n", b"not hex {}\n", b"\xff\xfe\n"])
def test_a_record_that_was_cut_short_is_left_out_and_the_others_stand(tmp_path: Path, torn: bytes) -> None:
    spool = Spool.open(tmp_path)
    spool.append({"number": 1})
    with spool.path.open("ab") as file:
        file.write(torn)

    assert spool.records() == [{"number": 1}]


def test_a_removed_spool_is_gone_and_closing_twice_is_closing_once(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)
    spool.append({"number": 1})

    spool.close(remove=True)
    spool.close()

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LedgerUnavailable, match="was closed"):
        spool.append({"number": 2})


def test_a_cleared_spool_goes_on_empty(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)
    spool.append({"number": 1})

    spool.clear()
    spool.append({"number": 2})

    assert spool.records() == [{"number": 2}]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LedgerUnavailable, match=r"cannot be written \(Not a directory\)"):
        Spool.open(tmp_path / "file" / "spool")
    with pytest.raises(LedgerUnavailable, match="cannot be written"):
        Spool.at(tmp_path / "file" / "x.refused")


@pytest.fixture
def small_disk() -> Iterator[None]:
    """A disk that is full at 100 bytes: a limit on file sizes needs no other disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_fills_leaves_whole_records_only(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)
    spool.append({"text": "fits"})

    with pytest.raises(LedgerUnavailable, match="cannot be written"):
        spool.append({"text": "x" * 200})
    spool.append({"text": "fits too"})

    assert spool.records() == [{"text": "fits"}, {"text": "fits too"}]


def test_a_link_to_nothing_is_nobodys_spool(tmp_path: Path) -> None:
    (tmp_path / f"dangling{SUFFIX}").symlink_to(tmp_path / "nothing")

    assert orphans(tmp_path) == []


def test_a_spool_that_was_removed_meanwhile_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / f"gone{SUFFIX}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    path.unlink()

    assert spool_module._locked(path, descriptor) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_a_fork_does_to_the_childs_copy_lets_the_file_go(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)

    spool.renew_lock()

    assert not spool.is_open
    with pytest.raises(LedgerUnavailable, match="was closed"):
        spool.records()


@fork_only
def test_a_forked_child_neither_writes_nor_frees_its_parents_spool(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path)

    child = os.fork()
    if child == 0:
        os._exit(0 if not spool.is_open and orphans(tmp_path) == [] else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert spool.is_open
    assert orphans(tmp_path) == []
