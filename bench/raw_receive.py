"""The limit for a receiver: the same bytes by a bare loop of recv_into, over loopback, in the same run.

python -m bench.raw_receive FILE [TARGET]   prints CPU s/GB; with a TARGET pieces are hashed by BLAKE3 and written there
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

from bench.raw_sendfile import thread_cpu
from kraken.storage.hashing import piece_hash

_PIECE = 1024 * 1024


def cost(path: Path, target: Path | None = None) -> float:
    """CPU seconds per GB of the receiving thread.

    Args: target, a file that is written over; None to drop what comes.
    """
    size = path.stat().st_size
    with socket.create_server(("127.0.0.1", 0)) as listener:
        source = threading.Thread(target=_serve, args=(listener, path, size))
        source.start()
        fd = -1 if target is None else os.open(target, os.O_RDWR | os.O_CREAT, 0o644)
        with socket.create_connection(listener.getsockname()) as sock:
            before = thread_cpu()
            _receive(sock, size, fd)
            spent = thread_cpu() - before
        source.join()
        if fd >= 0:
            os.close(fd)
    return spent / (size / 1e9)


def _receive(sock: socket.socket, size: int, fd: int) -> None:
    place = memoryview(bytearray(_PIECE))
    for at in range(0, size, _PIECE):
        piece = place[: min(_PIECE, size - at)]
        sock.recv_into(piece, len(piece), socket.MSG_WAITALL)
        if fd >= 0:
            piece_hash(piece)
            os.pwrite(fd, piece, at)


def _serve(listener: socket.socket, path: Path, size: int) -> None:
    connection, _ = listener.accept()
    with connection, path.open("rb") as file:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        at = 0
        while at < size:
            at += os.sendfile(connection.fileno(), file.fileno(), at, size - at)


if __name__ == "__main__":
    print(cost(Path(sys.argv[1]), *map(Path, sys.argv[2:3])))
