"""The benchmarks can be run. What they measure is for README.md there, and for nobody's assertion."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import engine

pytestmark = pytest.mark.benchmark

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


def run(module: str, *options: str) -> list[str]:
    """What a benchmark prints, by lines."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed: apt-get install wrk")
def test_the_servers_are_compared_once_they_answer_the_same() -> None:
    lines = run("comparison", "--no-peers", "--rounds", "1", "--seconds", "1", "--clients", "2", "--queries", "Q3")
    number = r"[\d,.]+ \([\d.]+ x\)"
    assert lines[2] == "| query | Slipway | Slipway, compiler off | SQL by hand |"
    assert re.fullmatch(rf"\| Q3 one artifact with all of it \| [\d,]+ \| {number} \| {number} \|", lines[4])


def test_pages_are_measured_at_every_size() -> None:
    head, _, *rows = run("scale", "--sizes", "200,400", "--only", "status LOCKED")
    assert head == "| page | who | 200 | 400 | last / first | in the plan |"
    assert [row.split("|")[1].strip() for row in rows] == ["status LOCKED"] * 3 + ["status LOCKED, deep"] * 3


def test_mutations_are_measured() -> None:
    lines = run("mutations", "--clients", "2", "--each", "2")
    assert [line.split("|")[1].strip() for line in lines[4:]] == [
        "createArtifact",
        "updateArtifact",
        "lockArtifact",
        "deployArtifact",
    ]


def test_starts_and_memory_are_measured() -> None:
    lines = run("weight", "--requests", "1100", "--rounds", "1")
    assert [re.sub(r"\d[\d,]*", "N", line.split("|")[1].strip()) for line in lines[2:]] == [
        "slipway --help",
        "ready, with a database that is there",
        "resident after N requests",
        "resident after N requests",
        "the last against the first",
    ]
