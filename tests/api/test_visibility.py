"""What a viewer may not see does not exist for them: every field of the graph, walked as a stranger."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import graphql
import pytest

from app import main
from app.domain import logs
from tests import harness
from tests.api import walk
from tests.harness import Client, Slipway

# In everything that ada writes, so that nothing of it can pass unseen.
MARK = "zqx"


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """What ada has; `ids` by the type of the graph."""

    owner_id: str
    ids: Mapping[str, list[str]]
    digests: list[str]

    def secrets(self) -> list[str]:
        """What must not be in any answer to a stranger."""
        return [MARK, *self.digests, *(each for many in self.ids.values() for each in many)]


def marked_container(**given: Any) -> dict[str, Any]:
    """A container in which everything bears the mark."""
    probe = {"path": f"/{MARK}", "headers": [{"name": f"X-{MARK}", "value": MARK}]}
    probes = {"startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe}
    named = {"name": f"{MARK}-main", "description": MARK, "imageUri": f"{MARK}/image:{MARK}", "entrypoint": [MARK]}
    return harness.container(**named, **probes, **given)


async def build(ada: Client) -> World:
    """A repository with a draft under test, a locked artifact that is deployed, a clone, credentials and tokens."""
    first, second = await harness.credential(ada, f"{MARK}-key"), await harness.credential(ada, f"{MARK}-other")
    variables = [
        {"name": f"{MARK}_PLAIN", "value": MARK},
        {"name": f"{MARK}_KEY", "type": "CREDENTIAL", "credentialId": first, "field": "key"},
    ]
    tags = [{"name": f"{MARK}-team", "value": f"{MARK}-ml"}]
    described = {"description": MARK, "tags": tags, "spec": harness.spec(marked_container(environmentVars=variables))}
    locked = await harness.new_artifact(ada, f"{MARK}-hello", **described)
    repository_id = locked["repository"]["id"]
    await ada.mutate("updateRepository", repositoryId=repository_id, description=MARK, tags=tags)
    await harness.lock(ada, locked["id"])
    override = {"name": f"{MARK}_KEY", "type": "CREDENTIAL", "credentialId": second, "field": "key"}
    service = await harness.deploy(ada, locked["id"], name=f"{MARK}-service", tags=tags, environment=[override])
    replacement = await harness.configure(ada, service["id"], environment=[override, variables[0]])
    draft = await harness.new_artifact(ada, f"{MARK}-draft", repositoryId=repository_id, **described)
    trial = await harness.start_test(ada, draft["id"])
    clone = await ada.mutate("cloneArtifact", harness.ARTIFACT, artifactId=locked["id"])
    token = await ada.mutate("createApiToken", "... on CreateApiTokenPayload { token { id } }", label=f"{MARK}-token")
    artifacts = [locked, draft, clone["artifact"]]
    events = (await ada.run("{ events(first: 100) { nodes { id } } }"))["events"]["nodes"]
    return World(
        owner_id=await harness.user_id(ada),
        ids={
            "Repository": [repository_id],
            "Artifact": [each["id"] for each in artifacts],
            "Container": [each["containers"][0]["id"] for each in artifacts],
            "Workload": [service["id"], trial["id"]],
            "Replacement": [replacement["id"]],
            "Credential": [first, second],
            "ApiToken": [token["token"]["id"]],
            "Event": [each["id"] for each in events],
        },
        digests=[locked["digest"]],
    )


def known_values(world: World) -> dict[str, list[Any]]:
    """What to ask for to find something of ada's."""
    ids = world.ids
    everything = [each for many in ids.values() for each in many]
    return {
        "id": everything,
        "ids": [everything],
        "search": [MARK, ids["Repository"][0], ids["Artifact"][0][:20], ids["Workload"][0]],
        "createdBy": [[world.owner_id]],
        "tags": [[{"name": f"{MARK}-team"}], [{"name": f"{MARK}-team", "values": [f"{MARK}-ml"]}]],
        "container": [f"{MARK}-main"],
        "contains": [MARK],
        "repositoryId": ids["Repository"],
        "artifactId": ids["Artifact"],
        "subjectId": everything,
        "actor": [[world.owner_id]],
        "image": [f"{MARK}/image:{MARK}", f"{MARK}/image", f"sha256:{'0' * 64}"],
    }


