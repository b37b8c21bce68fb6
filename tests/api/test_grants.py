"""What a grant shows: exactly what is under it, and the frame above it."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from tests import harness
from tests.harness import Client, Slipway

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True, slots=True)
class Branch:
    """A repository of the world: a draft with its test, and a locked artifact with two services."""

    repository: str
    draft: str
    trial: str
    locked: str
    services: tuple[str, str]

    @property
    def workloads(self) -> Mapping[str, str]:
        """The workloads with their artifacts."""
        return {self.trial: self.draft, **dict.fromkeys(self.services, self.locked)}


async def branch(client: Client, name: str) -> Branch:
    """Everything of it bears the name as a tag."""
    tags = [{"name": "branch", "value": name}]
    image = f"{name}/image:1"
    made = {"spec": harness.spec(harness.container(imageUri=image)), "tags": tags, "description": name}
    locked = await harness.new_artifact(client, f"{name} locked", **made)
    repository = locked["repository"]["id"]
    await client.mutate("updateRepository", repositoryId=repository, tags=tags)
    first = await harness.deploy(client, locked["id"], name=f"{name} first", tags=tags)
    second = await harness.deploy(client, locked["id"], name=f"{name} second", tags=tags)
    draft = await harness.new_artifact(client, f"{name} draft", repositoryId=repository, **made)
    trial = await harness.start_test(client, draft["id"])
    return Branch(repository, draft["id"], trial["id"], locked["id"], (first["id"], second["id"]))


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Four branches: shared as a whole, by an artifact, by a workload, not at all."""

    whole: Branch
    by_artifact: Branch
    by_workload: Branch
    unseen: Branch

    @property
    def repositories(self) -> list[str]:
        """What the viewer has a role on."""
        return [self.whole.repository]

    @property
    def artifacts(self) -> list[str]:
        """What the viewer has a role on."""
        return [self.whole.locked, self.whole.draft, self.by_artifact.locked]

    @property
    def workloads(self) -> list[str]:
        """What the viewer has a role on."""
        return [*self.whole.services, self.whole.trial, *self.by_artifact.services, self.by_workload.services[0]]

    @property
    def hidden(self) -> list[str]:
        """What is neither shared nor a frame."""
        rest = self.unseen
        return [
            *(self.by_artifact.draft, self.by_artifact.trial),
            *(self.by_workload.draft, self.by_workload.trial, self.by_workload.services[1]),
            *(rest.repository, rest.draft, rest.trial, rest.locked, *rest.services),
        ]


@pytest.fixture
async def branches(ada: Client) -> World:
    """The world, before anything is shared."""
    return World(*[await branch(ada, name) for name in ("whole", "by-artifact", "by-workload", "unseen")])


@pytest.fixture
async def viewer(slipway: Slipway) -> Client:
    """Somebody who is in a group."""
    return await slipway.user("linus", groups=("ml", "ops"))


async def subject_of(kind: str, viewer: Client) -> dict[str, Any]:
    """The subject of a grant that reaches the viewer."""
    if kind == "user":
        return {"user": await harness.user_id(viewer)}
    return {"group": "ml"} if kind == "group" else {"everyone": True}


SUBJECTS = ("user", "group", "everyone")


async def share_all(ada: Client, world: World, subject: Mapping[str, Any], role: str | None = "VIEWER") -> None:
    """Share what the names of the branches say."""
    grant = {**subject, "role": role}
    await harness.share(ada, "Repository", world.whole.repository, grant)
    await harness.share(ada, "Artifact", world.by_artifact.locked, grant)
    await harness.share(ada, "Workload", world.by_workload.services[0], grant)


