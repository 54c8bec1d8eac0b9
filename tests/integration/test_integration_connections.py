"""Every connection of a whole run, native libraries and child processes included, as the kernel sees it."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from dev_session import clean_environment, command
from programs import tool

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

#: What carries an address: TCP and UDP alike, a resolver's queries included.
CALLS = "connect,sendto,sendmsg,sendmmsg,listen"
ADDRESS = re.compile(
    r"sin_port=htons\((?P<port>\d+)\), sin_addr=inet_addr\(\"(?P<host>[^\"]+)\"\)"
    r"|sin6_port=htons\((?P<port6>\d+)\).*?inet_pton\(AF_INET6, \"(?P<host6>[^\"]+)\""
)
LISTENS = re.compile(r"listen\(\d+<TCP(?:v6)?:\[(?P<host>.*):(?P<port>\d+)\]>")


def _addresses(trace: str) -> Counter[tuple[str, int]]:
    found: Counter[tuple[str, int]] = Counter()
    for line in trace.splitlines():
        if "listen(" not in line:
            for match in ADDRESS.finditer(line):
                found[match["host"] or match["host6"], int(match["port"] or match["port6"])] += 1
    return found


def test_a_strange_address_would_be_found() -> None:
    lines = (
        '7 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.7")}, 16) = 0\n'
        "7 connect(3, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0),"
        ' inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 0\n'
        '7 sendto(5, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("198.51.100.1")}, 16) = 1\n'
    )
    assert set(_addresses(lines)) == {("192.0.2.7", 443), ("2001:db8::1", 80), ("198.51.100.1", 53)}


def test_a_whole_run_talks_to_its_own_services_and_nobody_else(tmp_path: Path, say: Callable[[str], None]) -> None:
    hwosim, trace = command("hwosim"), tmp_path / "trace"
    # The broker outlives the demo, and strace waits for it: so it is ended in the same trace.
    both = f"{hwosim} demo --fast; status=$?; {hwosim} stream broker stop; exit $status"
    tracer = [tool("strace"), "-f", "--seccomp-bpf", "-qq", "-yy", "-e", f"trace={CALLS}", "-e", "signal=none"]
    ran = subprocess.run(
        [*tracer, "-o", str(trace), "sh", "-c", both],
        env=clean_environment(tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    if "PTRACE" in ran.stderr or "Operation not permitted" in ran.stderr:
        pytest.skip(f"this machine does not let strace trace: {ran.stderr.splitlines()[0]}")
    assert ran.returncode == 0, ran.stderr
    text = trace.read_text(errors="replace")
    reached = _addresses(text)
    served = {int(match["port"]): match["host"] for match in LISTENS.finditer(text)}
    lines = [f"reached {times:5d} times: {host}:{port}" for (host, port), times in sorted(reached.items())]
    say("\n    ".join([f"listened at: {served}", *lines]))
    assert reached, "a run that connects to nothing was not traced"
    assert all(ipaddress.ip_address(host).is_loopback for host, _port in reached)
    assert len(served) == 2, "the local archive and the embedded broker"
    assert all(ipaddress.ip_address(host).is_loopback for host in served.values())
    assert {port for _host, port in reached} <= set(served)