@pytest.fixture
async def world(slipway: Slipway, ada: Client) -> World:
    """What ada has, and what it has written."""
    made = await build(ada)
    written = logs.LogLine(main.now(), f"{MARK}-main", "0", logs.LogStream.STDOUT, f"a line with {MARK} in it")
    slipway.runtime.written.update((each, [written]) for each in made.ids["Workload"])
    return made


def assert_nothing_of(world: World, text: str, document: str) -> None:
    """No trace of ada's things."""
    for secret in world.secrets():
        assert secret not in text, (secret, document, text)


def aliased(calls: list[str], inner: str) -> str:
    """Many calls of one field in one selection."""
    return " ".join(f"a{number}: {call} {inner}" for number, call in enumerate(calls))


@pytest.mark.slow
async def test_a_stranger_finds_nothing_from_any_root_field(world: World, grace: Client) -> None:
    known = known_values(world)
    for name, field in walk.fields("Query").items():
        kind = graphql.get_named_type(field.type).name
        calls = list(walk.calls(name, field, known | {"id": world.ids.get(kind, known["id"])}))
        assert calls
        response = await grace.post(f"{{ {calls[0]} {walk.selection(field, 2)} }}")
        assert "errors" not in response.json(), response.text
        assert_nothing_of(world, response.text, calls[0])
        for start in range(0, len(calls), 50):
            document = f"{{ {aliased(calls[start : start + 50], walk.selection(field, 0))} }}"
            response = await grace.post(document)
            assert_nothing_of(world, response.text, document)
            for answer in response.json()["data"].values():
                if graphql.is_nullable_type(field.type):
                    assert answer is None, document
                elif name == "nodes":
                    assert answer == [None] * len(known["ids"][0])
                elif walk.is_connection(field) and name != "users":
                    assert (answer["totalCount"], answer["nodes"], answer["edges"]) == (0, [], []), document
                elif name in {"tags", "creators"}:
                    assert answer == [], document


@pytest.fixture
async def own(world: World, ada: Client, grace: Client) -> dict[str, str]:
    """What the stranger has, by type: tied to ada's things as closely as it can be without a role on any."""
    foreign = world.ids["Credential"][0]
    everyone = {"everyone": True, "role": "VIEWER"}
    await harness.share(ada, "Credential", foreign, everyone)
    mine = await harness.credential(grace, "mine")
    await harness.share(grace, "Credential", mine, everyone)
    pointing = {"name": "A", "type": "CREDENTIAL", "credentialId": foreign, "field": "key"}
    owned = {"name": "B", "type": "CREDENTIAL", "credentialId": mine, "field": "key"}
    artifact = await harness.new_artifact(
        grace, "mine", spec=harness.spec(harness.container(environmentVars=[pointing, owned]))
    )
    trial = await harness.start_test(grace, artifact["id"])
    replacement = await harness.configure(grace, trial["id"], environment=[pointing])
    used = [{"name": f"{MARK}_MINE", "type": "CREDENTIAL", "credentialId": mine, "field": "key"}]
    await harness.deploy(ada, world.ids["Artifact"][0], name=f"{MARK}-second", environment=used)
    await ada.mutate("setEnvironmentVariables", containerId=world.ids["Container"][1], variables=used)
    taken = {"everyone": True, "role": None}
    await harness.share(ada, "Credential", foreign, taken)
    await harness.share(grace, "Credential", mine, taken)
    tokens = (await grace.run("{ apiTokens { id } }"))["apiTokens"]
    events = (await grace.run("{ events(last: 1) { nodes { id } } }"))["events"]["nodes"]
    return {
        "Repository": artifact["repository"]["id"],
        "Artifact": artifact["id"],
        "Container": artifact["containers"][0]["id"],
        "Workload": trial["id"],
        "Replacement": replacement["id"],
        "Credential": mine,
        "ApiToken": tokens[0]["id"],
        "Event": events[0]["id"],
        "User": world.owner_id,
    }


