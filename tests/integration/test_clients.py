"""Real clients, unmodified: they push to the proxy and pull from agents, and every byte is what it was."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.container_tools import (
    Containerd,
    Docker,
    Podman,
    Skopeo,
    containerd,
    docker,
    podman,
)
from tests.helpers.dev_cluster import DevCluster, dev_cluster, fetched
from tests.helpers.oci_images import SAYS, Layout, build_images, check_pulled

from kraken.cli.layout import Counts
from kraken.core.digest import Digest
from kraken.oci.manifests import OCI_INDEX, OCI_MANIFEST

NAME = "real/clients/app"
TAGS = ("app", "other", "multi")
COUNTS = Counts(origins=3, trackers=2, indexes=2, proxies=1, agents=2)


@pytest.fixture(scope="module", params=[False, True], ids=["one-process", "processes"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    known_as = {"agent": {"mirror": {"own_names": ["registry.example"]}}}  # containerd asks for it by that
    data = tmp_path_factory.mktemp("cluster")
    with dev_cluster(data, COUNTS, processes=request.param, settings=known_as) as running:
        yield running


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return build_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def skopeo() -> Skopeo:
    return Skopeo()


@pytest.fixture(scope="module")
def pushed(cluster: DevCluster, layout: Layout, skopeo: Skopeo) -> str:
    """The name below which the tags app and multi have been pushed."""
    skopeo.copy(layout.source("app"), f"docker://{cluster.proxy}/{NAME}:app")
    skopeo.copy("--all", layout.source("multi"), f"docker://{cluster.proxy}/{NAME}:multi")
    return NAME


@pytest.mark.parametrize("member", ["agent-1", "agent-2", "proxy-1"])
def test_skopeo_pulls_from_every_agent_and_from_the_proxy_what_it_pushed(
    cluster: DevCluster, layout: Layout, skopeo: Skopeo, pushed: str, tmp_path: Path, member: str
) -> None:
    skopeo.copy(f"docker://{cluster[member].http}/{pushed}:app", f"oci:{tmp_path}/pulled:app")

    check_pulled(layout, "app", tmp_path / "pulled")


@pytest.mark.parametrize("member", ["agent-1", "proxy-1"])
def test_an_index_is_pulled_whole_by_tag_and_by_digest(
    cluster: DevCluster, layout: Layout, skopeo: Skopeo, pushed: str, tmp_path: Path, member: str
) -> None:
    registry = cluster[member].http
    for number, reference in enumerate((":multi", f"@{layout.digest('multi')}")):
        target = tmp_path / str(number)
        skopeo.copy("--all", f"docker://{registry}/{pushed}{reference}", f"oci:{target}:multi")

        check_pulled(layout, "multi", target)


@pytest.mark.parametrize("tag", ["app", "other"])
def test_one_platform_of_an_index_is_pulled_alone(
    cluster: DevCluster, layout: Layout, skopeo: Skopeo, pushed: str, tmp_path: Path, tag: str
) -> None:
    config = json.loads(layout.blob(Digest.parse(layout.config_digest(tag))))
    platform_of_tag = ("--override-os", "linux", "--override-arch", config["architecture"])

    skopeo.copy(f"docker://{cluster.agent}/{pushed}:multi", f"oci:{tmp_path}/pulled:x", *platform_of_tag)

    check_pulled(layout, tag, tmp_path / "pulled")


def test_a_tag_that_moved_is_seen_at_once_through_an_agent(
    cluster: DevCluster, layout: Layout, skopeo: Skopeo, tmp_path: Path
) -> None:
    name = "real/moving"
    for number, tag in enumerate(("app", "other", "app")):
        skopeo.copy(layout.source(tag), f"docker://{cluster.proxy}/{name}:latest")
        target = tmp_path / str(number)
        skopeo.copy(f"docker://{cluster.agent}/{name}:latest", f"oci:{target}:latest")

        check_pulled(layout, tag, target)


def test_tags_are_listed_by_proxy_and_agent(cluster: DevCluster, layout: Layout, skopeo: Skopeo, pushed: str) -> None:
    for registry in (cluster.proxy, cluster.agent):
        assert {"app", "multi"} <= set(json.loads(skopeo.tags(registry, pushed))["Tags"])
        page = json.loads(fetched(registry, f"/v2/{pushed}/tags/list?n=1"))
        assert page == {"name": pushed, "tags": ["app"]}
        page = json.loads(fetched(registry, f"/v2/{pushed}/tags/list?n=1&last=app"))
        assert page["tags"] > ["app"]


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Docker]:
    with docker() as running:
        yield running


def test_docker_pulls_through_an_agent_by_localhost_name_and_runs_the_image(
    cluster: DevCluster, layout: Layout, pushed: str, dockerd: Docker
) -> None:
    for host in (f"localhost:{cluster.agent.port}", f"127.0.0.1:{cluster['agent-2'].http.port}"):
        name = f"{host}/{pushed}:app"
        dockerd("pull", name)

        assert dockerd("image", "inspect", "--format", "{{.Id}}", name).strip() == layout.config_digest("app")
        assert str(layout.digest("app")) in dockerd("image", "inspect", "--format", "{{.RepoDigests}}", name)
        assert dockerd("run", "--rm", "--network=none", name).strip() == SAYS
        dockerd("rmi", "--force", name)


def test_docker_runs_its_platform_of_an_index_with_every_byte_right(
    cluster: DevCluster, pushed: str, dockerd: Docker
) -> None:
    name = f"127.0.0.1:{cluster.agent.port}/{pushed}:multi"
    dockerd("pull", name)
    said = dockerd("run", "--rm", "--network=none", name, "sha256sum", "/bin/busybox")
    dockerd("rmi", "--force", name)

    assert said.split()[0] == hashlib.sha256(Path("/bin/busybox").read_bytes()).hexdigest()


def test_docker_pushes_to_the_proxy_and_an_agent_has_it(
    cluster: DevCluster, layout: Layout, pushed: str, dockerd: Docker, skopeo: Skopeo, tmp_path: Path
) -> None:
    ours = f"127.0.0.1:{cluster.agent.port}/{pushed}:app"
    theirs = f"127.0.0.1:{cluster.proxy.port}/from/docker:1"
    dockerd("pull", ours)
    dockerd("tag", ours, theirs)
    dockerd("push", theirs)
    dockerd("rmi", "--force", ours, theirs)

    skopeo.copy(f"docker://{cluster['agent-2'].http}/from/docker:1", f"dir:{tmp_path}/pulled")
    manifest = json.loads((tmp_path / "pulled" / "manifest.json").read_text())
    assert manifest["config"]["digest"] == layout.config_digest("app")
    for each in (manifest["config"], *manifest["layers"]):
        data = (tmp_path / "pulled" / each["digest"].removeprefix("sha256:")).read_bytes()
        assert str(Digest.of(data)) == each["digest"]


@pytest.fixture(scope="module")
def ctr() -> Iterator[Containerd]:
    with containerd() as running:
        yield running


@pytest.mark.parametrize("tag", ["app", "multi"])
def test_containerd_pulls_through_an_agent_that_is_the_mirror_of_another_registry(
    cluster: DevCluster, layout: Layout, pushed: str, ctr: Containerd, tag: str
) -> None:
    hosts = ctr.directory / f"hosts-{cluster.agent.port}"
    if not hosts.exists():
        ctr.mirrored_by(cluster.agent)
    name = f"registry.example/{pushed}:{tag}"

    ctr("images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", name)

    listed = next(line for line in ctr("images", "list").splitlines() if line.startswith(name))
    assert str(layout.digest(tag)) in listed
    for digest in layout.digests("app"):
        assert hashlib.sha256(content(ctr, digest)).hexdigest() == digest.removeprefix("sha256:")
    ctr("images", "rm", "--sync", name)


def test_containerd_runs_an_image_that_came_through_an_agent(cluster: DevCluster, pushed: str, ctr: Containerd) -> None:
    name = f"{cluster['agent-2'].http}/{pushed}:app"
    ctr("images", "pull", "--plain-http", "--snapshotter", "native", name)

    assert ctr("run", "--rm", "--snapshotter", "native", name, f"runs-{cluster.agent.port}").strip() == SAYS
    ctr("images", "rm", "--sync", name)


def content(ctr: Containerd, digest: str) -> bytes:
    """A blob as containerd has stored it."""
    root = ctr.directory / "root" / "io.containerd.content.v1.content"
    return (root / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


@pytest.fixture
def podman_store() -> Iterator[Podman]:
    with podman() as running:
        yield running


def test_podman_pulls_from_an_agent_and_pushes_to_the_proxy(
    cluster: DevCluster, layout: Layout, pushed: str, podman_store: Podman
) -> None:
    ours, theirs = f"{cluster.agent}/{pushed}:multi", f"{cluster.proxy}/from/podman:1"
    podman_store.pull(ours)
    podman_store("tag", ours, theirs)
    podman_store.push(theirs)

    assert podman_store("image", "inspect", "--format", "{{.Id}}", ours).strip() == layout.config_digest(
        "app"
    ).removeprefix("sha256:")
    manifest = json.loads(fetched(cluster["agent-2"].http, "/v2/from/podman/manifests/1"))
    assert manifest["config"]["digest"] == layout.config_digest("app")
    for each in (manifest["config"], *manifest["layers"]):
        data = fetched(cluster["agent-2"].http, f"/v2/from/podman/blobs/{each['digest']}")
        assert str(Digest.of(data)) == each["digest"]


def test_images_come_out_the_same_each_time(layout: Layout, tmp_path: Path) -> None:
    again = build_images(tmp_path)

    assert [again.digest(tag) for tag in TAGS] == [layout.digest(tag) for tag in TAGS]


@pytest.mark.parametrize("member", ["agent-1", "proxy-1"])
def test_manifests_keep_their_bytes_and_media_types(
    cluster: DevCluster, layout: Layout, pushed: str, member: str
) -> None:
    for tag, media_type in (("app", OCI_MANIFEST), ("multi", OCI_INDEX)):
        url = f"http://{cluster[member].http}/v2/{pushed}/manifests/{tag}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.headers["Content-Type"] == media_type
            assert answer.headers["Docker-Content-Digest"] == str(layout.digest(tag))
            assert answer.read() == layout.blob(layout.digest(tag))
