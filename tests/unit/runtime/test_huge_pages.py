"""A process that begins anew with huge pages: once, and only where that can be."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import json, os, sys
from kraken.runtime.huge_pages import start_anew_in_huge_pages
start_anew_in_huge_pages()
print(json.dumps([os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES")]))
"""


def start(environment: dict[str, str]) -> tuple[int, list[object]]:
    usual = {name: value for name, value in os.environ.items() if name not in ("PYTHONMALLOC", "GLIBC_TUNABLES")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "one", "two words"],
        env={**usual, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=30)
    return process.pid, json.loads(output)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such tunable")
def test_the_program_starts_anew_as_the_same_process_with_the_same_arguments() -> None:
    pid, told = start({})

    assert told == [pid, ["one", "two words"], "glibc.malloc.hugetlb=1"]


@pytest.mark.parametrize("chosen", [{"PYTHONMALLOC": "pymalloc"}, {"GLIBC_TUNABLES": "glibc.malloc.check=0"}])
def test_what_the_environment_says_about_memory_stands(chosen: dict[str, str]) -> None:
    pid, told = start(chosen)

    assert told == [pid, ["one", "two words"], chosen.get("GLIBC_TUNABLES")]
