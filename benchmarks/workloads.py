"""What workloads cost on a Docker engine: `TEST_DOCKER_HOST=unix:///… python -m benchmarks.workloads`.

How long a deployment takes until it is RUNNING, how far the status is behind the engine, what a replacement does to
requests that go on meanwhile, and what a server spends on workloads that change nothing. All of it is on loopback, is
bounded in time and count, and ends with the command. `python3 -m tests.engine python -m benchmarks.workloads` starts an
engine of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.server import Server, eventually, serving
from tests.engine import VARIABLE, Docker, unique

HERE = Path(__file__).parent
REPLACE = """mutation ($input: ReplaceArtifactInput!) { replaceArtifact(input: $input) {
    ... on WorkloadPayload { workload { id } } ... on Problem { message } } }"""
DELETE = """mutation ($input: WorkloadInput!) { deleteWorkload(input: $input) {
    ... on DeletePayload { deletedIds } ... on Problem { message } } }"""
RUNNING = "query ($last: String) { workloads(filter: {status: [RUNNING]}, first: 1, after: $last) { totalCount } }"


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=16, help="that ask while a workload is replaced")
    parser.add_argument("--seconds", type=int, default=20, help="for which they ask")
    parser.add_argument("--resting", type=int, default=1_000, help="workloads that change nothing")
    parser.add_argument("--rest-seconds", type=int, default=60, help="for which a server is watched")
    given = parser.parse_args()
    host = os.environ.get(VARIABLE)
    if host is None:
        sys.exit(f"{VARIABLE} names no engine.")
    engine, image = Docker(host), f"{unique('benchmark')}:1"
    engine.import_tiny(image)
    installation = "none"
    environment = {"SLIPWAY_RUNTIME": "docker", "DOCKER_HOST": host}
    try:
        with serving(environment) as server:
            installation = server.installation()
            print("| what | measured | bar |\n|---|--:|--:|")
            artifact_id = _artifact(server, image, 1)
            _deployments(server, engine, image, artifact_id, given.rounds)
            _lag(server, engine, artifact_id, given.rounds)
            _replacements(server, artifact_id, _artifact(server, image, 2), given.clients, given.seconds)
            _rest(server, artifact_id, given.resting, given.rest_seconds)
    finally:
        engine.remove_labelled(f"dev.slipway.installation={installation}")
        engine.run("image", "rm", "--force", image)


def _artifact(server: Server, image: str, number: int) -> str:
    """A locked artifact whose container is ready at once."""
    variables = [{"name": "NUMBER", "value": str(number)}]
    return server.locked(f"benchmark {number}", {"imageUri": image, "port": 8080, "environmentVars": variables})


def _deployments(server: Server, engine: Docker, image: str, artifact_id: str, rounds: int) -> None:
    """From the mutation to RUNNING, in turns with the engine alone: to make and start the same container."""
    slipway, alone = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        workload = server.deploy(artifact_id)
        server.until(workload["id"], lambda seen: seen["status"] == "RUNNING")
        slipway.append(time.perf_counter() - began)
        server.run(DELETE, input={"workloadId": workload["id"]})
        server.until(workload["id"], lambda seen: seen["status"] == "TERMINATED")
        name = unique("benchmark")
        began = time.perf_counter()
        engine.run("run", "--detach", "--name", name, "--network", "none", image)
        alone.append(time.perf_counter() - began)
        engine.run("rm", "--force", name)
    _row("deployArtifact to RUNNING", f"{statistics.median(slipway):.2f} s", "≤ 1 s")
    _row("the engine alone, by its command line", f"{statistics.median(alone):.2f} s", "")


def _lag(server: Server, engine: Docker, artifact_id: str, rounds: int) -> None:
    """From when a container was killed to when the graph says so."""
    lags = []
    for _ in range(rounds):
        workload = server.deploy(artifact_id)
        server.until(workload["id"], lambda seen: seen["status"] == "RUNNING")
        [container] = engine.run("ps", "--quiet", "--filter", f"label=dev.slipway.workload={workload['id']}").split()
        engine.run("kill", container)
        began = time.perf_counter()
        server.until(workload["id"], lambda seen: seen["status"] == "INTERRUPTED")
        lags.append(time.perf_counter() - began)
        server.run(DELETE, input={"workloadId": workload["id"]})
    _row("the graph behind the engine", f"{max(lags):.2f} s at most", "≤ 1 s")


def _replacements(server: Server, one: str, other: str, clients: int, seconds: int) -> None:
    """Replaces a workload of two replicas again and again while clients ask through the gateway."""
    workload = server.deploy(one, replicas=2)
    server.until(workload["id"], lambda seen: seen["status"] == "RUNNING")
    load = subprocess.Popen(
        ["wrk", "-t2", f"-c{clients}", f"-d{seconds}s", "-s", str(HERE / "gateway.lua"), workload["endpoint"]],
        env={**os.environ, "SLIPWAY_TOKEN": server.token},
        stdout=subprocess.PIPE,
        text=True,
    )
    replaced, target = 0, other
    while load.poll() is None:
        server.run(REPLACE, input={"workloadId": workload["id"], "artifactId": target})
        seen = server.until(workload["id"], lambda seen: seen["replacement"]["status"] != "ROLLING")
        replaced += seen["replacement"]["status"] == "COMPLETED"
        target = one if target == other else other
    told = load.communicate()[0]
    requests = next(line.split()[0] for line in told.splitlines() if "requests in" in line)
    failed = [line.strip() for line in told.splitlines() if "Non-2xx" in line or "Socket errors" in line]
    _row(f"requests that failed of {requests}, while it was replaced {replaced} times", "; ".join(failed) or "0", "0")
    server.run(DELETE, input={"workloadId": workload["id"]})


def _rest(server: Server, artifact_id: str, workloads: int, seconds: int) -> None:
    """What a server spends on workloads that change nothing: with so many, and, to compare, with none."""
    for number in (0, workloads):
        for each in range(number):
            server.deploy(artifact_id, name=f"resting {each}")
        eventually(
            lambda number=number: server.run(RUNNING)["workloads"]["totalCount"] >= number,  # type: ignore[misc]
            lambda: str(server.run(RUNNING)),
            poll_seconds=1.0,
            patience_seconds=60.0 + number,
        )
        share, rate = server.at_rest(seconds)
        _row(
            f"a server at rest, {number:,} workloads",
            f"{share:.1f} % of a core, {rate:.1f} statements/s",
            "≤ 5 %, ≤ 10/s",
        )


def _row(what: str, measured: str, bar: str) -> None:
    print(f"| {what} | {measured} | {bar} |", flush=True)


if __name__ == "__main__":
    main()
