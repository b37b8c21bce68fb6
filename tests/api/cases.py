"""What the tests of the rules share: who asks, what they ask for, and letting everybody try everything."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from tests import snapshots
from tests.harness import Client, Slipway

ROLES = ("VIEWER", "EDITOR", "OWNER")


@dataclasses.dataclass(frozen=True)
class Case:
    """One mutation: its input, the action that it is, and the role that this needs."""

    mutation: str
    given: Mapping[str, Any]
    action: str
    needs: str

    def __str__(self) -> str:
        return f"{self.mutation}({', '.join(self.given)})"


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody who asks. `role` None: may not see the thing; `repository_role` is what cloning asks for."""

    client: Client
    role: str | None
    repository_role: str | None = None
    read_only: bool = False


Cast = Mapping[str, Person]


async def user_id(client: Client) -> str:
    found: str = (await client.run("{ viewer { id } }"))["viewer"]["id"]
    return found


async def cast_of(slipway: Slipway) -> dict[str, Person]:
    """One for each way to have a role, or none."""
    ada = await slipway.user("ada")
    return {
        "owner": Person(ada, "OWNER", "OWNER"),
        "editor": Person(await slipway.user("eve"), "EDITOR", "EDITOR"),
        "viewer": Person(await slipway.user("vic"), "VIEWER", "VIEWER"),
        "stranger": Person(await slipway.user("sam"), None),
        "owner with a read-only token": Person(await slipway.user("ada", read_only=True), "OWNER", "OWNER", True),  # noqa: FBT003
        "administrator": Person(await slipway.user("root", admin=True), "OWNER", "OWNER"),
    }


async def share(cast: Cast, mutation: str, thing_id: str, **roles: str) -> None:
    """Give roles, as the owner. `roles` maps a member of the cast to a role."""
    grants = [{"user": await user_id(cast[name].client), "role": role} for name, role in roles.items()]
    result = await cast["owner"].client.mutate(mutation, id=thing_id, grants=grants)
    assert "Payload" in result["__typename"], result


def outcome(result: Mapping[str, Any]) -> tuple[Any, ...]:
    """What an answer says, without its words for people."""
    match result["__typename"]:
        case "NotFound":
            return ("NotFound", result["id"])
        case "PermissionDenied":
            return ("PermissionDenied", result["needed"])
        case "ActionUnavailable":
            return ("ActionUnavailable", result["action"], sorted(each["code"] for each in result["blockers"]))
        case "InvalidInput":
            return ("InvalidInput", sorted(each["path"] for each in result["issues"]))
        case "StaleRevision":
            return ("StaleRevision", result["currentRevision"])
        case _:
            return ("done",)


def expected(case: Case, person: Person, blockers: Mapping[str, Sequence[str]]) -> tuple[Any, ...]:
    """What the rules say: who may comes first, then what the state allows."""
    named = next(value for key, value in case.given.items() if key == "id" or key.endswith("Id"))
    held = person.repository_role if case.action == "CLONE" else person.role
    if person.role is None:
        return ("NotFound", named)
    if person.read_only:
        return ("PermissionDenied", None)
    if held is None or ROLES.index(held) < ROLES.index(case.needs):
        return ("PermissionDenied", case.needs)
    if case.action in blockers:
        return ("ActionUnavailable", case.action, sorted(blockers[case.action]))
    return ("done",)


async def play(
    slipway: Slipway, cases: Sequence[Case], cast: Cast, blockers: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Let everybody try everything, each time from the same state.

    Answers where it went otherwise than the rules say (got, expected), and what each allowed mutation changed.
    """
    before = await snapshots.dump(slipway)
    wrong: dict[str, Any] = {}
    done: dict[str, dict[str, Any]] = {}
    for case, (name, person) in itertools.product(cases, cast.items()):
        result = await person.client.mutate(case.mutation, **case.given)
        after = await snapshots.dump(slipway)
        got, wanted = outcome(result), expected(case, person, blockers)
        if got != wanted:
            wrong[f"{name}: {case}"] = (got, wanted)
        if got == ("done",):
            changes = snapshots.changes(before, after)
            if done.setdefault(str(case), changes) != changes:
                wrong[f"{name}: {case}"] = (changes, done[str(case)])
        elif after != before:
            wrong[f"{name}: {case}"] = "was refused and changed something"
        if after != before:
            await snapshots.restore(slipway, before)
    return wrong, done


async def judged(person: Person, type_name: str, thing_id: str) -> dict[str, list[str]] | None:
    """What `actions` says: the blockers of each action, none where it is available."""
    document = f"""query ($id: ID!) {{
      node(id: $id) {{ ... on {type_name} {{ actions {{ action available blockers {{ code }} }} }} }}
    }}"""
    found = (await person.client.run(document, id=thing_id))["node"]
    if found is None:
        return None
    for each in found["actions"]:
        assert each["available"] is not bool(each["blockers"])
    return {each["action"]: sorted(blocker["code"] for blocker in each["blockers"]) for each in found["actions"]}


def readable(
    person: Person, needs: Mapping[str, str], blockers: Mapping[str, Sequence[str]]
) -> dict[str, list[str]] | None:
    """What `actions` is to say."""
    if person.role is None:
        return None
    found = {}
    for action, needed in needs.items():
        held = person.repository_role if action == "CLONE" else person.role
        too_low = person.read_only or held is None or ROLES.index(held) < ROLES.index(needed)
        found[action] = sorted([*blockers.get(action, ()), *(["ROLE_TOO_LOW"] if too_low else [])])
    return found
