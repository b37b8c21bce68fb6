"""The engine that the tests of containers rest on: what they may expect of it, and that nothing of it stays."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests import engine

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ROOT = Path(__file__).parent.parent


@pytest.fixture
def label(docker: engine.Docker) -> Iterator[str]:
    """A label of this test alone; what carries it goes with the test."""
    name = engine.unique("slipway.test")
    yield name
    docker.remove_labelled(name)


@pytest.fixture
def network(docker: engine.Docker, label: str) -> str:
    return docker.run("network", "create", "--label", label, engine.unique())


def left_of(directory: str) -> list[str]:
    """The processes and the mounts that name a directory, and the directory itself."""
    processes = [
        str(process.pid)
        for process in psutil.process_iter(["cmdline"])
        if any(directory in argument for argument in process.info["cmdline"] or [])
    ]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if directory in line]
    return processes + mounts + ([directory] if Path(directory).exists() else [])


def bridges() -> set[str]:
    return {path.name for path in Path("/sys/class/net").glob("br-*")}


def test_a_container_is_reached_on_loopback_and_by_its_name(
    docker: engine.Docker, tiny_image: str, label: str, network: str
) -> None:
    name = engine.unique()
    options = ["--label", label, "--network", network]
    docker.run("run", "--detach", "--name", name, "--publish", "127.0.0.1::8080", *options, tiny_image)
    address = docker.run("port", name, "8080/tcp")
    assert address.startswith("127.0.0.1:")
    assert httpx.get(f"http://{address}/").text == "hello\n"
    assert docker.run("run", "--rm", *options, tiny_image, "wget", "-qO-", f"http://{name}:8080/") == "hello"


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [((), "143"), (("sleep", "60"), "143"), (("sh", "-c", "trap 'exit 3' TERM; sleep 60 & wait"), "3")],
)
def test_the_tiny_image_ends_when_it_is_told_to(
    docker: engine.Docker, tiny_image: str, label: str, command: tuple[str, ...], exit_code: str
) -> None:
    container = docker.run("run", "--detach", "--label", label, "--network", "none", tiny_image, *command)
    docker.run("exec", container, "true")
    time.sleep(0.1)  # until the shell has set its trap, which nothing outside of it can see
    docker.run("stop", "--time", "30", container)
    assert docker.run("wait", container) == exit_code


def test_an_image_is_made_with_files_and_instructions(docker: engine.Docker, label: str) -> None:
    name = f"slipway.test/{engine.unique()}:2"
    docker.import_tiny(name, files={"www/said": "said\n"}, changes=("USER 1000", f"LABEL {label}=1"))
    options = ["--rm", "--network", "none"]
    assert docker.run("run", *options, name, "sh", "-c", "id -u; cat /www/said") == "1000\nsaid"
    docker.run("image", "rm", name)


def test_what_carries_a_label_is_removed_and_the_rest_stays(
    docker: engine.Docker, tiny_image: str, label: str, network: str
) -> None:
    other = docker.run("run", "--detach", "--label", f"{label}.other", "--network", "none", tiny_image)
    mine = docker.run("run", "--detach", "--label", label, "--network", network, tiny_image)
    docker.run("volume", "create", "--label", label)
    docker.remove_labelled(label)
    left = docker.run("container", "ls", "--all", "--no-trunc", "--quiet").split()
    assert other in left
    assert mine not in left
    for kind in ("network", "volume"):
        assert docker.run(kind, "ls", "--quiet", "--filter", f"label={label}") == ""
    docker.remove_labelled(f"{label}.other")


def test_a_refusal_says_why(docker: engine.Docker) -> None:
    with pytest.raises(engine.DockerError, match=r"(?s)^docker image inspect: .*No such image: slipway.test/absent"):
        docker.run("image", "inspect", "slipway.test/absent")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "crash"])
def test_an_engine_is_stopped_and_started_with_what_it_had(own_engine: engine.Engine, end: int) -> None:
    own_engine.docker.import_tiny("slipway.test/tiny:1")
    container = own_engine.docker.run("run", "--detach", "--network", "none", "slipway.test/tiny:1")
    own_engine.stop(end)
    with pytest.raises(engine.DockerError, match="Cannot connect to the Docker daemon"):
        own_engine.docker.run("version")
    own_engine.start()
    assert own_engine.docker.run("container", "ls", "--all", "--no-trunc", "--quiet") == container


@pytest.mark.parametrize("end", [None, signal.SIGTERM, signal.SIGKILL], ids=["running", "stopped", "crashed"])
def test_nothing_of_an_engine_stays(end: int | None) -> None:
    with engine.running() as started:
        directory = str(started.directory)
        started.docker.import_tiny("slipway.test/tiny:1")
        network = started.docker.run("network", "create", engine.unique())
        started.docker.run("run", "--detach", "--network", network, "slipway.test/tiny:1")
        bridge = f"br-{network[:12]}"
        assert bridge in bridges()
        assert len(left_of(directory)) > 3
        if end is not None:
            started.stop(end)
    assert left_of(directory) == []
    assert bridge not in bridges()


def test_no_process_of_an_engine_stays_that_can_not_be_tidied(capsys: pytest.CaptureFixture[str]) -> None:
    with engine.running() as started:
        started.docker.import_tiny("slipway.test/tiny:1")
        awaited = f"/{engine.unique()}"
        started.docker.run("run", "--detach", "--network", "none", "slipway.test/tiny:1", "tail", "-F", awaited)
        assert left_of(awaited) != []
        started.stop(signal.SIGKILL)
        started.options = ("--no-such-option",)
    assert "could not be tidied" in capsys.readouterr().err
    assert left_of(awaited) == []
    assert left_of(str(started.directory)) == []


@pytest.mark.parametrize(
    ("command", "end", "exit_code"),
    [
        ("exit 7", None, 7),
        ("exec sleep 60", signal.SIGTERM, 128 + signal.SIGTERM),
        ("exec sleep 60", signal.SIGHUP, 128 + signal.SIGHUP),
    ],
)
def test_a_command_runs_beside_an_engine_that_ends_with_it(command: str, end: int | None, exit_code: int) -> None:
    command = f"echo ${engine.VARIABLE}; {command}"
    arguments = [sys.executable, "-m", "tests.engine", "sh", "-c", command]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        directory = process.stdout.readline().strip().removeprefix("unix://").removesuffix("/docker.sock")
        assert Path(directory).name.startswith("slipway-engine-")
        if end is not None:
            process.send_signal(end)
        assert process.wait(30) == exit_code
    assert left_of(directory) == []


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    awaited = tmp_path / "awaited"
    script = f"(tail -F {awaited} & echo; tail -F {awaited}; true); true"
    arguments = [sys.executable, "-m", "tests.engine", "sh", "-c", script]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(left_of(str(awaited))) > 1
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert left_of(str(awaited)) == []


def test_an_engine_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(engine, "_IN_MEMORY", tmp_path / "absent")
    with pytest.raises(RuntimeError, match="unknown flag: --no-such-option"), engine.running("--no-such-option"):
        pass
    assert list(tmp_path.iterdir()) == []
