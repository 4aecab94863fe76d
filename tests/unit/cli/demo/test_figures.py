from __future__ import annotations

from kraken.cli.demo.figures import AgentFigures, Result, note_sources, parse_samples, result_of

AGENT_PAGE = """\
# HELP kraken_p2p_bytes_total Payload bytes.
# TYPE kraken_p2p_bytes_total counter
kraken_p2p_bytes_total{direction="in",role="agent"} 750.0
kraken_p2p_bytes_total{direction="in",role="origin"} 250.0
kraken_p2p_bytes_total{direction="out",role="agent"} 9.0
process_open_fds 12.0
"""
ORIGIN_PAGE = 'kraken_p2p_bytes_total{direction="out",role="agent"} 1.5e+03\nkraken_backend_reads_total 0.0\n'


def test_samples_are_summed_over_the_labels_that_are_not_asked_for() -> None:
    samples = parse_samples(AGENT_PAGE)

    assert samples.total("kraken_p2p_bytes_total", 'direction="in"') == 1000.0
    assert samples.total("kraken_p2p_bytes_total") == 1009.0
    assert samples.total("kraken_nothing") == 0.0


def test_the_result_adds_up_agents_and_origins() -> None:
    agents = [
        AgentFigures("agent-1", 1000, seconds=2.0, done=True),
        AgentFigures("agent-2", 1000, seconds=4.0, done=True),
    ]
    for agent in agents:
        note_sources(agent, parse_samples(AGENT_PAGE))

    result = result_of(1000, agents, [parse_samples(ORIGIN_PAGE)])

    assert result == Result(
        ok=True,
        image_bytes=1000,
        agents=2,
        seconds_p50=3.0,
        seconds_max=4.0,
        peer_byte_share=0.75,
        origin_copies=1.5,
        backend_reads=0,
    )


def test_one_agent_with_an_error_makes_the_whole_not_ok() -> None:
    agents = [AgentFigures("agent-1", 1, done=True), AgentFigures("agent-2", 1, done=True, error="wrong digest")]

    assert not result_of(1, agents, []).ok


def test_an_agent_that_did_not_finish_makes_the_whole_not_ok() -> None:
    assert not result_of(1, [AgentFigures("agent-1", 1)], []).ok
