"""The limit for a sender: the same bytes by a bare loop of sendfile, over loopback, in the same run.

python -m bench.raw_sendfile FILE   prints CPU s/GB
"""

from __future__ import annotations

import os
import resource
import select
import socket
import sys
import threading
from pathlib import Path

_AT_ONCE = 1024 * 1024


def cost(path: Path) -> float:
    """CPU seconds per GB of the sending thread."""
    size = path.stat().st_size
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sink = threading.Thread(target=_drain, args=(listener,))
        sink.start()
        with socket.create_connection(listener.getsockname()) as sock, path.open("rb") as file:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
            sock.setblocking(False)
            before = thread_cpu()
            _send(sock, file.fileno(), size)
            spent = thread_cpu() - before
        sink.join()
    return spent / (size / 1e9)


def thread_cpu() -> float:
    """User and system CPU seconds that this thread has used so far."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_utime + usage.ru_stime


def _send(sock: socket.socket, fd: int, size: int) -> None:
    at = 0
    while at < size:
        try:
            at += os.sendfile(sock.fileno(), fd, at, min(_AT_ONCE, size - at))
        except BlockingIOError:
            select.select([], [sock], [])


def _drain(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        place = memoryview(bytearray(_AT_ONCE))
        while connection.recv_into(place):
            pass


if __name__ == "__main__":
    print(cost(Path(sys.argv[1])))
