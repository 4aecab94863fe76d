"""Parses the command line. A failure that an operator can mend is one clear message, never a traceback."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kraken import __version__
from kraken.core.errors import BadConfig, KrakenError

BAD_CONFIG_EXIT = 2

app = typer.Typer(
    name="kraken",
    help="A peer-to-peer container-image registry for fleets.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Check a configuration file, or show every setting.", no_args_is_help=True)
app.add_typer(config_app, name="config")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The component's YAML file.")]


def main() -> None:
    """The `kraken` command."""
    try:
        app()
    except BadConfig as error:
        _fail(str(error), BAD_CONFIG_EXIT)
    except KrakenError as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(str(error), BAD_CONFIG_EXIT)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version, and exit.")] = False) -> None:
    if version:
        typer.echo(f"kraken {__version__}")
        raise typer.Exit


@app.command()
def agent(config: ConfigFile) -> None:
    """Run an agent: the registry on each host, and a peer."""
    _run("agent", config)


@app.command()
def origin(config: ConfigFile) -> None:
    """Run an origin: keeps blobs, and seeds them."""
    _run("origin", config)


@app.command()
def tracker(config: ConfigFile) -> None:
    """Run a tracker: introduces peers to each other."""
    _run("tracker", config)


@app.command()
def index(config: ConfigFile) -> None:
    """Run an index: keeps tags and manifests' names."""
    _run("index", config)


@app.command()
def proxy(config: ConfigFile) -> None:
    """Run a proxy: the registry's front door, for pushes."""
    _run("proxy", config)


@config_app.command("check")
def config_check(file: Annotated[Path, typer.Argument(help="The YAML file of a component.")]) -> None:
    """Tell everything that is wrong with a file, and with the environment."""
    from kraken.cli.kinds import Kind, settings_class
    from kraken.config.loader import component_of, load

    kind = Kind(component_of(file, list(Kind)))
    load(kind, settings_class(kind), file, os.environ)
    typer.echo(f"{file}: a valid configuration of {'an' if kind[0] in 'aio' else 'a'} {kind}")


