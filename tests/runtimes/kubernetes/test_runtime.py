"""What the runtime asks of a cluster, and what it says of it. The cluster is the fake one."""

import uuid
from uuid import UUID

from app.runtimes.kubernetes import KubernetesRuntime
from tests.runtimes.kubernetes.fake.server import FakeCluster
from app.domain.wanted import WantedContainer, WantedLaunch, WantedWorkload


async def test_smoke(kubernetes_runtime: KubernetesRuntime, fake_cluster: FakeCluster) -> None:
    wid = uuid.uuid4()
    c = WantedContainer("main", "image:1", None, {"A": "b", "S": "x"}, frozenset({"S"}), 8080, primary=True)
    print(await kubernetes_runtime.check())
    await kubernetes_runtime.apply(WantedWorkload(wid, (WantedLaunch(1, (c,), 2, {}),)))
    import asyncio

    for _ in range(20):
        print(await kubernetes_runtime.observe([wid]))
        await asyncio.sleep(0.01)
    await kubernetes_runtime.remove(wid)
    for _ in range(20):
        print(await kubernetes_runtime.observe([wid]))
        await asyncio.sleep(0.01)
    print(fake_cluster.requests)
    assert 0
