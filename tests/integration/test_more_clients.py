"""More real clients: buildah, skopeo's other commands, docker's mounts, oras and helm."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.container_tools import Skopeo, docker, short_directory
from tests.helpers.dev_cluster import DevCluster, dev_cluster, fetched
from tests.helpers.oci_images import Layout, build_images, check_pulled
from tests.helpers.tools import environment, output_of, require

from kraken.cli.layout import Counts

COUNTS = Counts(origins=2, trackers=1, indexes=1, proxies=1, agents=1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    overlay = {"agent": {"confirm_seconds": 0}}
    with dev_cluster(tmp_path_factory.mktemp("cluster"), COUNTS, settings=overlay) as running:
        yield running


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return build_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_directory() as made:
        yield made


def listed(cluster: DevCluster, name: str) -> list[str]:
    """The tags of a repository, as an agent tells them."""
    tags: list[str] = json.loads(fetched(cluster.agent, f"/v2/{name}/tags/list"))["tags"]
    return tags


def test_skopeo_deletes_what_agents_then_do_not_have(cluster: DevCluster, layout: Layout) -> None:
    skopeo = Skopeo()
    for tag in ("one", "two"):
        skopeo.copy(layout.source("app"), f"docker://{cluster.proxy}/skopeo/delete:{tag}")
    skopeo.copy(layout.source("other"), f"docker://{cluster.proxy}/skopeo/delete:other")
    assert set(json.loads(skopeo.tags(cluster.agent, "skopeo/delete"))["Tags"]) == {"one", "two", "other"}

    output_of("skopeo", "delete", "--tls-verify=false", f"docker://{cluster.proxy}/skopeo/delete:one")

    assert listed(cluster, "skopeo/delete") == ["other"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetched(cluster.agent, "/v2/skopeo/delete/manifests/two")


def test_skopeo_syncs_a_repository_out_of_an_agent_and_into_the_proxy(
    cluster: DevCluster, layout: Layout, tmp_path: Path
) -> None:
    skopeo = Skopeo()
    for tag in ("app", "other"):
        skopeo.copy(layout.source(tag), f"docker://{cluster.proxy}/sync/source:{tag}")
    out = ("--insecure-policy", "sync", "--src-tls-verify=false", "--dest-tls-verify=false")
    output_of("skopeo", *out, "--src", "docker", "--dest", "dir", f"{cluster.agent}/sync/source", tmp_path)
    output_of("skopeo", *out, "--src", "dir", "--dest", "docker", tmp_path, f"{cluster.proxy}/sync/target")

    assert set(listed(cluster, "sync/target/source")) == {"app", "other"}
    skopeo.copy(f"docker://{cluster.agent}/sync/target/source:app", f"oci:{tmp_path}/pulled:app")
    check_pulled(layout, "app", tmp_path / "pulled")


def test_buildah_pushes_an_image_that_it_changed_and_pulls_it_from_an_agent(
    cluster: DevCluster, layout: Layout, folder: Path
) -> None:
    require("buildah")
    store = ("--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs")

    def buildah(*words: str | Path) -> str:
        return output_of("buildah", *store, *words, env=environment(BUILDAH_ISOLATION="chroot")).strip()

    Skopeo().copy(layout.source("app"), f"docker://{cluster.proxy}/buildah/base:1")
    container = buildah("from", "--tls-verify=false", f"{cluster.agent}/buildah/base:1")
    note = folder / "note"
    note.write_text("made by buildah")
    buildah("copy", container, note, "/note")
    buildah("commit", "--quiet", container, "changed")
    buildah("push", "--tls-verify=false", "changed", f"docker://{cluster.proxy}/buildah/changed:2")
    buildah("rmi", "--all", "--force")

    again = buildah("from", "--tls-verify=false", f"{cluster.agent}/buildah/changed:2")
    root = Path(buildah("mount", again))
    assert (root / "note").read_text() == "made by buildah"
    buildah("umount", again)


def test_docker_mounts_layers_from_another_repository(cluster: DevCluster, layout: Layout) -> None:
    Skopeo().copy(layout.source("app"), f"docker://{cluster.proxy}/docker/base:1")
    with docker() as run:
        first, second = (f"127.0.0.1:{cluster.proxy.port}/docker/{name}" for name in ("base:1", "derived:1"))
        run("pull", first)
        run("tag", first, second)
        assert "Mounted from docker/base" in run("push", second)

    assert listed(cluster, "docker/derived") == ["1"]


def test_oras_pushes_an_artifact_and_an_agent_gives_it_back(cluster: DevCluster, tmp_path: Path) -> None:
    oras = pytest.importorskip("oras.client")
    note = tmp_path / "note.txt"
    note.write_text("an artifact")
    target = f"{cluster.proxy}/oras/artifact:v1"
    pushed = oras.OrasClient(hostname=str(cluster.proxy), insecure=True, tls_verify=False).push(
        files=[str(note)], target=target, disable_path_validation=True
    )
    assert pushed.status_code == 201

    client = oras.OrasClient(hostname=str(cluster.agent), insecure=True, tls_verify=False)
    (pulled,) = client.pull(target=f"{cluster.agent}/oras/artifact:v1", outdir=str(tmp_path / "out"))
    assert Path(pulled).read_text() == "an artifact"
    assert client.get_tags(f"{cluster.agent}/oras/artifact") == ["v1"]


def test_oras_attaches_what_an_agent_then_discovers(cluster: DevCluster, layout: Layout, tmp_path: Path) -> None:
    oras = _installed("oras")
    Skopeo().copy(layout.source("app"), f"docker://{cluster.proxy}/oras/app:1")
    note = tmp_path / "note.txt"
    note.write_text("about the image")

    def attach(kind: str) -> None:
        to = ("--plain-http", "--disable-path-validation", "--artifact-type", kind)
        output_of(oras, "attach", *to, f"{cluster.proxy}/oras/app:1", note)

    def discovered(image: str, *arguments: str) -> list[str]:
        told = output_of(oras, "discover", "--plain-http", "--format", "json", *arguments, image)
        return sorted(it["artifactType"] for it in json.loads(told)["manifests"])

    attach("example/sbom")
    attach("example/signature")
    image, copy = f"{cluster.agent}/oras/app:1", f"{cluster.proxy}/oras/copy:1"
    assert discovered(image) == ["example/sbom", "example/signature"]
    assert discovered(image, "--artifact-type", "example/sbom") == ["example/sbom"]

    output_of(oras, "copy", "--recursive", "--from-plain-http", "--to-plain-http", image, copy)
    assert discovered(copy) == ["example/sbom", "example/signature"]


def test_helm_pushes_a_chart_and_pulls_it_from_an_agent(cluster: DevCluster, tmp_path: Path) -> None:
    helm = _installed("helm")
    env = environment(HELM_CACHE_HOME=str(tmp_path / "c"), HELM_CONFIG_HOME=str(tmp_path / "d"), HOME=str(tmp_path))
    chart = tmp_path / "greeter"
    output_of(helm, "create", chart, env=env)
    output_of(helm, "package", chart, "--destination", tmp_path, env=env)
    package = tmp_path / "greeter-0.1.0.tgz"
    output_of(helm, "push", package, f"oci://{cluster.proxy}/charts", "--plain-http", env=env)

    out = tmp_path / "out"
    out.mkdir()
    source = f"oci://{cluster.agent}/charts/greeter"
    output_of(helm, "pull", source, "--version", "0.1.0", "--destination", out, "--plain-http", env=env)
    assert (out / package.name).read_bytes() == package.read_bytes()


def _installed(name: str) -> str:
    """A command of this environment; the test is skipped without it."""
    command = shutil.which(name, path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip(f"{name} is not here (scripts/install-{name})")
    return command
