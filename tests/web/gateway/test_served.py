"""The gateway as `slipway serve` runs it: its server, its database, its signals, and a service of a real child."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.installation import PATIENCE_SECONDS, TOKEN, Server

ECHO = """
import os
from websockets.sync.server import serve

def answer(connection, request):
    if "Upgrade" not in request.headers:
        return connection.respond(200, "ready")

def echo(socket):
    for message in socket:
        socket.send(message)

with serve(echo, "127.0.0.1", int(os.environ["PORT"]), process_request=answer) as server:
    server.serve_forever()
"""


@pytest.fixture
def server(data_directory: Path) -> Iterator[Server]:
    made = Server(data_directory.parent)
    made.start()
    yield made
    assert made.process is not None
    if made.process.poll() is None:
        made.stop()


def test_a_websocket_goes_both_ways_until_the_server_stops(server: Server) -> None:
    artifact_id = server.create("sockets", entrypoint=[sys.executable, "-c", ECHO])
    workload = server.act("deployArtifact", "DeployArtifactPayload", artifactId=artifact_id)
    server.reaches(workload["id"], "RUNNING")
    address = workload["endpoint"].replace("http://", "ws://")
    offered = [Subprotocol("slipway"), Subprotocol(f"slipway.token.{TOKEN}")]
    with connect(f"{address}/", subprotocols=offered, proxy=None) as socket:
        assert socket.subprotocol == "slipway"
        for message in ("text", b"bytes"):
            socket.send(message)
            assert socket.recv(timeout=PATIENCE_SECONDS) == message
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE_SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.SERVICE_RESTART
    assert server.process.wait(timeout=PATIENCE_SECONDS) == 0
