"""Containers, their variables and probes: what each mutation changes, and its issues in the words of its own input."""

from typing import Any

import pytest

from tests import harness
from tests.api import history
from tests.harness import Client, Slipway

CONTAINERS = """... on ArtifactPayload { artifact { revision digest containers {
  id name description imageUri port primary entrypoint
  environmentVars { name type value field credential { id } }
  probes { kind path port scheme headers { name value } initialDelaySeconds periodSeconds timeoutSeconds
    successThreshold failureThreshold }
} } }"""


async def changed(client: Client, name: str, /, **given: Any) -> list[dict[str, Any]]:
    result = await client.mutate(name, CONTAINERS, **given)
    assert result["__typename"] == "ArtifactPayload", result
    containers: list[dict[str, Any]] = result["artifact"]["containers"]
    return containers


def problems(result: dict[str, Any]) -> list[tuple[str, str]]:
    assert result["__typename"] == "InvalidInput", result
    return [(issue["path"], issue["code"]) for issue in result["issues"]]


@pytest.fixture
async def artifact(ada: Client) -> dict[str, Any]:
    """A draft of two containers: `main` on 8080, and `side` without a port."""
    return await harness.new_artifact(
        ada, spec=harness.spec(harness.container(primary=True), {"name": "side", "imageUri": "busybox"})
    )


@pytest.fixture
def main_id(artifact: dict[str, Any]) -> str:
    return str(artifact["containers"][0]["id"])


@pytest.fixture
def side_id(artifact: dict[str, Any]) -> str:
    return str(artifact["containers"][1]["id"])


async def credential(client: Client, values: dict[str, str]) -> str:
    result = await client.mutate(
        "createCredential",
        "... on CredentialPayload { credential { id } }",
        name="secret",
        values=[{"key": key, "value": value} for key, value in values.items()],
    )
    return str(result["credential"]["id"])


async def test_a_container_is_added(slipway: Slipway, ada: Client, artifact: dict[str, Any]) -> None:
    async with history.written(slipway) as lines:
        containers = await changed(
            ada,
            "addContainer",
            artifactId=artifact["id"],
            ifRevision=1,
            container={"imageUri": "alpine", "port": 81, "readinessProbe": {"path": "/"}},
        )
    assert [(each["name"], each["port"], each["primary"]) for each in containers] == [
        ("main", 8080, True),
        ("side", None, False),
        ("container-3", 81, False),
    ]
    assert containers[2]["probes"] == [
        {
            "kind": "READINESS",
            "path": "/",
            "port": 81,
            "scheme": "HTTP",
            "headers": [],
            "initialDelaySeconds": 0,
            "periodSeconds": 10,
            "timeoutSeconds": 1,
            "successThreshold": 1,
            "failureThreshold": 3,
        }
    ]
    ((kind, subject, actor, changes),) = lines
    assert (kind, subject, actor, list(changes)) == ("ARTIFACT_CHANGED", artifact["id"], "ada", ["digest"])


async def test_a_primary_that_is_added_takes_that_over(ada: Client, artifact: dict[str, Any]) -> None:
    added = {"name": "web", "imageUri": "alpine", "port": 81, "primary": True}
    containers = await changed(ada, "addContainer", artifactId=artifact["id"], container=added)
    assert [(each["name"], each["primary"]) for each in containers] == [("main", False), ("side", False), ("web", True)]


async def test_what_is_wrong_with_a_container_that_is_added(
    slipway: Slipway, ada: Client, artifact: dict[str, Any]
) -> None:
    added = {
        "name": "main",
        "imageUri": "https://alpine",
        "primary": True,
        "entrypoint": ["a\nb"] * 101,
        "environmentVars": [{"name": "A"}, {"name": "B", "value": "", "field": "x"}],
        "startupProbe": {"path": "up", "headers": [{"name": "a b", "value": "c"}]},
    }
    async with history.unchanged(slipway):
        refused = await ada.mutate("addContainer", artifactId=artifact["id"], container=added)
        many = await ada.mutate(
            "updateArtifact",
            artifactId=artifact["id"],
            spec=harness.spec(harness.container(primary=True), *[{"imageUri": "a"}] * 20),
        )
    assert problems(refused) == [
        ("container.port", "REQUIRED"),
        ("container.imageUri", "NOT_AN_IMAGE"),
        ("container.entrypoint", "WRONG_COUNT"),
        ("container.environmentVars[0].value", "REQUIRED"),
        ("container.environmentVars[1].field", "NOT_ALLOWED"),
        ("container.startupProbe.path", "NOT_A_PATH"),
        ("container.startupProbe.port", "REQUIRED"),
        ("container.startupProbe.headers[0].name", "NOT_A_HEADER"),
        ("container.name", "DUPLICATE"),
    ]
    assert problems(many) == [("spec.containerGroups[0].containers", "WRONG_COUNT")]