LISTS = """{
  repositories { totalCount nodes {
    id artifactCount drafts: artifactCount(status: DRAFT) none: artifactCount(status: [])
    artifacts { totalCount nodes { id } } } }
  artifacts { totalCount nodes { id workloads { totalCount nodes { id } } testWorkload { id } } }
  workloads { totalCount nodes { id artifact { id } repository { id } } }
  repositoryTags: tags(on: REPOSITORY) { name value count }
  artifactTags: tags(on: ARTIFACT) { name value count }
  workloadTags: tags(on: WORKLOAD) { name value count }
  repositoryCreators: creators(of: REPOSITORY) { user { username } count }
  artifactCreators: creators(of: ARTIFACT) { user { username } count }
  workloadCreators: creators(of: WORKLOAD) { user { username } count }
}"""


def used(*names: str) -> list[dict[str, Any]]:
    """The tags of branches, as an offer."""
    counted = sorted(Counter(names).items())
    return [{"name": "branch", "value": name, "count": count} for name, count in counted]


def by_ada(count: int) -> list[dict[str, Any]]:
    """Ada as an offer."""
    return [{"user": {"username": "ada"}, "count": count}]


def newest_first(things: Any) -> list[str]:
    """Ids sort by creation."""
    return sorted(things, reverse=True)


@pytest.mark.parametrize("kind", SUBJECTS)
async def test_lists_hold_exactly_what_is_shared(branches: World, ada: Client, viewer: Client, kind: str) -> None:
    await share_all(ada, branches, await subject_of(kind, viewer))
    found = await viewer.run(LISTS)
    whole, artifact, workload = branches.whole, branches.by_artifact, branches.by_workload
    owner_of = {**whole.workloads, **artifact.workloads, **workload.workloads}
    assert found["repositories"] == {
        "totalCount": 1,
        "nodes": [
            {
                "id": whole.repository,
                "artifactCount": 2,
                "drafts": 1,
                "none": 0,
                "artifacts": {
                    "totalCount": 2,
                    "nodes": [{"id": each} for each in newest_first([whole.locked, whole.draft])],
                },
            }
        ],
    }
    assert found["artifacts"] == {
        "totalCount": 3,
        "nodes": [
            {
                "id": each,
                "workloads": {
                    "totalCount": len(running := [key for key, value in owner_of.items() if value == each]),
                    "nodes": [{"id": one} for one in newest_first(running)],
                },
                "testWorkload": {"id": whole.trial} if each == whole.draft else None,
            }
            for each in newest_first(branches.artifacts)
        ],
    }
    assert found["workloads"]["totalCount"] == 6
    assert [each["id"] for each in found["workloads"]["nodes"]] == newest_first(branches.workloads)
    assert {each["id"]: each["artifact"]["id"] for each in found["workloads"]["nodes"]} == {
        each: owner_of[each] for each in branches.workloads
    }
    assert found["repositoryTags"] == used("whole")
    assert found["artifactTags"] == used("whole", "whole", "by-artifact")
    assert found["workloadTags"] == used("whole", "whole", "by-artifact", "by-artifact", "by-workload")
    assert (found["repositoryCreators"], found["artifactCreators"]) == (by_ada(1), by_ada(3))
    assert found["workloadCreators"] == by_ada(6)
    text = (await viewer.post(LISTS)).text
    assert [each for each in branches.hidden if each in text] == []
    asked = await viewer.run("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=branches.hidden)
    assert asked["nodes"] == [None] * len(branches.hidden)


FILTERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # a list, a filter that would find something unseen, and the branches in which it finds something seen
    ("repositories", 'search: "unseen"', ()),
    ("repositories", 'search: "by-"', ()),
    ("repositories", "hasStatus: LOCKED", ("whole",)),
    ("repositories", 'tags: [{name: "branch"}]', ("whole",)),
    ("artifacts", 'search: "unseen"', ()),
    ("artifacts", 'image: "unseen/image"', ()),
    ("artifacts", 'image: "by-artifact/image:1"', ("by_artifact",)),
    ("artifacts", 'tags: [{name: "branch", values: ["unseen", "by-workload"]}]', ()),
    ("artifacts", "inUse: true", ("whole", "whole", "by_artifact")),
    ("artifacts", "status: [DRAFT]", ("whole",)),
    ("workloads", 'search: "unseen"', ()),
    ("workloads", 'image: "unseen/image:1"', ()),
    # The containers of a frame are not shown, so they are not found either.
    ("workloads", 'image: "by-workload/image:1"', ()),
    ("workloads", 'image: "by-artifact/image:1"', ("by_artifact", "by_artifact")),
    ("workloads", "purpose: TEST", ("whole",)),
    ("workloads", "artifactStatus: LOCKED", ("whole", "whole", "by_artifact", "by_artifact", "by_workload")),
)


