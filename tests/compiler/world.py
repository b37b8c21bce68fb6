"""Things of every state, and viewers of every kind, for both ways of answering."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from app import main
from app.domain import enums, logs
from tests import harness
from tests.api import history, rolls
from tests.harness import Client, Slipway

# What JSON, SQL, LIKE and YAML could each take for something else.
ODD = "ö 日本 🚢 e\u0301 \u202eאב\u2028 \"q\" 'a' back\\slash %_ $1 {x} \t</script>\x7f"
# Without characters that a name can't have.
ODD_NAME = "ö 日本 🚢 אב \"q\" 'a' back\\slash %_ $1 {x}"
PROBE = {"path": "/ready?q=%22", "headers": [{"name": "X-Odd", "value": "a\"b'c\\d"}, {"name": "Accept", "value": ""}]}


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Clients by who they are, and ids by the type of the graph."""

    viewers: Mapping[str, Client]
    ids: Mapping[str, Sequence[str]]


async def build(slipway: Slipway) -> World:  # noqa: PLR0915  a list of what there is
    """Fill the database."""
    ada = await slipway.user("ada", groups=("ml", "böse\"'\\"))
    viewers = {
        "owner": ada,
        "administrator": await slipway.user("root", admin=True),
        "read-only": await slipway.user("ada", read_only=True),
        "editor by group": await slipway.user("eve", groups=("ops",)),
        "viewer by name": await slipway.user("bob"),
        "of a workload": await slipway.user("wim"),
        "stranger": await slipway.user("zoe"),
    }
    users = {name: await harness.user_id(each) for name, each in viewers.items()}
    async with slipway.session() as session:
        connection = await session.connection()
        await connection.execute(
            text("UPDATE users SET email = 'ada@example.test', display_name = :name WHERE username = 'ada'"),
            {"name": ODD},
        )
    seen, unseen = await harness.credential(ada, "key"), await harness.credential(viewers["stranger"], "hidden")
    pointing = {"name": "KEY", "type": "CREDENTIAL", "credentialId": seen, "field": "key"}
    odd_tags = [{"name": "team", "value": "ml"}, {"name": ODD_NAME, "value": ODD_NAME}, {"name": "empty", "value": ""}]
    odd = harness.container(
        name="main",
        description=ODD,
        entrypoint=["sh", "-c", ODD],
        environmentVars=[pointing, {"name": "PLAIN", "value": ODD}, {"name": "odd name", "value": ""}],
        startupProbe=PROBE,
        readinessProbe={"path": "/"},
        livenessProbe={**PROBE, "scheme": "HTTPS", "port": 1},
        primary=True,
    )
    sidecar = harness.container(name="sidecar", port=9090, entrypoint=[], imageUri=f"odd.test/a@sha256:{'a' * 64}")
    portless = {"name": "portless", "imageUri": "docker.io/library/redis"}
    spec = harness.spec(odd, sidecar, portless)
    artifacts, workloads = [], []

    async def draft(name: str, **given: Any) -> dict[str, Any]:
        made = await harness.new_artifact(ada, name, **given)
        artifacts.append(made["id"])
        return made

    async def clone(artifact_id: str) -> dict[str, Any]:
        made = (await ada.mutate("cloneArtifact", harness.ARTIFACT, artifactId=artifact_id))["artifact"]
        artifacts.append(made["id"])
        return dict(made)

    # First, while nothing else is due.
    rolled = []
    for ending in ("COMPLETED", "FAILED", "CANCELLED", None):
        service = await rolls.service(slipway, ada)
        workloads.append(service.id)
        await rolls.roll(ada, "replaceArtifact", service.id, artifactId=service.second)
        rolled.append(service.id)
        if ending is not None:
            await rolls.end_roll(slipway, service.id, ending, ODD)
    first = await draft("Änderung " + ODD_NAME, description=ODD, tags=odd_tags, spec=spec)
    await ada.mutate("updateRepository", repositoryId=first["repository"]["id"], tags=odd_tags, description=ODD)
    resources = [
        {"container": "main", "cpu": 0.5, "memoryBytes": 2**42 - 2**30 + 1},
        {"container": "sidecar", "cpu": 2},
    ]
    overrides = [{"container": "main", **pointing}, {"container": "sidecar", "name": "PLAIN", "value": ODD}]
    deployed = await harness.deploy(
        ada, first["id"], tags=odd_tags, resources=resources, environment=overrides, importance="CRITICAL"
    )
    workloads.append(deployed["id"])
    trial = await harness.start_test(ada, (await clone(first["id"]))["id"])
    workloads.append(trial["id"])
    await draft("draft without anything")
    await draft("agent", type="AGENT", repositoryId=None, tags=odd_tags[:1])
    ended = await draft("with an ended test")
    ended_test = await harness.start_test(ada, ended["id"])
    workloads.append(ended_test["id"])
    await history.put(slipway, ended_test["id"], "TERMINATED")
    for status in enums.WorkloadStatus:
        made = await harness.deploy(ada, first["id"], name=f"in {status}", importance="LOW")
        workloads.append(made["id"])
        await history.put(slipway, made["id"], status, status_reason="CRASH_LOOP", status_message=ODD)
    await harness.configure(ada, rolled[0], replicas=3, environment=[{"container": "main", **pointing}])
    statuses = [
        {
            "container": "main",
            "replica": "0",
            "launch": 1,
            "state": state,
            "ready": number % 2 == 0,
            "restartCount": number,
        }
        for number, state in enumerate(enums.ContainerState)
    ]
    full = {
        "reason": "OOM_KILLED",
        "message": ODD,
        "startedAt": "2026-11-26T01:02:03.004500+00:00",
        "lastExitCode": 137,
    }
    async with slipway.session() as session:
        connection = await session.connection()
        await connection.execute(
            text(
                "UPDATE workloads SET container_statuses = CAST(:statuses AS jsonb), endpoint = :endpoint"
                " WHERE name = :name"
            ),
            {
                "statuses": json.dumps([*statuses, {**statuses[0], **full}, {**statuses[1], **dict.fromkeys(full)}]),
                "endpoint": 'https://odd.test/"x"/',
                "name": "in RUNNING",
            },
        )
    kept = await draft("of the hidden", spec=spec)
    hidden = await harness.new_artifact(
        viewers["stranger"],
        "hidden",
        spec=harness.spec(
            harness.container(
                environmentVars=[{"name": "KEY", "type": "CREDENTIAL", "credentialId": unseen, "field": "key"}]
            )
        ),
    )
    await harness.share(viewers["stranger"], "Artifact", hidden["id"], {"user": users["owner"], "role": "EDITOR"})
    await harness.lock(viewers["stranger"], hidden["id"])
    hers = await harness.deploy(viewers["stranger"], hidden["id"])
    copied = await viewers["stranger"].mutate("cloneArtifact", harness.ARTIFACT, artifactId=hidden["id"])
    await harness.share(viewers["stranger"], "Artifact", copied["artifact"]["id"], {"everyone": True, "role": "VIEWER"})
    await harness.share(ada, "Repository", first["repository"]["id"], {"group": "ops", "role": "EDITOR"})
    await harness.share(
        ada,
        "Artifact",
        kept["id"],
        {"user": users["viewer by name"], "role": "VIEWER"},
        {"everyone": True, "role": "VIEWER"},
        {"group": "böse\"'\\", "role": "OWNER"},
    )
    await harness.share(ada, "Workload", rolled[0], {"user": users["of a workload"], "role": "OWNER"})
    await harness.share(ada, "Workload", deployed["id"], {"user": users["of a workload"], "role": "VIEWER"})
    await harness.share(ada, "Credential", seen, {"group": "ops", "role": "VIEWER"})
    await ada.mutate("createApiToken", label=ODD_NAME, expiresIn="PT1H")
    line = logs.LogLine(main.now() - timedelta(hours=1), "main", "0", logs.LogStream.STDERR, ODD)
    slipway.runtime.written[deployed["id"]] = [line, line]
    everything = await viewers["administrator"].run(
        """{ repositories(first: 100) { nodes { id } } artifacts(first: 100) { nodes { id containers { id } } }
        workloads(first: 100) { nodes { id history { nodes { id } } } } credentials { nodes { id } }
        users { nodes { id } }
        events(last: 100) { nodes { id } } }"""
    )
    ids = {
        name.removesuffix("s").capitalize(): [each["id"] for each in found["nodes"]]
        for name, found in everything.items()
    }
    ids["Repository"] = [each["id"] for each in everything["repositories"]["nodes"]]
    ids["Container"] = [each["id"] for one in everything["artifacts"]["nodes"] for each in one["containers"]]
    ids["Replacement"] = [each["id"] for one in everything["workloads"]["nodes"] for each in one["history"]["nodes"]]
    ids["ApiToken"] = [each["id"] for each in (await ada.run("{ apiTokens { id } }"))["apiTokens"]]
    assert hers["id"] in ids["Workload"]
    return World(viewers, ids)
