"""The benchmarks can be run. What they measure is for README.md there, and for nobody's assertion."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import engine

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk")
def test_the_gateway_is_compared_with_the_service_behind_it(database_url: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.gateway",
            "--clients",
            "2",
            "--rounds",
            "1",
            "--seconds",
            "1",
            "--service",
            "at-once",
        ],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    title, _, head, _, direct, gateway = done.stdout.splitlines()
    assert title == "2 clients, 1 rounds of 1 s, medians of the rounds"
    assert head.startswith("| asked | how | median |")
    row = r"\| JSON at once \| {how} \| [\d.]+ ms \| [\d.]+ ms \| [\d,]+ \| {ratio} \|"
    assert re.fullmatch(row.format(how="directly", ratio=""), direct)
    assert re.fullmatch(row.format(how="gateway", ratio=r"\d+\.\d\d"), gateway)


@pytest.mark.docker
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk")
def test_workloads_on_an_engine_are_measured(docker: engine.Docker) -> None:
    options = {"--rounds": 1, "--clients": 2, "--seconds": 1, "--resting": 1, "--rest-seconds": 1}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.workloads", *(str(word) for option in options.items() for word in option)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[0] for line in done.stdout.splitlines()[2:]]
    assert [re.sub(r"\d+", "N", row) for row in rows] == [
        "| deployArtifact to RUNNING",
        "| the engine alone, by its command line",
        "| the graph behind the engine",
        "| requests that failed of N, while it was replaced N times",
        "| a server at rest, N workloads",
        "| a server at rest, N workloads",
    ]
