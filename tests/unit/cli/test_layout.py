from __future__ import annotations

from pathlib import Path

import pytest

from kraken.cli.kinds import Kind
from kraken.cli.layout import Counts, nested, plan
from kraken.core.errors import BadConfig

DATA = Path("/data")


def test_the_proxy_has_the_base_port_and_the_agents_the_next_ones() -> None:
    cluster = plan(Counts(origins=3, trackers=2, indexes=2, proxies=1, agents=3), 5000, DATA)

    assert [member.http.port for member in cluster.of(Kind.PROXY)] == [5000]
    assert [member.http.port for member in cluster.of(Kind.AGENT)] == [5001, 5002, 5003]


def test_no_port_is_used_twice_and_none_is_left_out() -> None:
    cluster = plan(Counts(), 5000, DATA)

    assert sorted(address.port for address in cluster.addresses) == list(range(5000, 5017))


def test_the_same_flags_give_the_same_plan() -> None:
    assert plan(Counts(agents=5), 6000, DATA) == plan(Counts(agents=5), 6000, DATA)


def test_everybody_knows_the_origins_trackers_and_indexes() -> None:
    cluster = plan(Counts(origins=2, trackers=1, indexes=1, agents=1), 5000, DATA)
    agent = cluster.of(Kind.AGENT)[0]

    settings = cluster.settings_of(agent)

    assert settings["component",] == "agent"
    assert settings["data",] == "/data/agent-1"
    assert settings["http", "listen"] == "127.0.0.1:5001"
    assert settings["peer", "listen"] == str(agent.peer)
    assert settings["cluster", "origins"] == ("127.0.0.1:5002", "127.0.0.1:5003")
    assert settings["cluster", "trackers"] == ("127.0.0.1:5004",)


def test_only_agents_and_origins_are_peers() -> None:
    cluster = plan(Counts(), 5000, DATA)

    assert {member.kind for member in cluster.members if member.peer} == {Kind.AGENT, Kind.ORIGIN}


def test_ports_that_do_not_exist_are_refused() -> None:
    with pytest.raises(BadConfig, match="lower --base-port"):
        plan(Counts(), 65530, DATA)


def test_flat_settings_become_the_tree_of_a_file() -> None:
    assert nested({("a", "b"): "1", ("a", "c"): ("x", "y"), ("d",): None}) == {
        "a": {"b": "1", "c": ["x", "y"]},
        "d": None,
    }
