"""Logs as machines write them, of twelve kinds, by a seeded generator: for measuring how text is folded."""

# ruff: noqa: E501  # lines of logs are as long as they are

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

__all__ = ["KINDS", "log"]

_USERS = ("root", "admin", "oracle", "deploy", "git", "guest")
_PATHS = ("/", "/login", "/api/v2/orders", "/static/app.js", "/health", "/api/v2/users/me", "/favicon.ico")
_STEPS = ("build", "fetch", "link", "package", "upload")


def log(kind: str, lines: int, seed: int = 1) -> str:
    """A log of one kind with so many lines."""
    dice = random.Random(f"{kind} {seed}")
    rows = KINDS[kind](dice)
    return "\n".join(next(rows) for _ in range(lines))


def _clock(dice: random.Random) -> Iterator[tuple[int, int, int]]:
    second = dice.randint(0, 3_600)
    while True:
        second += dice.choice((0, 0, 1, 1, 2, 7))
        yield second // 3_600 % 24, second // 60 % 60, second % 60


def _address(dice: random.Random) -> str:
    return f"{dice.randint(10, 218)}.{dice.randint(0, 255)}.{dice.randint(0, 255)}.{dice.randint(1, 254)}"


def _sshd(dice: random.Random) -> Iterator[str]:
    for hour, minute, second in _clock(dice):
        pid, who, at = dice.randint(10_000, 32_000), dice.choice(_USERS), _address(dice)
        head = f"Dec 10 {hour:02}:{minute:02}:{second:02} LabSZ sshd[{pid}]:"
        yield dice.choice(
            (
                f"{head} Failed password for {who} from {at} port {dice.randint(1024, 65535)} ssh2",
                f"{head} Invalid user {who} from {at}",
                f"{head} pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={at} user={who}",
                f"{head} Received disconnect from {at}: 11: Bye Bye [preauth]",
            )
        )


def _nginx(dice: random.Random) -> Iterator[str]:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    for hour, minute, second in _clock(dice):
        status = dice.choice((200, 200, 200, 304, 404, 500))
        yield (
            f"{_address(dice)} - - [12/Mar/2026:{hour:02}:{minute:02}:{second:02} +0000] "
            f'"GET {dice.choice(_PATHS)} HTTP/1.1" {status} {dice.randint(0, 90_000)} "-" "{agent}"'
        )


def _kernel(dice: random.Random) -> Iterator[str]:
    at = 0.0
    while True:
        at += dice.random()
        port = dice.randint(1, 4)
        yield dice.choice(
            (
                f"[{at:12.6f}] usb {port}-{dice.randint(1, 9)}: new high-speed USB device number {dice.randint(2, 99)} using xhci_hcd",
                f"[{at:12.6f}] eth0: link up, 1000 Mbps, full duplex, lpa 0x{dice.randint(0, 65535):04x}",
                f"[{at:12.6f}] EXT4-fs (sda{port}): mounted filesystem with ordered data mode. Opts: errors=remount-ro",
            )
        )


def _hdfs(dice: random.Random) -> Iterator[str]:
    for hour, minute, second in _clock(dice):
        block = dice.randint(10**18, 9 * 10**18)
        head = f"081109 {hour:02}{minute:02}{second:02} {dice.randint(10, 999)} INFO"
        yield dice.choice(
            (
                f"{head} dfs.DataNode$PacketResponder: PacketResponder {dice.randint(0, 2)} for block blk_{block} terminating",
                f"{head} dfs.FSNamesystem: BLOCK* NameSystem.addStoredBlock: blockMap updated: {_address(dice)}:50010 is added to blk_-{block} size 67108864",
            )
        )


def _spark(dice: random.Random) -> Iterator[str]:
    for hour, minute, second in _clock(dice):
        head = f"17/06/09 {hour:02}:{minute:02}:{second:02} INFO"
        yield dice.choice(
            (
                f"{head} executor.Executor: Finished task {dice.randint(0, 99)}.0 in stage {dice.randint(0, 30)}.0 (TID {dice.randint(0, 9999)}). {dice.randint(900, 3000)} bytes result sent to driver",
                f"{head} storage.MemoryStore: Block broadcast_{dice.randint(0, 50)} stored as values in memory (estimated size {dice.randint(1, 99)}.{dice.randint(0, 9)} KB, free {dice.randint(100, 400)}.0 KB)",
            )
        )