async def test_filters_find_nothing_more(branches: World, ada: Client, viewer: Client) -> None:
    await share_all(ada, branches, await subject_of("group", viewer))
    for name, narrowed, expected in FILTERS:
        found = await viewer.run(f"{{ {name}(filter: {{{narrowed}}}) {{ totalCount nodes {{ id }} }} }}")
        got = [each["id"] for each in found[name]["nodes"]]
        homes = [
            home
            for each in got
            for home in ("whole", "by_artifact", "by_workload", "unseen")
            if each in str(dataclasses.asdict(getattr(branches, home)))
        ]
        assert (sorted(homes), found[name]["totalCount"]) == (sorted(expected), len(expected)), (name, narrowed)


async def test_a_filter_by_a_frame_narrows_to_what_is_seen(branches: World, ada: Client, viewer: Client) -> None:
    await share_all(ada, branches, await subject_of("user", viewer))
    frame = branches.by_workload
    for narrowed in (f'repositoryId: "{frame.repository}"', f'artifactId: "{frame.locked}"'):
        found = await viewer.run(f"{{ workloads(filter: {{{narrowed}}}) {{ totalCount nodes {{ id }} }} }}")
        assert found["workloads"] == {"totalCount": 1, "nodes": [{"id": frame.services[0]}]}
    found = await viewer.run(f'{{ artifacts(filter: {{repositoryId: "{frame.repository}"}}) {{ totalCount }} }}')
    assert found["artifacts"]["totalCount"] == 0


REPOSITORY_FRAME = """id name description type createdBy { username } revision lastVersion viewerRole
  grants { role } artifactCount artifacts { totalCount nodes { id } }"""
ARTIFACT_FRAME = """id name description type status version createdBy { username } revision viewerRole
  grants { role } workloads { totalCount nodes { id } } testWorkload { id }"""


async def test_the_parents_of_a_shared_workload_are_a_frame(branches: World, ada: Client, viewer: Client) -> None:
    await share_all(ada, branches, await subject_of("user", viewer), "EDITOR")
    home = branches.by_workload
    found = await viewer.run(
        f"""query ($workload: ID!, $artifact: ID!, $repository: ID!) {{
          workload(id: $workload) {{ viewerRole artifact {{ {ARTIFACT_FRAME} containers {{ id }}
            containerGroups {{ name }} repository {{ {REPOSITORY_FRAME} }} }} repository {{ {REPOSITORY_FRAME} }} }}
          artifact(id: $artifact) {{ {ARTIFACT_FRAME} }}
          repository(id: $repository) {{ {REPOSITORY_FRAME} }}
        }}""",
        workload=home.services[0],
        artifact=home.locked,
        repository=home.repository,
    )
    repository = {
        "id": home.repository,
        "name": "by-workload locked",
        "description": "",
        "type": "SERVICE",
        "createdBy": {"username": "ada"},
        "revision": 2,
        "lastVersion": 1,
        "viewerRole": "VIEWER",
        "grants": [],
        "artifactCount": 0,
        "artifacts": {"totalCount": 0, "nodes": []},
    }
    artifact = {
        "id": home.locked,
        "name": "by-workload locked",
        "description": "by-workload",
        "type": "SERVICE",
        "status": "LOCKED",
        "version": 1,
        "createdBy": {"username": "ada"},
        "revision": 2,
        "viewerRole": "VIEWER",
        "grants": [],
        "workloads": {"totalCount": 1, "nodes": [{"id": home.services[0]}]},
        "testWorkload": None,
    }
    assert found["artifact"] == artifact
    assert found["repository"] == repository
    assert found["workload"] == {
        "viewerRole": "EDITOR",
        "artifact": {**artifact, "containers": [], "containerGroups": [], "repository": repository},
        "repository": repository,
    }