@pytest.mark.slow
async def test_a_stranger_finds_nothing_along_any_edge(world: World, own: dict[str, str], grace: Client) -> None:
    assert set(own) == set(walk.NODE_TYPES)
    known = known_values(world)
    for type_name, own_id in own.items():
        for name, field in walk.fields(type_name).items():
            calls = list(walk.calls(name, field, known))
            for some, inner in ((calls[:1], walk.selection(field, 1)), (calls[:99], walk.selection(field, 0))):
                document = f'{{ node(id: "{own_id}") {{ ... on {type_name} {{ {aliased(some, inner)} }} }} }}'
                response = await grace.post(document)
                assert "errors" not in response.json(), response.text
                assert response.json()["data"]["node"] is not None, document
                assert_nothing_of(world, response.text, document)


async def test_what_blocks_unseen_is_counted_and_not_named(own: dict[str, str], grace: Client) -> None:
    found = await grace.run(
        """query ($id: ID!) { node(id: $id) { ... on Credential { usedBy { totalCount nodes { id } } actions {
          action blockers { code hiddenCount nodes { id } } } } } }""",
        id=own["Credential"],
    )
    assert found["node"]["usedBy"] == {"totalCount": 1, "nodes": [{"id": own["Artifact"]}]}
    [deletion] = [each for each in found["node"]["actions"] if each["action"] == "DELETE"]
    # Ada's draft and her service count, the stranger's draft and test are named.
    assert deletion["blockers"] == [
        {"code": "IN_USE", "hiddenCount": 2, "nodes": [{"id": own["Artifact"]}, {"id": own["Workload"]}]}
    ]
    refused = await grace.mutate("deleteCredential", credentialId=own["Credential"])
    assert refused["blockers"][0] | {"message": ""} == deletion["blockers"][0] | {"message": ""}


async def test_the_field_of_an_unseen_credential_still_answers(own: dict[str, str], grace: Client) -> None:
    found = await grace.run(
        "query ($id: ID!) { node(id: $id) { ... on Container"
        " { environmentVars { name type value field credential { id } } } } }",
        id=own["Container"],
    )
    shared = {"type": "CREDENTIAL", "value": None, "field": "key"}
    assert found["node"]["environmentVars"] == [
        {"name": "A", "credential": None, **shared},
        {"name": "B", "credential": {"id": own["Credential"]}, **shared},
    ]


async def test_a_viewer_of_an_artifact_sees_the_field_and_not_the_credential(slipway: Slipway, ada: Client) -> None:
    viewer = await slipway.user("linus", groups=("ml", "ops"))
    key = await harness.credential(ada, "key")
    pointing = {"name": "KEY", "type": "CREDENTIAL", "credentialId": key, "field": "key"}
    artifact = await harness.new_artifact(ada, spec=harness.spec(harness.container(environmentVars=[pointing])))
    await harness.share(ada, "Artifact", artifact["id"], {"group": "ml", "role": "EDITOR"})
    document = (
        """query ($id: ID!) { artifact(id: $id) { containers { environmentVars { field credential { id } } } } }"""
    )

    async def seen() -> dict[str, Any]:
        [container] = (await viewer.run(document, id=artifact["id"]))["artifact"]["containers"]
        [variable] = container["environmentVars"]
        found: dict[str, Any] = variable
        return found

    assert await seen() == {"field": "key", "credential": None}
    await harness.share(ada, "Credential", key, {"group": "ops", "role": "VIEWER"})
    assert await seen() == {"field": "key", "credential": {"id": key}}
    await harness.share(ada, "Credential", key, {"group": "ops", "role": None})
    assert await seen() == {"field": "key", "credential": None}


# ───────────────────────────── mutations ─────────────────────────────

MADE_FROM_NOTHING = {"createCredential", "createApiToken"}
ID_FIELDS = {
    "artifactId": "Artifact",
    "repositoryId": "Repository",
    "containerId": "Container",
    "workloadId": "Workload",
    "credentialId": "Credential",
    "tokenId": "ApiToken",
}