@config_app.command("show")
def config_show(
    component: Annotated[str, typer.Argument(help="agent, origin, tracker, index, proxy, or all.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="As a chapter of docs/configuration.md.")] = False,
) -> None:
    """Show every setting with its type, unit, default and meaning."""
    from kraken.cli.kinds import Kind, settings_class
    from kraken.config.describe import as_markdown, as_text, document
    from kraken.config.nearest import suggestion

    if component == "all":
        roots: dict[str, type] = {kind.value: settings_class(kind) for kind in Kind}
        typer.echo(document(roots) if markdown else "\n\n".join(as_text(kind, root) for kind, root in roots.items()))
        return
    if component not in list(Kind):
        raise BadConfig(f"unknown component {component!r}; {suggestion(component, [*Kind, 'all'])}")
    show = as_markdown if markdown else as_text
    typer.echo(show(component, settings_class(Kind(component))))


@app.command()
def dev(
    origins: Annotated[int, typer.Option(min=1, max=100)] = 3,
    trackers: Annotated[int, typer.Option(min=1, max=100)] = 2,
    indexes: Annotated[int, typer.Option(min=1, max=100)] = 2,
    proxies: Annotated[int, typer.Option(min=1, max=100)] = 1,
    agents: Annotated[int, typer.Option(min=0, max=1000)] = 3,
    data: Annotated[Path, typer.Option(help="Where everything is kept; started again on it, nothing is lost.")] = Path(
        "kraken-dev"
    ),
    base_port: Annotated[int, typer.Option(min=1, max=65535, help="The proxy's port; the others follow.")] = 5000,
    processes: Annotated[bool, typer.Option("--processes", help="Give each component its own process.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML: settings for each kind of component, under its name.")
    ] = None,
) -> None:
    """Run a whole cluster on this machine until SIGTERM or SIGINT."""
    from kraken.cli.dev import run
    from kraken.cli.layout import Counts

    counts = Counts(origins=origins, trackers=trackers, indexes=indexes, proxies=proxies, agents=agents)
    run(counts, data, base_port, processes=processes, overlay=config, environ=os.environ)


@app.command()
def demo(
    agents: Annotated[int, typer.Option(min=1, max=50, help="How many pull at once.")] = 5,
    mib: Annotated[int, typer.Option(min=1, max=100_000, help="Size of the image, in MiB.")] = 304,
) -> None:
    """Build an image, push it, pull it by several agents at once, and check every byte."""
    from kraken.cli.demo.command import run

    raise typer.Exit(run(agents=agents, image_mib=mib))


@app.command()
def gc(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The YAML file of any component of the cluster.")
    ] = None,
    endpoints: Annotated[
        Path | None, typer.Option(help="Instead of a file: the endpoints.json that `kraken dev` keeps in its data.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go, and why.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what each node said as JSON.")] = False,
) -> None:
    """Collect garbage now, at all index nodes and origins. They do so by themselves every hour."""
    from kraken.cli.gc import cluster_of, run

    raise typer.Exit(run(cluster_of(config, endpoints, os.environ), dry_run=dry_run, as_json=as_json))


def _take_scenario(context: typer.Context, path: Path | None) -> Path | None:
    """Let the options of a file stand in for those that the command line does not give."""
    if path is not None:
        from kraken.cli.scenario_file import read_options

        names = {each.opts[0].removeprefix("--"): str(each.name) for each in context.command.params if each.opts}
        valid = names.keys() - {"scenario", "help"}
        context.default_map = {names[option]: value for option, value in read_options(path, sorted(valid)).items()}
    return path


@app.command()
def sim(
    _scenario: Annotated[
        Path | None,
        typer.Option(
            "--scenario",
            callback=_take_scenario,
            is_eager=True,
            help="A YAML file with any of these options, such as `hosts: 1000`; the command line goes before it.",
        ),
    ] = None,
    hosts: Annotated[int, typer.Option(min=1, max=100_000, help="Agents that pull.")] = 100,
    blob: Annotated[str, typer.Option(help="Size of the blob.")] = "1GiB",
    layers: Annotated[
        str, typer.Option(help="Instead of one blob an image of such layers, in this order: 64MiB,8MiB,500kB.")
    ] = "",
    at_once: Annotated[int, typer.Option(min=1, help="Layers that a host pulls at the same time.")] = 3,
    images: Annotated[int, typer.Option(min=1, help="Images of such --layers, which hosts are dealt to in turn.")] = 1,
    common: Annotated[
        int, typer.Option(min=0, help="Layers, from the first, that all --images have in common, as a base image.")
    ] = 0,
    origins: Annotated[int, typer.Option(min=1, max=100)] = 3,
    arrivals: Annotated[str, typer.Option(help="Agents begin within this time, evenly at random.")] = "0.2s",
    seed: Annotated[int, typer.Option(help="One seed gives one run, event by event.")] = 1,
    link: Annotated[str, typer.Option(help="Speed of each host, each way.")] = "1GB/s",
    rtt: Annotated[str, typer.Option(help="Round trip, at the least; half as much again at the most.")] = "0.5ms",
    window: Annotated[str, typer.Option(help="Bytes under way on one connection.")] = "512KiB",
    graph: Annotated[
        str, typer.Option(help="tracker, or regular:12 for an ideal graph of 12 connections.")
    ] = "tracker",
    piece: Annotated[str, typer.Option(help="Piece length; the product's own rule if not given.")] = "",
    deaths: Annotated[str, typer.Option(help="Part of the agents that lose power meanwhile.")] = "0%",
    stragglers: Annotated[str, typer.Option(help="Part of the agents with a tenth of the speed.")] = "0%",
    liars: Annotated[int, typer.Option(min=0, help="Agents that send corrupt pieces only.")] = 0,
    zones: Annotated[int, typer.Option(min=1, help="Zones that hosts and origins are dealt to in turn.")] = 1,
    between: Annotated[
        str, typer.Option(help="Speed of the pipe from each zone to each other; no limit if not given.")
    ] = "",
    late: Annotated[str, typer.Option(help="Part of the agents that begins half a second later.")] = "0%",
    tracker_service: Annotated[str, typer.Option(help="Work of the tracker for an announce.")] = "0us",
    control_waits: Annotated[
        bool, typer.Option("--control-waits", help="Let messages queue behind the piece that is being sent.")
    ] = False,
    reader: Annotated[bool, typer.Option("--reader", help="Give each agent a reader at line rate.")] = False,
    ranges: Annotated[
        int, typer.Option(min=1, help="Parts of the blob that each --reader takes at once, as containerd does.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a picture of the run there: a name in .svg or .png.")] = None,
) -> None:
    """Simulate a crowd that pulls a blob or an image: the engines that ship, under a virtual clock."""
    from kraken.cli.plot_file import PlotFile
    from kraken.cli.sim import run, run_images
    from kraken.core.errors import Invalid
    from kraken.sim import units
    from kraken.sim.image import ImageSet
    from kraken.sim.scenario import Faults, Network, Scenario

    if layers and plot is not None:
        raise BadConfig("sim: an image of --layers has no --plot")
    if not layers and (images > 1 or common):
        raise BadConfig("sim: --images and --common are of an image; give its --layers as well")
    picture = PlotFile(plot) if plot is not None else None
    try:
        sizes = [units.size(each) for each in layers.split(",")] if layers else []
        crowd = Scenario(
            hosts=hosts,
            blob=sum(sizes) or units.size(blob),
            origins=origins,
            arrivals=units.seconds(arrivals),
            late=units.part(late),
            seed=seed,
            piece=units.size(piece) if piece else None,
            degree=units.graph(graph),
            readers=reader,
            ranges=ranges,
            tracker_service=units.seconds(tracker_service),
            network=Network(
                units.rate(link),
                units.seconds(rtt),
                window=units.size(window),
                between=units.rate(between) if between else None,
                control_waits=control_waits,
            ),
            zones=zones,
            faults=Faults(deaths=units.part(deaths), stragglers=units.part(stragglers), liars=liars),
        )
        if sizes:
            code = run_images(crowd, ImageSet(sizes, at_once, images, common), as_json=as_json)
        else:
            code = run(crowd, as_json=as_json, picture=picture)
    except Invalid as error:
        raise BadConfig(f"sim: {error}") from error
    raise typer.Exit(code)


def _run(kind_name: str, config: Path) -> None:
    from kraken.cli.kinds import Kind, component, event_loop, settings_class
    from kraken.cli.retuning import read_again
    from kraken.config.loader import load
    from kraken.observability.logs import configure
    from kraken.runtime.component import serve
    from kraken.runtime.garbage import collect_garbage_seldom

    kind = Kind(kind_name)
    settings = load(kind, settings_class(kind), config, os.environ)
    configure(settings.log)
    if kind is Kind.TRACKER:
        collect_garbage_seldom()

    async def serve_it() -> None:  # made on the loop that it will live on
        served = component(kind, settings)
        await serve([served], on_hangup=lambda: read_again(kind, served, config, os.environ))

    with asyncio.Runner(loop_factory=event_loop(kind)) as runner:
        runner.run(serve_it())


def _fail(message: str, code: int) -> None:
    for line in message.splitlines():
        print(f"kraken: {line}", file=sys.stderr)  # noqa: T201 - the command's own voice
    sys.exit(code)