async def test_a_group_is_full_at_twenty(slipway: Slipway, ada: Client, artifact: dict[str, Any]) -> None:
    spec = harness.spec(harness.container(primary=True), *[{"imageUri": "a"}] * 19)
    await changed(ada, "updateArtifact", artifactId=artifact["id"], spec=spec)
    async with history.unchanged(slipway):
        refused = await ada.mutate("addContainer", artifactId=artifact["id"], container={"imageUri": "a"})
    assert refused["issues"] == [
        {"path": "container", "code": "WRONG_COUNT", "message": "There are 21; 1 to 20 are allowed."}
    ]


async def test_left_out_keeps_and_null_clears(ada: Client, main_id: str, side_id: str) -> None:
    filled = {"description": "d", "entrypoint": ["a", "b"], "port": 7000, "name": "own", "imageUri": "alpine"}
    _, side = await changed(ada, "updateContainer", containerId=side_id, **filled)
    assert {key: side[key] for key in filled} == filled
    _, side = await changed(ada, "updateContainer", containerId=side_id)
    assert {key: side[key] for key in filled} == filled
    cleared = {"description": None, "entrypoint": None, "port": None, "name": None, "primary": None}
    _, side = await changed(ada, "updateContainer", containerId=side_id, **cleared)
    assert (side["description"], side["entrypoint"], side["port"], side["name"]) == ("", None, None, "container-2")
    main, _ = await changed(ada, "updateContainer", containerId=main_id, entrypoint=[], name="web")
    assert (main["entrypoint"], main["name"], main["id"]) == ([], "web", main_id)


async def test_what_is_wrong_with_an_update_is_told_in_its_words(
    slipway: Slipway, ada: Client, main_id: str, side_id: str
) -> None:
    async with history.unchanged(slipway):
        for container_id, given, expected in (
            (main_id, {"port": None}, [("port", "REQUIRED")]),
            (main_id, {"primary": False}, [("primary", "ONE_PRIMARY")]),
            (main_id, {"imageUri": None, "port": 0}, [("imageUri", "REQUIRED"), ("port", "OUT_OF_RANGE")]),
            (side_id, {"primary": True}, [("port", "REQUIRED")]),
            (side_id, {"port": 8080}, [("port", "DUPLICATE")]),
            (side_id, {"name": "main"}, [("name", "DUPLICATE")]),
            (side_id, {"name": ""}, [("name", "NOT_A_LABEL")]),
            (
                side_id,
                {"description": "d" * 5_001, "entrypoint": ["\n"] * 101, "imageUri": "A"},
                [
                    ("description", "TOO_LONG"),
                    ("imageUri", "NOT_AN_IMAGE"),
                    ("entrypoint", "WRONG_COUNT"),
                ],
            ),
        ):
            refused = await ada.mutate("updateContainer", containerId=container_id, **given)
            assert problems(refused) == expected, given


async def test_the_primary_moves_and_the_probes_follow_the_port(ada: Client, main_id: str, side_id: str) -> None:
    await changed(ada, "setProbe", containerId=main_id, kind="READINESS", probe={"path": "/ready"})
    await changed(ada, "setProbe", containerId=main_id, kind="LIVENESS", probe={"path": "/live", "port": 9090})
    main, _ = await changed(ada, "updateContainer", containerId=main_id, port=8081)
    assert [(each["kind"], each["port"]) for each in main["probes"]] == [("READINESS", 8081), ("LIVENESS", 9090)]
    main, side = await changed(ada, "updateContainer", containerId=side_id, primary=True, port=7000)
    assert [(main["primary"], main["port"]), (side["primary"], side["port"])] == [(False, 8081), (True, 7000)]
    main, _ = await changed(ada, "updateContainer", containerId=main_id, port=None)
    assert (main["port"], [each["port"] for each in main["probes"]]) == (None, [8081, 9090])


async def test_the_primary_stays_while_others_do(slipway: Slipway, ada: Client, main_id: str, side_id: str) -> None:
    async with history.unchanged(slipway):
        refused = await ada.mutate("removeContainer", containerId=main_id)
    assert refused["issues"] == [
        {
            "path": "containerId",
            "code": "PRIMARY_CONTAINER",
            "message": "Make another container primary first, then remove this one.",
        }
    ]
    (main,) = await changed(ada, "removeContainer", containerId=side_id)
    assert main["id"] == main_id
    async with history.unchanged(slipway):
        assert problems(await ada.mutate("removeContainer", containerId=main_id)) == [("containerId", "LAST_CONTAINER")]
        gone = await ada.mutate("removeContainer", containerId=side_id)
        assert (gone["__typename"], gone["id"]) == ("NotFound", side_id)


