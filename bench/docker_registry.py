"""Debian's docker-registry, the peer of the registry benches."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.lab import answers, free_port, process, until

_CONFIG = """
version: 0.1
log: {{accesslog: {{disabled: true}}, level: error}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@contextmanager
def docker_registry(folder: Path) -> Iterator[tuple[str, int]]:
    """A running one: its URL and pid."""
    port = free_port()
    data = folder / "docker-registry"
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(data=data, port=port))
    env = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    with process(["docker-registry", "serve", str(config)], folder / "registry.log", env) as registry:
        until(lambda: answers(port))
        yield f"http://127.0.0.1:{port}", registry.pid
    shutil.rmtree(data)
