"""The logs of the pods of a workload, read from the kubelets through the API server.

A kubelet keeps the log of the run that is under way and of the one before it, as long as the pod is there. Which stream
a line came from it does not tell (PodLogsQuerySplitStreams is alpha, and off), so every line is STDOUT here.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from app.domain.logs import LINE_MAXIMUM_CHARACTERS, LINES_MAXIMUM, LogLine, LogQuery, LogStream, newest
from app.runtimes.kubernetes_client import PODS, ApiError, Client

AT_ONCE = 8
# Of one run of one container. A log that is longer is cut at its end, so that fewer lines are asked for then.
BYTES_MAXIMUM = 4 * 1024 * 1024
FEWER = 8

# 2026-11-23T16:27:42.119782396Z line 13
_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z (.*)", re.DOTALL)


async def read(client: Client, namespace: str, pods: Iterable[Mapping[str, Any]], query: LogQuery) -> Sequence[LogLine]:
    """The newest lines of these pods that match, oldest first.

    Raises:
        ApiError: the server refuses to give them.
        RuntimeUnavailable: it can't be asked.
    """
    at_once = asyncio.Semaphore(AT_ONCE)

    async def of(pod: str, container: str, *, previous: bool) -> Sequence[LogLine]:
        async with at_once:
            content = await _fetch(client, PODS.path(namespace, pod) + "/log", container, query, previous=previous)
            return newest(_parse(content, pod, container), query)

    tasks = [asyncio.create_task(of(pod, name, previous=previous)) for pod, name, previous in _runs(pods, query)]
    found: Sequence[LogLine] = ()
    try:
        for task in tasks:
            found = newest([*found, *await task], query)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


def _runs(pods: Iterable[Mapping[str, Any]], query: LogQuery) -> Iterator[tuple[str, str, bool]]:
    """Pod, container and whether it is the former run, of all runs that have a log, the former first."""
    for pod in pods:
        for status in (pod.get("status") or {}).get("containerStatuses") or ():
            if query.container not in {None, status["name"]}:
                continue
            state = status.get("state") or {}
            # Of a container that waits for its next run, the log is that of the last one.
            is_former = "terminated" in (status.get("lastState") or {})
            if is_former and "waiting" not in state:
                yield pod["metadata"]["name"], status["name"], True
            if is_former or "waiting" not in state:
                yield pod["metadata"]["name"], status["name"], False


async def _fetch(client: Client, path: str, container: str, query: LogQuery, *, previous: bool) -> bytes:
    """The end of a log, with enough lines to find the wanted ones in it as far as the limits let one."""
    parameters = {"container": container, "timestamps": "true", "limitBytes": str(BYTES_MAXIMUM)}
    if previous:
        parameters["previous"] = "true"
    if query.since is not None:  # whole seconds are all that the API takes
        parameters["sinceTime"] = query.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = query.last if query.contains is None else LINES_MAXIMUM
    while True:
        try:
            content = await client.read(path, {**parameters, "tailLines": str(lines)})
        except ApiError as error:
            # Not started yet, or gone since it was seen.
            if error.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
                return b""
            raise
        if len(content) < BYTES_MAXIMUM or lines == 1:
            return content
        lines = max(lines // FEWER, 1)


def _parse(content: bytes, pod: str, container: str) -> Iterator[LogLine]:
    for line in content.decode(errors="replace").split("\n"):
        matched = _LINE.fullmatch(line)
        if matched is not None:  # the last one may be cut
            moment, fraction, text = matched.groups()
            at = datetime.fromisoformat(f"{moment}.{(fraction or '').ljust(6, '0')[:6]}+00:00")
            yield LogLine(at, container, pod, LogStream.STDOUT, text[:LINE_MAXIMUM_CHARACTERS])
