"""Children of a bench that take words on standard input, and say values as JSON lines on standard output."""

from __future__ import annotations

import json
import subprocess
import sys

Said = dict[str, str | float]


def child(module: str, *args: str) -> subprocess.Popen[bytes]:
    """Start a module of the bench as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", module, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def said(child: subprocess.Popen[bytes]) -> Said:
    """What a child says next. Raises: RuntimeError, when it has ended."""
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError("a child of the bench ended early")
    answer: Said = json.loads(line)
    return answer


def tell(child: subprocess.Popen[bytes], word: str) -> None:
    """Send a child a word."""
    assert child.stdin is not None
    child.stdin.write(f"{word}\n".encode())
    child.stdin.flush()