async def test_the_parent_of_a_shared_artifact_is_a_frame(branches: World, ada: Client, viewer: Client) -> None:
    await share_all(ada, branches, await subject_of("group", viewer), "OWNER")
    home = branches.by_artifact
    found = await viewer.run(
        """query ($artifact: ID!, $repository: ID!) {
          artifact(id: $artifact) { viewerRole containers { id } grants { role subject { __typename
            ... on User { username } ... on Group { name } } } repository { viewerRole } }
          repository(id: $repository) { viewerRole grants { role } artifactCount
            artifacts(orderBy: {field: NAME}) { totalCount nodes { id viewerRole } }
            actions { action blockers { code } } }
        }""",
        artifact=home.locked,
        repository=home.repository,
    )
    assert len(found["artifact"]["containers"]) == 1
    assert {name: found["artifact"][name] for name in ("viewerRole", "grants", "repository")} == {
        "viewerRole": "OWNER",
        "grants": [
            {"role": "OWNER", "subject": {"__typename": "User", "username": "ada"}},
            {"role": "OWNER", "subject": {"__typename": "Group", "name": "ml"}},
        ],
        "repository": {"viewerRole": "VIEWER"},
    }
    repository = found["repository"]
    assert (repository["viewerRole"], repository["grants"], repository["artifactCount"]) == ("VIEWER", [], 1)
    assert repository["artifacts"] == {"totalCount": 1, "nodes": [{"id": home.locked, "viewerRole": "OWNER"}]}
    assert all({"code": "ROLE_TOO_LOW"} in each["blockers"] for each in repository["actions"])


async def test_a_frame_can_not_be_changed(slipway: Slipway, branches: World, ada: Client, viewer: Client) -> None:
    await share_all(ada, branches, await subject_of("user", viewer), "OWNER")
    before = await harness.dump(slipway, without=("last_used_at",))
    home = branches.by_workload
    for name, given in (
        ("updateRepository", {"repositoryId": home.repository, "name": "mine"}),
        ("deleteRepository", {"repositoryId": home.repository}),
        ("shareRepository", {"id": home.repository, "grants": [{"everyone": True, "role": "OWNER"}]}),
        ("createArtifact", {"repositoryId": home.repository, "name": "mine", "spec": harness.spec()}),
        ("updateArtifact", {"artifactId": home.locked, "tags": []}),
        ("cloneArtifact", {"artifactId": home.locked}),
        ("deployArtifact", {"artifactId": home.locked}),
        ("shareArtifact", {"id": home.locked, "grants": [{"everyone": True, "role": "OWNER"}]}),
    ):
        refused = await viewer.mutate(name, **given)
        assert refused["__typename"] == "PermissionDenied", (name, refused)
    assert await harness.dump(slipway, without=("last_used_at",)) == before


async def test_blockers_name_what_is_seen_and_count_the_rest(branches: World, ada: Client, viewer: Client) -> None:
    await share_all(ada, branches, await subject_of("user", viewer))
    document = """query ($id: ID!) { node(id: $id) { ... on Repository { actions { ...of } } } }
      fragment of on RepositoryActionState { action blockers { code hiddenCount nodes { id } } }"""

    async def deletion(client: Client, home: Branch) -> dict[str, Any]:
        actions = (await client.run(document, id=home.repository))["node"]["actions"]
        [found] = [each for each in actions if each["action"] == "DELETE"]
        return {each["code"]: (each["hiddenCount"], [one["id"] for one in each["nodes"]]) for each in found["blockers"]}

    role: dict[str, Any] = {"ROLE_TOO_LOW": (0, [])}
    whole, artifact, workload = branches.whole, branches.by_artifact, branches.by_workload
    for home, seen_locked, seen_live in (
        (whole, [whole.locked], list(whole.workloads)),
        (artifact, [artifact.locked], list(artifact.services)),
        (workload, [], [workload.services[0]]),
    ):
        assert await deletion(viewer, home) == {
            **role,
            "HAS_LOCKED_ARTIFACTS": (1 - len(seen_locked), seen_locked),
            "IN_USE": (3 - len(seen_live), newest_first(seen_live)),
        }
        assert await deletion(ada, home) == {
            "HAS_LOCKED_ARTIFACTS": (0, [home.locked]),
            "IN_USE": (0, newest_first(home.workloads)),
        }


