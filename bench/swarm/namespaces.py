"""Hosts of their own on this machine: network namespaces on a bridge, each behind a link of a limited rate.

The namespaces have no names, and the bridge is in one of them too: only the processes and descriptors of a run hold
them, so the kernel takes them away, with all devices, however the run ends.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kraken.core.pieces import KIB

HUB_ADDRESS = "10.77.0.1"

MSS = 1448
"""Payload bytes of a full TCP segment: 1,500 less IPv4 (20) and TCP with timestamps (32)."""

WIRE = MSS + 20 + 32 + 14
"""What such a segment counts at the limit: an Ethernet header more, for each segment of a batch as well."""

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET, of sched.h
_QUEUE_SECONDS = 0.05
_LEAST_BURST = 64 * KIB  # a batch of segments that is no longer passes whole
_BURST_SECONDS = 0.004
_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_A_HUNDREDTH_BY = 250  # hosts in one octet of the address

_libc = ctypes.CDLL(None, use_errno=True)


def payload_rate(line: float) -> float:
    """Bytes per second of payload that a line rate (bits per second) admits in full segments one way."""
    return line / 8 * MSS / WIRE


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace, for as long as its descriptor is open."""

    fd: int

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Whatever socket or process this thread makes in the block is there."""
        here = _current()
        try:
            _enter(self.fd)
            yield
        finally:
            _enter(here)
            os.close(here)


@dataclass(frozen=True, slots=True)
class LanHost:
    """A host of the bench, the device at its end of the link, and the one at the bridge's end."""

    namespace: Namespace
    address: str
    port: str

    def limit(self, line: float) -> None:
        """Limit both directions. Args: line, bits per second, headers included. Raises: CalledProcessError."""
        burst = max(_LEAST_BURST, round(line / 8 * _BURST_SECONDS))
        rule = f"root tbf rate {round(line)}bit burst {burst} latency {round(_QUEUE_SECONDS * 1000)}ms"
        _batch("tc", [f"qdisc add dev {self.port} {rule}"])
        with self.namespace.entered():
            _batch("tc", [f"qdisc add dev eth0 {rule}"])


@contextmanager
def lan(count: int) -> Iterator[list[LanHost]]:
    """Hosts on a bridge. Within the block this thread is in the namespace of the bridge, at HUB_ADDRESS.

    Raises: PermissionError, unless it is root who asks; CalledProcessError.
    """
    before = _current()
    with ExitStack() as stack:
        stack.callback(os.close, before)
        stack.callback(_enter, before)
        hub = _made(stack)
        _enter(hub.fd)
        if _BRIDGE_FILTER.exists():
            _BRIDGE_FILTER.write_text("0")  # a switch has no packet filter; it costs a third of what the bridge does
        _batch(
            "ip",
            [
                "link set lo up",
                f"link add br0 address {_mac(HUB_ADDRESS)} type bridge",
                f"addr add {HUB_ADDRESS}/16 dev br0",
                "link set br0 up",
            ],
        )
        hosts = [_host(stack, number) for number in range(count)]
        _introduce([host.address for host in hosts], "br0")
        for host in hosts:
            with host.namespace.entered():
                _introduce([HUB_ADDRESS, *(other.address for other in hosts if other is not host)], "eth0")
        yield hosts


def _host(stack: ExitStack, number: int) -> LanHost:
    space, port = _made(stack), f"v{number}"
    address = f"10.77.{1 + number // _A_HUNDREDTH_BY}.{1 + number % _A_HUNDREDTH_BY}"
    peer = f"peer name eth0 address {_mac(address)} netns /proc/{os.getpid()}/fd/{space.fd}"
    _batch("ip", [f"link add {port} type veth {peer}", f"link set {port} master br0 up"])
    with space.entered():
        _batch("ip", ["link set lo up", f"addr add {address}/16 dev eth0", "link set eth0 up"])
    return LanHost(space, address, port)


def _introduce(addresses: Sequence[str], device: str) -> None:
    """Tell this namespace for good who has which hardware address.

    All namespaces together may have learnt no more than 1,024 (gc_thresh3), which 33 hosts that know each other exceed:
    then some reach nobody.
    """
    _batch("ip", [f"neigh add {each} lladdr {_mac(each)} dev {device} nud permanent" for each in addresses])


def _mac(address: str) -> str:
    """A locally administered hardware address, of an IPv4 address."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def _made(stack: ExitStack) -> Namespace:
    """A new namespace; this thread stays where it is."""
    here = _current()
    try:
        unshare(_NEW_NETWORK)
        space = Namespace(_current())
    finally:
        _enter(here)
        os.close(here)
    stack.callback(os.close, space.fd)
    return space


def unshare(kind: int) -> None:
    """Give this thread a namespace of its own.

    Args: kind, a CLONE_NEW... of sched.h. Raises: PermissionError, unless it is root who asks.
    """
    _checked(_libc.unshare(kind))


def _current() -> int:
    """A descriptor of the namespace that this thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(fd: int) -> None:
    _checked(_libc.setns(fd, _NEW_NETWORK))


def _checked(result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _batch(program: str, commands: Sequence[str]) -> None:
    subprocess.run([program, "-batch", "-"], input="\n".join(commands), check=True, capture_output=True, text=True)