async def test_variables_keep_their_order_and_are_replaced_by_name(ada: Client, main_id: str) -> None:
    async def set_to(**values: str) -> list[tuple[str, str]]:
        variables = [{"name": name, "value": value} for name, value in values.items()]
        main, _ = await changed(ada, "setEnvironmentVariables", containerId=main_id, variables=variables)
        return [(each["name"], each["value"]) for each in main["environmentVars"]]

    assert await set_to(B="1", A="2", C="3") == [("B", "1"), ("A", "2"), ("C", "3")]
    assert await set_to(D="4", A="new", B="") == [("B", ""), ("A", "new"), ("C", "3"), ("D", "4")]
    main, _ = await changed(ada, "removeEnvironmentVariables", containerId=main_id, names=["A", "D", "A"])
    assert [each["name"] for each in main["environmentVars"]] == ["B", "C"]


async def test_what_is_wrong_with_variables_is_told_by_their_place_in_the_input(
    slipway: Slipway, ada: Client, main_id: str
) -> None:
    many = [{"name": f"V{number}", "value": ""} for number in range(200)]
    await changed(ada, "setEnvironmentVariables", containerId=main_id, variables=many)
    part = {"containerId": main_id}
    async with history.unchanged(slipway):
        for variables, expected in (
            ([{"name": "V7", "value": ""}, {"name": "V5"}], [("variables[1].value", "REQUIRED")]),
            (
                [{"name": "V7"}, {"name": "V7"}],
                [("variables[1].name", "DUPLICATE"), ("variables[1].value", "REQUIRED")],
            ),
            ([{"name": "SLIPWAY_X", "value": ""}], [("variables", "WRONG_COUNT")]),
            ([{"name": "X", "value": ""}], [("variables", "WRONG_COUNT")]),
            ([*many, *many], [("variables", "WRONG_COUNT")]),
        ):
            assert problems(await ada.mutate("setEnvironmentVariables", **part, variables=variables)) == expected
        refused = await ada.mutate("removeEnvironmentVariables", **part, names=["V1", "NOPE", "v1"])
        assert refused["issues"] == [
            {"path": "names[1]", "code": "NO_SUCH_VARIABLE", "message": "The container has no variable 'NOPE'."},
            {"path": "names[2]", "code": "NO_SUCH_VARIABLE", "message": "The container has no variable 'v1'."},
        ]


async def test_a_variable_points_at_a_key_of_a_credential_that_one_may_see(
    slipway: Slipway, ada: Client, grace: Client, main_id: str
) -> None:
    own, foreign = await credential(ada, {"token": "hunter2", "user": "x"}), await credential(grace, {"token": "y"})
    part = {"containerId": main_id}
    pointer = {"name": "TOKEN", "type": "CREDENTIAL", "credentialId": own, "field": "token"}
    async with history.unchanged(slipway):
        for change, expected in (
            ({"field": "nope"}, ("variables[0].field", "NO_SUCH_KEY")),
            ({"field": None}, ("variables[0].field", "REQUIRED")),
            ({"credentialId": None}, ("variables[0].credentialId", "REQUIRED")),
            ({"credentialId": foreign}, ("variables[0].credentialId", "NO_SUCH_CREDENTIAL")),
            ({"credentialId": "nope"}, ("variables[0].credentialId", "NO_SUCH_CREDENTIAL")),
            ({"value": "x"}, ("variables[0].value", "NOT_ALLOWED")),
        ):
            refused = await ada.mutate("setEnvironmentVariables", **part, variables=[{**pointer, **change}])
            assert problems(refused) == [expected], change
    main, _ = await changed(ada, "setEnvironmentVariables", **part, variables=[pointer])
    stored = {"name": "TOKEN", "type": "CREDENTIAL", "value": None, "field": "token", "credential": {"id": own}}
    assert main["environmentVars"] == [stored]
    kept = {"name": "TOKEN", "type": "CREDENTIAL", "field": "user"}
    main, _ = await changed(ada, "setEnvironmentVariables", **part, variables=[kept])
    assert main["environmentVars"] == [{**stored, "field": "user"}]