async def test_taking_a_grant_away_takes_effect_at_once(branches: World, ada: Client, viewer: Client) -> None:
    for kind in SUBJECTS:
        subject = await subject_of(kind, viewer)
        nothing = await viewer.run(LISTS)
        assert nothing["workloads"] == {"totalCount": 0, "nodes": []}
        await share_all(ada, branches, subject)
        assert (await viewer.run(LISTS))["workloads"]["totalCount"] == 6
        await share_all(ada, branches, subject, None)
        assert await viewer.run(LISTS) == nothing
        for thing in (branches.whole.repository, branches.by_workload.repository, branches.by_artifact.locked):
            assert (await viewer.run("query ($id: ID!) { node(id: $id) { id } }", id=thing))["node"] is None


async def test_administrators_own_everything(branches: World, root: Client, ada: Client) -> None:
    roles = "{ %s { totalCount nodes { id viewerRole grants { role } } } }"
    for name in ("repositories", "artifacts", "workloads"):
        found, owned = await root.run(roles % name), await ada.run(roles % name)
        assert found == owned
        assert {each["viewerRole"] for each in found[name]["nodes"]} == {"OWNER"}
    assert (await root.run(LISTS))["workloadCreators"] == by_ada(12)
    renamed = await root.mutate("updateRepository", repositoryId=branches.unseen.repository, name="renamed")
    assert renamed["__typename"] == "RepositoryPayload"


RANKS = {"VIEWER": 0, "EDITOR": 1, "OWNER": 2}


async def test_the_strongest_role_counts(ada: Client, viewer: Client) -> None:
    home = await branch(ada, "home")
    things = {"Repository": home.repository, "Artifact": home.locked, "Workload": home.services[0]}
    document = """query ($r: ID!, $a: ID!, $w: ID!) { repository(id: $r) { viewerRole } artifact(id: $a) { viewerRole }
      workload(id: $w) { viewerRole } }"""
    subjects = [await subject_of(kind, viewer) for kind in SUBJECTS]
    for turn, roles in enumerate(itertools.product(RANKS, repeat=3)):
        # Each level has its role from another subject, and they take turns.
        given = [subjects[(turn + level) % 3] for level in range(3)]
        for (kind, thing), subject, role in zip(things.items(), given, roles, strict=True):
            rest = [{**each, "role": None} for each in subjects if each != subject]
            await harness.share(ada, kind, thing, {**subject, "role": role}, *rest)
        found = await viewer.run(document, r=home.repository, a=home.locked, w=home.services[0])
        expected = [max(roles[: level + 1], key=RANKS.__getitem__) for level in range(3)]
        assert [found[each]["viewerRole"] for each in ("repository", "artifact", "workload")] == expected, roles
    await harness.share(ada, "Repository", home.repository, *({**each, "role": "VIEWER"} for each in subjects[:2]))
    await harness.share(ada, "Repository", home.repository, {**subjects[2], "role": "EDITOR"})
    assert (await viewer.run("{ repositories { nodes { viewerRole } } }"))["repositories"]["nodes"] == [
        {"viewerRole": "EDITOR"}
    ]