def mutation_input(name: str, ids: Mapping[str, str]) -> dict[str, Any]:
    """A right input of a mutation that is about these things."""
    field = walk.fields("Mutation")[name]
    named = graphql.get_named_type(field.args["input"].type)
    assert isinstance(named, graphql.GraphQLInputObjectType)
    given: dict[str, Any] = {}
    for each, declared in named.fields.items():
        if each in ID_FIELDS:
            given[each] = ids[ID_FIELDS[each]]
        elif each == "id":
            given[each] = ids[name.removeprefix("share")]
        elif graphql.is_required_input_field(declared):
            given[each] = REQUIRED[each]
    return given


REQUIRED: dict[str, Any] = {
    "name": "name",
    "label": "label",
    "spec": harness.spec(),
    "container": {"imageUri": "sidecar"},
    "variables": [{"name": "A", "value": "a"}],
    "names": ["A"],
    "kind": "READINESS",
    "probe": {"path": "/"},
    "grants": [{"everyone": True, "role": "OWNER"}],
    "values": [{"key": "key", "value": "value"}],
    "by": "PT1H",
}
MUTATIONS = sorted(walk.fields("Mutation"))


async def dump(slipway: Slipway) -> str:
    """Every row of every table, but for when tokens were used."""
    return await harness.dump(slipway, without=("last_used_at",))


async def test_a_stranger_changes_nothing(slipway: Slipway, world: World, grace: Client) -> None:
    before = await dump(slipway)
    made_up = {kind: f"{many[0][:-8]}00000000" for kind, many in world.ids.items()}
    for name in MUTATIONS:
        if name in MADE_FROM_NOTHING:
            continue
        foreign = {kind: many[0] for kind, many in world.ids.items()}
        given = mutation_input(name, foreign)
        result = await grace.mutate(name, **given)
        assert result["__typename"] == "NotFound", (name, result)
        assert result["id"] in foreign.values()
        # What one may not see looks just like what there never was.
        absent = await grace.mutate(name, **mutation_input(name, made_up))
        assert json.dumps(absent).replace(absent["id"], "") == json.dumps(result).replace(result["id"], "")
        stale = await grace.mutate(name, **{**given, "ifRevision": 99} if _takes_revision(name) else given)
        assert stale["__typename"] == "NotFound", name
    assert await dump(slipway) == before


def _takes_revision(name: str) -> bool:
    named = graphql.get_named_type(walk.fields("Mutation")[name].args["input"].type)
    assert isinstance(named, graphql.GraphQLInputObjectType)
    return "ifRevision" in named.fields


async def test_only_these_mutations_are_about_nothing_that_is_there() -> None:
    for name in MUTATIONS:
        given = mutation_input(name, dict.fromkeys([*ID_FIELDS.values()], "id"))
        assert ("id" in given.values()) == (name not in MADE_FROM_NOTHING), name


async def test_a_variable_can_not_point_at_an_unseen_credential(
    slipway: Slipway, world: World, own: dict[str, str], grace: Client
) -> None:
    before = await dump(slipway)
    foreign = world.ids["Credential"][1]
    for credential_id in (foreign, f"{foreign[:-8]}00000000", own["Artifact"]):
        variable = {"name": "C", "type": "CREDENTIAL", "credentialId": credential_id, "field": "key"}
        result = await grace.mutate("setEnvironmentVariables", containerId=own["Container"], variables=[variable])
        assert result["issues"] == [
            {
                "path": "variables[0].credentialId",
                "code": "NO_SUCH_CREDENTIAL",
                "message": "There is no such credential, or you may not see it.",
            }
        ]
    assert await dump(slipway) == before


async def test_a_read_only_token_reads_everything_and_changes_nothing(
    slipway: Slipway, world: World, ada: Client
) -> None:
    reader = await slipway.user("ada", read_only=True)
    before = await dump(slipway)
    for name in MUTATIONS:
        result = await reader.mutate(name, **mutation_input(name, {kind: many[0] for kind, many in world.ids.items()}))
        assert (result["__typename"], result["needed"]) == ("PermissionDenied", None), (name, result)
    assert await dump(slipway) == before
    document = "{ artifacts { totalCount nodes { id containers { id } } } credentials { nodes { id keys } } }"
    assert await reader.run(document) == await ada.run(document)