async def test_an_editor_keeps_a_pointer_at_what_they_may_not_see(
    slipway: Slipway, ada: Client, grace: Client, artifact: dict[str, Any], main_id: str
) -> None:
    own = await credential(ada, {"token": "hunter2", "other": "x"})
    pointer = {"name": "TOKEN", "type": "CREDENTIAL", "credentialId": own, "field": "token"}
    await changed(ada, "setEnvironmentVariables", containerId=main_id, variables=[pointer])
    whose = (await grace.run("{ viewer { id } }"))["viewer"]["id"]
    await ada.mutate("shareArtifact", id=artifact["id"], grants=[{"user": whose, "role": "EDITOR"}])
    kept = {"name": "TOKEN", "type": "CREDENTIAL", "field": "token"}
    spec = harness.spec(harness.container(description="by grace", environmentVars=[kept]))
    (main,) = await changed(grace, "updateArtifact", artifactId=artifact["id"], spec=spec)
    assert main["environmentVars"] == [
        {"name": "TOKEN", "type": "CREDENTIAL", "value": None, "field": "token", "credential": None}
    ]
    async with history.unchanged(slipway):
        other = {**kept, "field": "other"}
        refused = await grace.mutate("setEnvironmentVariables", containerId=main_id, variables=[other])
        assert problems(refused) == [("variables[0].credentialId", "NO_SUCH_CREDENTIAL")]


async def test_a_probe_has_the_defaults_of_kubernetes(ada: Client, main_id: str, side_id: str) -> None:
    main, _ = await changed(ada, "setProbe", containerId=main_id, kind="STARTUP", probe={"path": "/up"})
    defaults = {
        "kind": "STARTUP",
        "path": "/up",
        "port": 8080,
        "scheme": "HTTP",
        "headers": [],
        "initialDelaySeconds": 0,
        "periodSeconds": 10,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert main["probes"] == [defaults]
    own = {
        "path": "/ready",
        "port": 9000,
        "scheme": "HTTPS",
        "headers": [{"name": "A", "value": "b"}, {"name": "A", "value": "c"}],
        "initialDelaySeconds": 1,
        "periodSeconds": 2,
        "timeoutSeconds": 3,
        "successThreshold": 4,
        "failureThreshold": 5,
    }
    main, _ = await changed(ada, "setProbe", containerId=main_id, kind="READINESS", probe=own)
    assert main["probes"] == [defaults, {"kind": "READINESS", **own}]
    main, _ = await changed(ada, "setProbe", containerId=main_id, kind="STARTUP", probe=own | {"successThreshold": 1})
    assert main["probes"][0] == {"kind": "STARTUP", **own, "successThreshold": 1}
    main, _ = await changed(ada, "removeProbe", containerId=main_id, kind="STARTUP")
    assert [each["kind"] for each in main["probes"]] == ["READINESS"]


async def test_what_is_wrong_with_a_probe_is_told_in_its_words(slipway: Slipway, ada: Client, side_id: str) -> None:
    async with history.unchanged(slipway):
        given = {"path": "", "successThreshold": 2, "headers": [{"name": "A", "value": "b\nc"}]}
        refused = await ada.mutate("setProbe", containerId=side_id, kind="LIVENESS", probe=given)
        assert problems(refused) == [
            ("probe.path", "NOT_A_PATH"),
            ("probe.path", "TOO_SHORT"),
            ("probe.port", "REQUIRED"),
            ("probe.successThreshold", "OUT_OF_RANGE"),
            ("probe.headers[0].value", "NOT_A_HEADER"),
        ]
        missing = await ada.mutate("removeProbe", containerId=side_id, kind="LIVENESS")
        assert missing["issues"] == [
            {"path": "kind", "code": "NO_SUCH_PROBE", "message": "The container has no liveness probe."}
        ]


async def test_containers_of_a_locked_artifact_stay_as_they_are(
    slipway: Slipway, ada: Client, artifact: dict[str, Any], main_id: str
) -> None:
    await harness.lock(ada, artifact["id"])
    async with history.unchanged(slipway):
        for name, given in (
            ("addContainer", {"artifactId": artifact["id"], "container": {"imageUri": "a"}}),
            ("updateContainer", {"containerId": main_id, "description": "x"}),
            ("setEnvironmentVariables", {"containerId": main_id, "variables": [{"name": "A", "value": "b"}]}),
            ("setProbe", {"containerId": main_id, "kind": "LIVENESS", "probe": {"path": "/"}}),
        ):
            refused = await ada.mutate(name, **given)
            assert [each["code"] for each in refused["blockers"]] == ["ARTIFACT_LOCKED"], name


async def test_a_stranger_finds_no_container(slipway: Slipway, grace: Client, main_id: str) -> None:
    async with history.unchanged(slipway):
        refused = await grace.mutate("updateContainer", containerId=main_id, description="x")
    assert (refused["__typename"], refused["id"]) == ("NotFound", main_id)
