"""What the gateway adds to the latency of a service: `python -m benchmarks.gateway`.

It starts a server as `slipway serve` does, deploys `service.py` there with the `process` runtime, and asks it directly
and through its endpoint, in turns, with wrk. All of it is on loopback and ends with the command.
"""

import argparse
import dataclasses
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import httpx

from benchmarks.server import PATIENCE_SECONDS, Server, serving

HERE = Path(__file__).parent
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


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
    with serving({"SLIPWAY_RUNTIME": "process"}) as server:
        endpoint, token = _deploy(server), server.token
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


def _deploy(server: Server) -> str:
    """Deploy the service; answers its endpoint."""
    container = {
        "imageUri": "slipway.example/none",
        "port": 8080,
        "entrypoint": [sys.executable, str(HERE / "service.py")],
        "readinessProbe": {"path": "/", "periodSeconds": 1},
    }
    workload = server.deploy(server.locked("benchmark", container))
    server.until(workload["id"], lambda seen: seen["status"] == "RUNNING")
    return workload["endpoint"].rstrip("/") + "/"


if __name__ == "__main__":
    main()
