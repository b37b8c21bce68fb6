"""The tables of the rules, written out a second time, against every combination of what the rules look at."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import pytest

from app.domain import errors, ids, lifecycle
from app.domain.enums import (
    ArtifactAction,
    ArtifactStatus,
    BlockerCode,
    CredentialAction,
    RepositoryAction,
    Role,
    WorkloadAction,
    WorkloadPurpose,
    WorkloadStatus,
)

ROLES = ("VIEWER", "EDITOR", "OWNER")
BOTH = (False, True)

# A line: the role that the action needs, and which blocker each circumstance raises. Circumstances written together
# raise it together: "DRAFT used" is a draft that is in use. The words are those of `_circumstances` in each test.
Line = tuple[str, Mapping[str, str]]

ARTIFACT: Mapping[str, Line] = {
    "EDIT": ("EDITOR", {"LOCKED": "ARTIFACT_LOCKED"}),
    "TAG": ("EDITOR", {}),
    "TEST": ("EDITOR", {"LOCKED": "ARTIFACT_LOCKED", "DRAFT used": "TEST_ACTIVE", "mute": "RUNTIME_UNAVAILABLE"}),
    "STOP": ("EDITOR", {"LOCKED": "ARTIFACT_LOCKED", "DRAFT unused": "NO_ACTIVE_TEST"}),
    "LOCK": ("EDITOR", {"LOCKED": "ARTIFACT_LOCKED"}),
    "DEPLOY": ("EDITOR", {}),
    "SHARE": ("OWNER", {}),
    "DELETE": ("OWNER", {"LOCKED": "ARTIFACT_LOCKED", "used": "IN_USE"}),
    "CLONE": ("EDITOR", {"DRAFT": "ARTIFACT_DRAFT", "outside": "ROLE_TOO_LOW"}),
}
REPOSITORY: Mapping[str, Line] = {
    "EDIT": ("EDITOR", {}),
    "SHARE": ("OWNER", {}),
    "DELETE": ("OWNER", {"holds locked": "HAS_LOCKED_ARTIFACTS", "used": "IN_USE"}),
}
CREDENTIAL: Mapping[str, Line] = {
    "ROTATE": ("EDITOR", {}),
    "SHARE": ("OWNER", {}),
    "DELETE": ("OWNER", {"used": "IN_USE"}),
}
WORKLOAD: Mapping[str, Line] = {
    "EDIT": ("EDITOR", {"TERMINATED": "WORKLOAD_TERMINATED"}),
    "CONFIGURE": ("EDITOR", {"TERMINATED": "WORKLOAD_TERMINATED", "rolling": "REPLACEMENT_ACTIVE"}),
    "START": ("EDITOR", {"TERMINATED": "WORKLOAD_TERMINATED", "STOPPING": "WORKLOAD_ACTIVE"}),
    "STOP": ("EDITOR", {"TERMINATED": "WORKLOAD_TERMINATED"}),
    "RESTART": (
        "EDITOR",
        {
            "TERMINATED": "WORKLOAD_TERMINATED",
            "STOPPING": "WORKLOAD_NOT_ACTIVE",
            "STOPPED": "WORKLOAD_NOT_ACTIVE",
        },
    ),
    "PROMOTE": (
        "EDITOR",
        {
            "TERMINATED": "WORKLOAD_TERMINATED",
            "SERVICE": "NOT_A_TEST",
            "TEST STOPPING": "WORKLOAD_NOT_ACTIVE",
            "TEST STOPPED": "WORKLOAD_NOT_ACTIVE",
            "TEST changed": "ARTIFACT_CHANGED",
            "TEST LOCKED": "ARTIFACT_LOCKED",
            "outside": "ROLE_TOO_LOW",
        },
    ),
    "REPLACE": (
        "EDITOR",
        {"TERMINATED": "WORKLOAD_TERMINATED", "TEST": "STATUS_MISMATCH", "rolling": "REPLACEMENT_ACTIVE"},
    ),
    "ROLLBACK": (
        "EDITOR",
        {
            "TERMINATED": "WORKLOAD_TERMINATED",
            "TEST": "NO_EARLIER_ARTIFACT",
            "never replaced": "NO_EARLIER_ARTIFACT",
            "rolling": "REPLACEMENT_ACTIVE",
        },
    ),
    "EXTEND": (
        "EDITOR",
        {
            "TERMINATED": "WORKLOAD_TERMINATED",
            "SERVICE": "NOT_A_TEST",
            "TEST STOPPING": "WORKLOAD_NOT_ACTIVE",
            "TEST STOPPED": "WORKLOAD_NOT_ACTIVE",
        },
    ),
    "SHARE": ("OWNER", {"TERMINATED": "WORKLOAD_TERMINATED"}),
    "DELETE": ("OWNER", {}),
}
NO_OP = {
    "START": {"SUBMITTED", "PROVISIONING", "LAUNCHING", "RUNNING", "INTERRUPTED"},
    "STOP": {"STOPPING", "STOPPED"},
    "DELETE": {"TERMINATED"},
}


def _expected(line: Line, role: str, circumstances: Iterable[str]) -> list[str]:
    needed, refused = line
    words = set(" ".join(circumstances).split())
    codes = {code for together, code in refused.items() if set(together.split()) <= words}
    if ROLES.index(role) < ROLES.index(needed):
        codes.add("ROLE_TOO_LOW")
    return sorted(codes)


def _judged(action: lifecycle.Action, facts: lifecycle.Facts) -> list[str]:
    return sorted(blocker.code.value for blocker in lifecycle.judge(action, facts))


def _things(kind: ids.Kind, *, used: bool) -> lifecycle.Things:
    return lifecycle.Things(((kind, UUID(int=7)),)) if used else lifecycle.NOTHING


def test_the_tables_have_a_line_for_each_action() -> None:
    assert set(ARTIFACT) == set(ArtifactAction)
    assert set(REPOSITORY) == set(RepositoryAction)
    assert set(CREDENTIAL) == set(CredentialAction)
    assert set(WORKLOAD) == set(WorkloadAction)


@pytest.mark.parametrize("action", ArtifactAction)
def test_artifacts(action: ArtifactAction) -> None:
    # A draft is used by its test alone. A locked artifact is used by services, and by a test that outlived the lock.
    for status, role, inherited, used, available in itertools.product(ArtifactStatus, Role, (None, *Role), BOTH, BOTH):
        facts = lifecycle.ArtifactFacts(
            role=role,
            status=status,
            repository_role=inherited,
            live_workloads=_things(ids.Kind.WORKLOAD, used=used),
            runtime_available=available,
        )
        circumstances = [
            status.value,
            "used" if used else "unused",
            "" if available else "mute",
            "outside" if inherited in {None, Role.VIEWER} else "",
        ]
        assert _judged(action, facts) == _expected(ARTIFACT[action], role, circumstances), facts
        assert not lifecycle.is_no_op(action, status)


@pytest.mark.parametrize("action", RepositoryAction)
def test_repositories(action: RepositoryAction) -> None:
    for role, locked, used in itertools.product(Role, BOTH, BOTH):
        facts = lifecycle.RepositoryFacts(
            role=role,
            locked_artifacts=_things(ids.Kind.ARTIFACT, used=locked),
            live_workloads=_things(ids.Kind.WORKLOAD, used=used),
        )
        circumstances = ["holds locked" if locked else "", "used" if used else ""]
        assert _judged(action, facts) == _expected(REPOSITORY[action], role, circumstances), facts


@pytest.mark.parametrize("action", CredentialAction)
def test_credentials(action: CredentialAction) -> None:
    for role, used in itertools.product(Role, BOTH):
        facts = lifecycle.CredentialFacts(role=role, users=_things(ids.Kind.ARTIFACT, used=used))
        assert _judged(action, facts) == _expected(CREDENTIAL[action], role, ["used" if used else ""]), facts


@pytest.mark.parametrize("action", WorkloadAction)
def test_workloads(action: WorkloadAction) -> None:
    for status, purpose, role, artifact_status, artifact_role, changed, rolling, replaced in itertools.product(
        WorkloadStatus, WorkloadPurpose, Role, ArtifactStatus, (None, *Role), BOTH, BOTH, BOTH
    ):
        facts = lifecycle.WorkloadFacts(
            role=role,
            status=status,
            purpose=purpose,
            artifact_status=artifact_status,
            artifact_role=artifact_role,
            artifact_changed=changed,
            replacement_active=rolling,
            replaced_before=replaced,
        )
        circumstances = [
            status.value,
            purpose.value,
            artifact_status.value,
            "changed" if changed else "",
            "rolling" if rolling else "",
            "" if replaced else "never replaced",
            "outside" if artifact_role in {None, Role.VIEWER} else "",
        ]
        assert _judged(action, facts) == _expected(WORKLOAD[action], role, circumstances), facts


# Where another artifact is named. A draft, and the one that runs already, can't take over, whatever else is in the way.
@pytest.mark.parametrize(
    ("target_status", "target_is_same", "rolling", "codes"),
    [
        (ArtifactStatus.LOCKED, False, False, []),
        (ArtifactStatus.DRAFT, False, False, ["STATUS_MISMATCH"]),
        (ArtifactStatus.LOCKED, True, False, ["SAME_ARTIFACT"]),
        (ArtifactStatus.LOCKED, False, True, ["REPLACEMENT_ACTIVE"]),
        (ArtifactStatus.DRAFT, True, True, ["REPLACEMENT_ACTIVE", "SAME_ARTIFACT", "STATUS_MISMATCH"]),
    ],
)
def test_what_may_replace(target_status: ArtifactStatus, target_is_same: bool, rolling: bool, codes: list[str]) -> None:
    facts = lifecycle.WorkloadFacts(
        role=Role.EDITOR,
        status=WorkloadStatus.RUNNING,
        purpose=WorkloadPurpose.SERVICE,
        artifact_status=ArtifactStatus.LOCKED,
        artifact_role=None,
        replacement_active=rolling,
        target_status=target_status,
        target_is_same=target_is_same,
    )
    assert _judged(WorkloadAction.REPLACE, facts) == codes


def test_what_has_nothing_to_do_succeeds() -> None:
    found = {
        action.value: {status.value for status in WorkloadStatus if lifecycle.is_no_op(action, status)}
        for action in WorkloadAction
    }
    assert {action: statuses for action, statuses in found.items() if statuses} == NO_OP


def test_active_is_all_but_stopped_and_terminated() -> None:
    assert sorted(lifecycle.ACTIVE) == [
        "ERRORED",
        "INTERRUPTED",
        "LAUNCHING",
        "PROVISIONING",
        "RUNNING",
        "STOPPING",
        "SUBMITTED",
    ]


FREE: Mapping[type[Any], lifecycle.Facts] = {
    ArtifactAction: lifecycle.ArtifactFacts(role=Role.OWNER, status=ArtifactStatus.LOCKED, repository_role=Role.OWNER),
    RepositoryAction: lifecycle.RepositoryFacts(role=Role.OWNER),
    CredentialAction: lifecycle.CredentialFacts(role=Role.OWNER),
    WorkloadAction: lifecycle.WorkloadFacts(
        role=Role.OWNER,
        status=WorkloadStatus.RUNNING,
        purpose=WorkloadPurpose.SERVICE,
        artifact_status=ArtifactStatus.LOCKED,
        artifact_role=Role.OWNER,
    ),
}


@pytest.mark.parametrize("action", [*ArtifactAction, *RepositoryAction, *CredentialAction, *WorkloadAction], ids=repr)
def test_a_read_only_token_can_do_nothing(action: lifecycle.Action) -> None:
    facts = FREE[type(action)]
    without = {blocker.code for blocker in lifecycle.judge(action, facts)}
    blockers = lifecycle.judge(action, facts, read_only=True)
    assert {blocker.code for blocker in blockers} == {BlockerCode.ROLE_TOO_LOW, *without}
    assert blockers[0].message == "This token is read-only: use one that may change things."


def test_a_blocker_names_what_blocks_and_counts_what_is_hidden() -> None:
    seen = (ids.Kind.WORKLOAD, UUID(int=1))
    facts = lifecycle.ArtifactFacts(Role.OWNER, ArtifactStatus.DRAFT, live_workloads=lifecycle.Things((seen,), 2))
    (blocker,) = lifecycle.judge(ArtifactAction.DELETE, facts)
    assert (blocker.code, blocker.nodes, blocker.hidden_count) == (BlockerCode.IN_USE, (seen,), 2)
    assert blocker.message == f"It is in use by {ids.encode(*seen)}, 2 that you may not see."


def test_what_blocks_unseen_still_blocks() -> None:
    facts = lifecycle.CredentialFacts(Role.OWNER, lifecycle.Things((), 1))
    (blocker,) = lifecycle.judge(CredentialAction.DELETE, facts)
    assert (blocker.code, blocker.nodes, blocker.hidden_count) == (BlockerCode.IN_USE, (), 1)
    assert blocker.message == "It is in use by 1 that you may not see."


@pytest.mark.parametrize(
    ("roles", "strongest"),
    [
        ((), None),
        ((None, None), None),
        ((None, Role.VIEWER), Role.VIEWER),
        ((Role.EDITOR, Role.OWNER, Role.VIEWER), Role.OWNER),
        ((Role.EDITOR, None, Role.VIEWER), Role.EDITOR),
    ],
)
def test_of_several_roles_the_strongest_counts(roles: tuple[Role | None, ...], strongest: Role | None) -> None:
    assert lifecycle.strongest(roles) is strongest


def test_images_without_digests_are_told_in_one_blocker() -> None:
    assert lifecycle.unresolved(["'a': why.", "'b': why."]) == errors.Blocker(
        BlockerCode.IMAGE_UNRESOLVED, "An image can't be resolved to a digest. 'a': why. 'b': why."
    )
