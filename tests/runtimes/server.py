"""A server that is killed: starts a workload of every unpleasant kind, prints process ids on a line, and waits."""

import asyncio
import sys
import uuid
from pathlib import Path

from app.runtimes.base import WantedContainer, WantedLaunch, WantedWorkload
from app.runtimes.process import ProcessRuntime

SCRIPT = """
trap '' TERM INT HUP
echo $$ > pid
sh -c 'echo $$ > child; exec sleep 60' &
setsid sh -c 'echo $$ > session; exec sleep 60' &
env -i setsid sh -c '(setsid sh -c "echo \\$\\$ > escaped; exec sleep 60" &); exit'
while :; do sleep 1; done
"""


async def main() -> None:
    runtime = ProcessRuntime(Path(sys.argv[1]))
    await runtime.open(lambda _: None)
    container = WantedContainer("main", "image", ("sh", "-c", SCRIPT.replace("$$", "$$$$")), {})
    launch = WantedLaunch(1, (container,), 1, {"0": {"main": 0}})
    workload = WantedWorkload(uuid.uuid4(), (launch,))
    await runtime.apply(workload)
    paths = [
        runtime.directory / str(workload.id) / "1" / "0" / "main" / each
        for each in ("pid", "child", "session", "escaped")
    ]
    while not all(path.exists() and path.read_text().endswith("\n") for path in paths):
        await asyncio.sleep(0.005)
    print(*(path.read_text().strip() for path in paths), flush=True)  # noqa: T201
    await asyncio.sleep(60)


asyncio.run(main())