async def test_an_email_is_for_oneself_and_administrators(slipway: Slipway, ada: Client, root: Client) -> None:
    grace = await slipway.user("grace")
    connection = slipway.database.engine.connect()
    async with connection as session:
        await session.exec_driver_sql(
            "UPDATE users SET email = username || '@slipway.test', display_name = 'Dr. ' || username"
        )
        await session.commit()
    document = "{ users { totalCount nodes { username displayName email admin } } }"

    async def emails(client: Client, search: str | None = None) -> dict[str, str | None]:
        argument = "" if search is None else f'(search: "{search}")'
        nodes = (await client.run(document.replace("users", f"users{argument}")))["users"]["nodes"]
        assert all(each["displayName"] == f"Dr. {each['username']}" for each in nodes)
        return {each["username"]: each["email"] for each in nodes}

    assert await emails(ada) == {"ada": "ada@slipway.test", "grace": None, "root": None}
    assert await emails(grace) == {"ada": None, "grace": "grace@slipway.test", "root": None}
    assert await emails(root) == {name: f"{name}@slipway.test" for name in ("ada", "grace", "root")}
    # Nor can it be found by looking for it.
    assert await emails(ada, "slipway.test") == {}
    assert await emails(ada, "@") == {}
    own = await ada.run("{ viewer { username email } }")
    assert own["viewer"] == {"username": "ada", "email": "ada@slipway.test"}


@pytest.mark.parametrize("kind", SUBJECTS)
async def test_credentials_are_seen_by_role(ada: Client, viewer: Client, grace: Client, kind: str) -> None:
    subject = await subject_of(kind, viewer)
    first, second = await harness.credential(ada, "first"), await harness.credential(ada, "second")
    seen = """{ credentials { totalCount nodes { id name keys viewerRole
      usedBy { totalCount } actions { action available } } } }"""
    assert (await viewer.run(seen))["credentials"] == {"totalCount": 0, "nodes": []}
    may = {"VIEWER": [], "EDITOR": ["ROTATE"], "OWNER": ["ROTATE", "SHARE", "DELETE"]}
    rotation = {"credentialId": first, "values": [{"key": "key", "value": "new"}]}
    for role, available in may.items():
        await harness.share(ada, "Credential", first, {**subject, "role": role})
        found = (await viewer.run(seen))["credentials"]
        assert found["totalCount"] == 1
        [node] = found["nodes"]
        assert (node["id"], node["name"], node["keys"], node["viewerRole"]) == (first, "first", ["key"], role)
        assert [each["action"] for each in node["actions"] if each["available"]] == available
        rotated = await viewer.mutate("rotateCredential", **rotation)
        assert rotated["__typename"] == ("CredentialPayload" if "ROTATE" in available else "PermissionDenied")
        shared = await viewer.mutate("shareCredential", id=first, grants=[{**subject, "role": role}])
        assert shared["__typename"] == ("CredentialPayload" if "SHARE" in available else "PermissionDenied")
        unseen = await viewer.mutate("deleteCredential", credentialId=second)
        assert unseen["__typename"] == "NotFound"
        others = (await grace.run(seen))["credentials"]["totalCount"]
        assert others == (1 if kind == "everyone" else 0)
    await harness.share(ada, "Credential", first, {**subject, "role": None})
    assert (await viewer.run(seen))["credentials"]["totalCount"] == 0


async def test_groups_are_those_one_is_in(slipway: Slipway, ada: Client, viewer: Client) -> None:
    home = await branch(ada, "home")
    ops = await slipway.user("hedy", groups=("ops",))
    await harness.share(ada, "Repository", home.repository, {"group": "ml", "role": "VIEWER"})
    assert (await viewer.run("{ repositories { totalCount } }"))["repositories"]["totalCount"] == 1
    assert (await ops.run("{ repositories { totalCount } }"))["repositories"]["totalCount"] == 0
    # Another token: who is behind the first is remembered for a second.
    ops = await slipway.user("hedy", groups=("ml",))
    assert (await ops.run("{ repositories { totalCount } }"))["repositories"]["totalCount"] == 1
    assert (await ops.run("{ viewer { groups } }"))["viewer"]["groups"] == ["ml", "ops"]
