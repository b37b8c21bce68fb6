"""What the gateway adds to the latency of a service: `python -m benchmarks.gateway`.

It starts a server as `slipway serve` does, deploys `service.py` there with the `process` runtime, and asks it directly
and through its endpoint, in turns, with wrk. All of it is on loopback and ends with the command.
"""

import argparse
import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60.0
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
CREATE = """mutation ($input: CreateArtifactInput!) { createArtifact(input: $input) {
    ... on ArtifactPayload { artifact { id } } ... on Problem { message } } }"""
DEPLOY = """mutation ($input: DeployArtifactInput!) { deployArtifact(input: $input) {
    ... on DeployArtifactPayload { workload { id endpoint } } ... on Problem { message } } }"""
STATUS = "query ($id: ID!) { workload(id: $id) { status statusMessage } }"


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """What wrk says of one run."""

    median_milliseconds: float
    p99_milliseconds: float
    requests_per_second: float


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """How it is asked."""

    clients: int
    seconds: int
    rounds: int


SERVICES = {"at-once": ("", "JSON at once"), "wait": ("wait", "JSON after 10 ms")}


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--rounds", type=int, default=7, help="each asks directly, then through the gateway")
    parser.add_argument("--service", choices=list(SERVICES), help="ask this one alone")
    given = parser.parse_args()
    load = Load(given.clients, given.seconds, given.rounds)
    if shutil.which("wrk") is None:
        sys.exit("This needs wrk: apt-get install wrk.")
    with _serving() as (url, token):
        endpoint = _deploy(url, token)
        port = httpx.get(endpoint, headers={"Authorization": f"Bearer {token}"}).json()["port"]
        print(f"{load.clients} clients, {load.rounds} rounds of {load.seconds} s, medians of the rounds\n")
        print("| asked | how | median | 99 % | requests/s | median, against directly |")
        print("|---|---|--:|--:|--:|--:|")
        for path, name in [SERVICES[given.service]] if given.service else SERVICES.values():
            _compare(name, f"http://127.0.0.1:{port}/{path}", f"{endpoint}{path}", token, load)


def _compare(name: str, direct_url: str, gateway_url: str, token: str, load: Load) -> None:
    direct, gateway = [], []
    for _ in range(load.rounds):
        direct.append(_ask(direct_url, token, load))
        gateway.append(_ask(gateway_url, token, load))
    ratios = [
        through.median_milliseconds / straight.median_milliseconds
        for straight, through in zip(direct, gateway, strict=True)
    ]
    for how, measured, ratio in (("directly", direct, ""), ("gateway", gateway, f"{statistics.median(ratios):.2f}")):
        median = statistics.median(each.median_milliseconds for each in measured)
        p99 = statistics.median(each.p99_milliseconds for each in measured)
        rate = statistics.median(each.requests_per_second for each in measured)
        print(f"| {name} | {how} | {median:.2f} ms | {p99:.1f} ms | {rate:,.0f} | {ratio} |", flush=True)


def _ask(url: str, token: str, load: Load) -> Measurement:
    """One run of wrk.

    Raises:
        RuntimeError: not every answer was good.
    """
    arguments = ["-t2", f"-c{load.clients}", f"-d{load.seconds}s", "--latency", "-s", str(HERE / "gateway.lua"), url]
    told = subprocess.run(
        ["wrk", *arguments],
        env={**os.environ, "SLIPWAY_TOKEN": token},
        capture_output=True,
        text=True,
        check=True,
        timeout=load.seconds + PATIENCE_SECONDS,
    ).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(told)
    return Measurement(_latency(told, 50), _latency(told, 99), float(_found(r"Requests/sec:\s+([\d.]+)", told)[1]))


def _latency(told: str, percentile: int) -> float:
    number, unit = _found(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s)$", told).groups()
    return float(number) * UNITS[unit]


def _found(pattern: str, told: str) -> re.Match[str]:
    found = re.search(pattern, told, re.MULTILINE)
    if found is None:
        raise RuntimeError(told)
    return found


@contextlib.contextmanager
def _serving() -> Iterator[tuple[str, str]]:
    """A server of its own: its address and an administrator's token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_urlsafe(16)
    directory = Path(tempfile.mkdtemp(prefix="slipway-benchmark-"))
    directory.chmod(0o711)  # PostgreSQL's user passes here
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")},
        "SLIPWAY_PORT": str(port),
        "SLIPWAY_DATA_DIR": str(directory / "data"),
        "SLIPWAY_ADMIN_TOKEN": token,
        "SLIPWAY_RUNTIME": "process",
        "SLIPWAY_LOG_FORMAT": "json",
        "PYTHONPATH": str(HERE.parent),
    }
    log = directory / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-c", "from app.cli import main; main()", "serve"],
            cwd=directory,
            env=environment,
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _eventually(lambda: _is_healthy(url), log.read_text)
        yield url, token
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_SECONDS)
        shutil.rmtree(directory)


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _deploy(url: str, token: str) -> str:
    """Deploy the service; answers its endpoint."""

    def run(document: str, **variables: Any) -> Any:
        body = {"query": document, "variables": variables}
        answer = httpx.post(f"{url}/graphql", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        return answer.json()["data"]

    container = {
        "imageUri": "slipway.example/none",
        "port": 8080,
        "entrypoint": [sys.executable, str(HERE / "service.py")],
        "readinessProbe": {"path": "/", "periodSeconds": 1},
    }
    spec = {"containerGroups": [{"containers": [container]}]}
    artifact = run(CREATE, input={"name": "benchmark", "spec": spec})["createArtifact"]["artifact"]
    workload = run(DEPLOY, input={"artifactId": artifact["id"]})["deployArtifact"]["workload"]
    status: dict[str, Any] = {}

    def runs() -> bool:
        status.update(run(STATUS, id=workload["id"])["workload"])
        return bool(status["status"] == "RUNNING")

    _eventually(runs, lambda: str(status))
    endpoint: str = workload["endpoint"]
    return endpoint.rstrip("/") + "/"


def _eventually(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what())
        time.sleep(0.05)


if __name__ == "__main__":
    main()
