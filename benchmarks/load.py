"""Many requests at once, by wrk: https://github.com/wg/wrk."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"


def ask(url: str, bodies: Iterable[bytes], token: str, *, clients: int, seconds: int) -> tuple[int, float]:
    """Send GraphQL requests for so long, each body in turn: how many were answered, and how many a second.

    Raises:
        RuntimeError: not all were answered with 200.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.writelines(body + b"\n" for body in bodies)
        file.flush()
        told = subprocess.run(
            ["wrk", f"-c{clients}", "-t1", f"-d{seconds}s", "--timeout", "60s", "-s", str(SCRIPT), url],
            env={**os.environ, "BENCHMARK_BODIES": file.name, "SLIPWAY_TOKEN": token},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    answered, rate = re.search(r"(\d+) requests in", told), re.search(r"Requests/sec: +([\d.]+)", told)
    if answered is None or rate is None or "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(told)
    return int(answered[1]), float(rate[1])