def _postgres(dice: random.Random) -> Iterator[str]:
    for hour, minute, second in _clock(dice):
        head = f"2026-05-04 {hour:02}:{minute:02}:{second:02}.{dice.randint(0, 999):03} UTC [{dice.randint(100, 999)}]"
        yield dice.choice(
            (
                f"{head} LOG:  duration: {dice.randint(1, 9000)}.{dice.randint(0, 999):03} ms  statement: SELECT * FROM orders WHERE id = {dice.randint(1, 99999)}",
                f"{head} LOG:  checkpoint complete: wrote {dice.randint(1, 9000)} buffers ({dice.randint(0, 20)}.{dice.randint(0, 9)}%); 0 WAL file(s) added, 0 removed, 1 recycled",
                f"{head} ERROR:  deadlock detected",
            )
        )


def _systemd(dice: random.Random) -> Iterator[str]:
    for hour, minute, second in _clock(dice):
        unit = dice.choice(("logrotate", "apt-daily", "certbot", "fstrim"))
        yield dice.choice(
            (
                f"May 04 {hour:02}:{minute:02}:{second:02} host systemd[1]: Starting {unit}.service - scheduled work...",
                f"May 04 {hour:02}:{minute:02}:{second:02} host systemd[1]: {unit}.service: Deactivated successfully.",
                f"May 04 {hour:02}:{minute:02}:{second:02} host systemd[1]: {unit}.service: Consumed {dice.randint(1, 99)}.{dice.randint(100, 999)}s CPU time.",
            )
        )


def _android(dice: random.Random) -> Iterator[str]:
    for hour, minute, second in _clock(dice):
        head = f"03-17 {hour:02}:{minute:02}:{second:02}.{dice.randint(0, 999):03}  {dice.randint(1000, 2000)}  {dice.randint(1000, 9000)}"
        yield dice.choice(
            (
                f'{head} D PowerManagerService: acquire lock=0x{dice.randint(0, 2**28):07x}, flags=0x1, tag="View Lock", ws=null, uid=1000',
                f"{head} V WindowManager: Skipping AppWindowToken{{df{dice.randint(10, 99)}dec token=Token{{78af{dice.randint(10, 99)}9 ActivityRecord}}}}",
                f"{head} I ActivityManager: Displayed com.example/.Main: +{dice.randint(100, 900)}ms",
            )
        )


def _kubernetes(dice: random.Random) -> Iterator[str]:
    for hour, minute, second in _clock(dice):
        yield (
            f'{{"level":"{dice.choice(("info", "info", "warn"))}","ts":"2026-05-04T{hour:02}:{minute:02}:{second:02}.{dice.randint(0, 999999):06}Z",'
            f'"msg":"reconciled","controller":"deployment","object":"default/web-{dice.randint(1, 9)}","attempt":{dice.randint(1, 5)},'
            f'"took":"{dice.randint(1, 900)}ms"}}'
        )


def _mobile(dice: random.Random) -> Iterator[str]:
    for hour, minute, second in _clock(dice):
        yield (
            f"[10.30 {hour:02}:{minute:02}:{second:02}] chrome.exe - proxy.example.edu:5070 close, {dice.randint(100, 90_000)} bytes sent, "
            f"{dice.randint(100, 90_000)} bytes received, lifetime {dice.randint(0, 59):02}:{dice.randint(0, 59):02}"
        )


def _builds(dice: random.Random) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        step = dice.choice(_STEPS)
        yield f"[{number}/4000] {step}: target {step}-{dice.randint(1, 500)} done in {dice.randint(1, 60)}.{dice.randint(0, 9)}s"


def _workers(dice: random.Random) -> Iterator[str]:
    for hour, minute, second in _clock(dice):
        who = f"{dice.getrandbits(128):032x}"
        job = f"{who[:8]}-{who[8:12]}-4{who[13:16]}-8{who[17:20]}-{who[20:]}"
        yield (
            f"2026-05-04T{hour:02}:{minute:02}:{second:02}.{dice.randint(0, 999):03}Z INFO queue.worker[{dice.randint(1, 64)}] job {job} "
            f"{dice.choice(('started', 'finished', 'finished'))} attempt {dice.randint(1, 3)}"
        )


KINDS: dict[str, Callable[[random.Random], Iterator[str]]] = {
    "sshd": _sshd,
    "nginx access": _nginx,
    "kernel": _kernel,
    "HDFS": _hdfs,
    "Spark": _spark,
    "PostgreSQL": _postgres,
    "systemd": _systemd,
    "Android": _android,
    "Kubernetes JSON lines": _kubernetes,
    "proxy client": _mobile,
    "build steps": _builds,
    "job queue": _workers,
}
