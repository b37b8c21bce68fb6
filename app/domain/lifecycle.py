"""Which action is available when: the tables of the rules as data, and the one function that judges by them.

Mutations enforce what `judge` says, and the graph's `actions` read it out, so the two cannot differ. A rule names the
role that it needs, the statuses that refuse it (with the blocker that says so), and further blockers to be asked for.
Facts answer whether such a blocker applies, and which things block.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from app.domain import enums, ids
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
from app.domain.errors import Blocker

Action = ArtifactAction | RepositoryAction | CredentialAction | WorkloadAction

# At most so many things are named in one blocker.
NAMED_THINGS_MAXIMUM = 10

ACTIVE = frozenset(WorkloadStatus) - {WorkloadStatus.STOPPED, WorkloadStatus.TERMINATED}
STARTED = frozenset(
    {
        WorkloadStatus.SUBMITTED,
        WorkloadStatus.PROVISIONING,
        WorkloadStatus.LAUNCHING,
        WorkloadStatus.RUNNING,
        WorkloadStatus.INTERRUPTED,
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Things:
    """Things that block: those to be named, and how many more the viewer may not see."""

    nodes: tuple[tuple[ids.Kind, UUID], ...] = ()
    hidden_count: int = 0

    def __bool__(self) -> bool:
        return bool(self.nodes) or self.hidden_count > 0


NOTHING = Things()
ITSELF = Things()  # a blocker that lies in the thing itself names no other


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """When an action is available.

    `refused` maps a status to the blocker that it raises; `unless` are blockers to ask the facts for; in the statuses
    of `no_op` the action succeeds and changes nothing.
    """

    needs: Role
    refused: Mapping[StrEnum, BlockerCode] = dataclasses.field(default_factory=dict)
    unless: tuple[BlockerCode, ...] = ()
    no_op: frozenset[StrEnum] = frozenset()


class Facts(Protocol):
    """What is known of the thing that an action is to be done to."""

    @property
    def role(self) -> Role:
        """The viewer's role on it."""

    @property
    def status(self) -> StrEnum | None:
        """Its status; None where the type has none."""

    def blocking(self, code: BlockerCode) -> Things | None:
        """The things that raise this blocker; None where it does not apply."""


@dataclasses.dataclass(frozen=True, slots=True)
class ArtifactFacts:
    """`live_workloads` are those of the artifact that are not TERMINATED; a draft's can only be its test."""

    role: Role
    status: ArtifactStatus
    repository_role: Role | None = None
    live_workloads: Things = NOTHING
    runtime_available: bool = True

    def blocking(self, code: BlockerCode) -> Things | None:
        """See `Facts.blocking`."""
        is_draft = self.status is ArtifactStatus.DRAFT
        match code:
            case BlockerCode.IN_USE:
                return self.live_workloads or None
            case BlockerCode.TEST_ACTIVE:
                return self.live_workloads or None if is_draft else None
            case BlockerCode.NO_ACTIVE_TEST:
                return ITSELF if is_draft and not self.live_workloads else None
            case BlockerCode.RUNTIME_UNAVAILABLE:
                return None if self.runtime_available else ITSELF
            case BlockerCode.ROLE_TOO_LOW:
                held = self.repository_role
                return ITSELF if held is None or enums.rank(held) < enums.rank(Role.EDITOR) else None
            case _:
                raise KeyError(code)


@dataclasses.dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """What a repository holds."""

    role: Role
    locked_artifacts: Things = NOTHING
    live_workloads: Things = NOTHING
    status: None = None

    def blocking(self, code: BlockerCode) -> Things | None:
        """See `Facts.blocking`."""
        match code:
            case BlockerCode.HAS_LOCKED_ARTIFACTS:
                return self.locked_artifacts or None
            case BlockerCode.IN_USE:
                return self.live_workloads or None
            case _:
                raise KeyError(code)


@dataclasses.dataclass(frozen=True, slots=True)
class CredentialFacts:
    """`users` are the artifacts and live workloads that have a variable which points at the credential."""

    role: Role
    users: Things = NOTHING
    status: None = None

    def blocking(self, code: BlockerCode) -> Things | None:
        """See `Facts.blocking`."""
        if code is not BlockerCode.IN_USE:
            raise KeyError(code)
        return self.users or None


@dataclasses.dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """`artifact_role` is None where the viewer sees the artifact only as a frame.

    `target_status` and `target_is_same` are about the artifact that is to replace the workload's, where one is named.
    """

    role: Role
    status: WorkloadStatus
    purpose: WorkloadPurpose
    artifact_status: ArtifactStatus
    artifact_role: Role | None
    artifact_changed: bool = False
    replacement_active: bool = False
    replaced_before: bool = False
    target_status: ArtifactStatus | None = None
    target_is_same: bool = False

    def blocking(self, code: BlockerCode) -> Things | None:
        """See `Facts.blocking`."""
        is_test = self.purpose is WorkloadPurpose.TEST
        match code:
            case BlockerCode.NOT_A_TEST:
                applies = not is_test
            case BlockerCode.STATUS_MISMATCH:
                applies = is_test or self.target_status is ArtifactStatus.DRAFT
            case BlockerCode.SAME_ARTIFACT:
                applies = self.target_is_same
            case BlockerCode.WORKLOAD_NOT_ACTIVE:
                applies = is_test and self.status in {WorkloadStatus.STOPPING, WorkloadStatus.STOPPED}
            case BlockerCode.ARTIFACT_CHANGED:
                applies = is_test and self.artifact_changed
            case BlockerCode.ARTIFACT_LOCKED:
                applies = is_test and self.artifact_status is ArtifactStatus.LOCKED
            case BlockerCode.REPLACEMENT_ACTIVE:
                applies = self.replacement_active
            case BlockerCode.NO_EARLIER_ARTIFACT:
                applies = is_test or not self.replaced_before
            case BlockerCode.ROLE_TOO_LOW:
                held = self.artifact_role
                applies = held is None or enums.rank(held) < enums.rank(Role.EDITOR)
            case _:
                raise KeyError(code)
        return ITSELF if applies else None


_LOCKED: Mapping[StrEnum, BlockerCode] = {ArtifactStatus.LOCKED: BlockerCode.ARTIFACT_LOCKED}
_TERMINATED: Mapping[StrEnum, BlockerCode] = {WorkloadStatus.TERMINATED: BlockerCode.WORKLOAD_TERMINATED}
_NOT_STARTED: Mapping[StrEnum, BlockerCode] = {
    WorkloadStatus.STOPPING: BlockerCode.WORKLOAD_NOT_ACTIVE,
    WorkloadStatus.STOPPED: BlockerCode.WORKLOAD_NOT_ACTIVE,
}

ARTIFACT_RULES: Mapping[ArtifactAction, Rule] = {
    ArtifactAction.EDIT: Rule(Role.EDITOR, _LOCKED),
    ArtifactAction.TAG: Rule(Role.EDITOR),
    ArtifactAction.TEST: Rule(Role.EDITOR, _LOCKED, (BlockerCode.TEST_ACTIVE, BlockerCode.RUNTIME_UNAVAILABLE)),
    ArtifactAction.STOP: Rule(Role.EDITOR, _LOCKED, (BlockerCode.NO_ACTIVE_TEST,)),
    # What locks a draft is refused with IMAGE_UNRESOLVED as well; only the mutation asks for that: see `unresolved`.
    ArtifactAction.LOCK: Rule(Role.EDITOR, _LOCKED),
    ArtifactAction.DEPLOY: Rule(Role.EDITOR),
    ArtifactAction.SHARE: Rule(Role.OWNER),
    ArtifactAction.DELETE: Rule(Role.OWNER, _LOCKED, (BlockerCode.IN_USE,)),
    ArtifactAction.CLONE: Rule(
        Role.EDITOR, {ArtifactStatus.DRAFT: BlockerCode.ARTIFACT_DRAFT}, (BlockerCode.ROLE_TOO_LOW,)
    ),
}
REPOSITORY_RULES: Mapping[RepositoryAction, Rule] = {
    RepositoryAction.EDIT: Rule(Role.EDITOR),
    RepositoryAction.SHARE: Rule(Role.OWNER),
    RepositoryAction.DELETE: Rule(Role.OWNER, {}, (BlockerCode.HAS_LOCKED_ARTIFACTS, BlockerCode.IN_USE)),
}
CREDENTIAL_RULES: Mapping[CredentialAction, Rule] = {
    CredentialAction.ROTATE: Rule(Role.EDITOR),
    CredentialAction.SHARE: Rule(Role.OWNER),
    CredentialAction.DELETE: Rule(Role.OWNER, {}, (BlockerCode.IN_USE,)),
}
WORKLOAD_RULES: Mapping[WorkloadAction, Rule] = {
    WorkloadAction.EDIT: Rule(Role.EDITOR, _TERMINATED),
    WorkloadAction.CONFIGURE: Rule(Role.EDITOR, _TERMINATED, (BlockerCode.REPLACEMENT_ACTIVE,)),
    WorkloadAction.START: Rule(
        Role.EDITOR, {**_TERMINATED, WorkloadStatus.STOPPING: BlockerCode.WORKLOAD_ACTIVE}, no_op=STARTED
    ),
    WorkloadAction.STOP: Rule(
        Role.EDITOR, _TERMINATED, no_op=frozenset({WorkloadStatus.STOPPING, WorkloadStatus.STOPPED})
    ),
    WorkloadAction.RESTART: Rule(Role.EDITOR, {**_TERMINATED, **_NOT_STARTED}),
    WorkloadAction.PROMOTE: Rule(
        Role.EDITOR,
        _TERMINATED,
        (
            BlockerCode.NOT_A_TEST,
            BlockerCode.WORKLOAD_NOT_ACTIVE,
            BlockerCode.ARTIFACT_LOCKED,
            BlockerCode.ARTIFACT_CHANGED,
            BlockerCode.ROLE_TOO_LOW,
        ),
    ),
    WorkloadAction.REPLACE: Rule(
        Role.EDITOR,
        _TERMINATED,
        (BlockerCode.STATUS_MISMATCH, BlockerCode.SAME_ARTIFACT, BlockerCode.REPLACEMENT_ACTIVE),
    ),
    WorkloadAction.ROLLBACK: Rule(
        Role.EDITOR, _TERMINATED, (BlockerCode.NO_EARLIER_ARTIFACT, BlockerCode.REPLACEMENT_ACTIVE)
    ),
    WorkloadAction.EXTEND: Rule(Role.EDITOR, _TERMINATED, (BlockerCode.NOT_A_TEST, BlockerCode.WORKLOAD_NOT_ACTIVE)),
    WorkloadAction.SHARE: Rule(Role.OWNER, _TERMINATED),
    WorkloadAction.DELETE: Rule(Role.OWNER, no_op=frozenset({WorkloadStatus.TERMINATED})),
}
# By type first: members of different enums that bear the same name are equal, for they are strings.
RULES: Mapping[type[StrEnum], Mapping[Any, Rule]] = {
    ArtifactAction: ARTIFACT_RULES,
    RepositoryAction: REPOSITORY_RULES,
    CredentialAction: CREDENTIAL_RULES,
    WorkloadAction: WORKLOAD_RULES,
}

MESSAGES: Mapping[BlockerCode, str] = {
    BlockerCode.ROLE_TOO_LOW: "Your role is too low for this.",
    BlockerCode.ARTIFACT_LOCKED: "The artifact is locked and can't change: clone it to go on.",
    BlockerCode.ARTIFACT_DRAFT: "The artifact is a draft: lock it first.",
    BlockerCode.IN_USE: "It is in use.",
    BlockerCode.HAS_LOCKED_ARTIFACTS: "The repository holds locked artifacts, and those stay.",
    BlockerCode.TEST_ACTIVE: "A test of this draft is active: stop it first.",
    BlockerCode.NO_ACTIVE_TEST: "No test of this artifact is active.",
    BlockerCode.WORKLOAD_ACTIVE: "The workload is still stopping: start it when it has stopped.",
    BlockerCode.WORKLOAD_NOT_ACTIVE: "The workload does not run: start it. A test is begun anew.",
    BlockerCode.WORKLOAD_TERMINATED: "The workload has ended for good; it is kept for its history.",
    BlockerCode.NOT_A_TEST: "The workload is a service, not a test.",
    BlockerCode.STATUS_MISMATCH: "Only a service can be replaced, and only by a locked artifact.",
    BlockerCode.SAME_ARTIFACT: "The workload runs this artifact already.",
    BlockerCode.NO_EARLIER_ARTIFACT: "The workload was never replaced: there is nothing to go back to.",
    BlockerCode.REPLACEMENT_ACTIVE: "A replacement of this workload is under way.",
    BlockerCode.ARTIFACT_CHANGED: "The draft was edited since this test was started: test it again.",
    BlockerCode.IMAGE_UNRESOLVED: "An image can't be resolved to a digest.",
    BlockerCode.RUNTIME_UNAVAILABLE: "No runtime can be reached.",
}


READ_ONLY = "This token is read-only: use one that may change things."


def rule_of(action: Action) -> Rule:
    """The line of the tables that an action stands on."""
    return RULES[type(action)][action]


def judge(action: Action, facts: Facts, *, read_only: bool = False) -> tuple[Blocker, ...]:
    """Every blocker that stands against the action, each once; none where it is available.

    `read_only`: the viewer's token allows no change, whatever the role.
    """
    rule = rule_of(action)
    raised: dict[BlockerCode, Things] = {}
    if read_only or enums.rank(facts.role) < enums.rank(rule.needs):
        raised[BlockerCode.ROLE_TOO_LOW] = ITSELF
    if facts.status is not None and facts.status in rule.refused:
        raised[rule.refused[facts.status]] = ITSELF
    for code in rule.unless:
        things = facts.blocking(code)
        if things is not None:
            raised.setdefault(code, things)
    return tuple(
        Blocker(code, _message(code, rule, things, read_only=read_only), things.nodes, things.hidden_count)
        for code, things in raised.items()
    )


def unresolved(sentences: Sequence[str]) -> Blocker:
    """What stands against the lock of a draft whose images registries don't tell the digests of, and why not."""
    return Blocker(BlockerCode.IMAGE_UNRESOLVED, " ".join((MESSAGES[BlockerCode.IMAGE_UNRESOLVED], *sentences)))


def is_no_op(action: Action, status: StrEnum) -> bool:
    """Whether the action, though available, has nothing to do in this status."""
    return status in rule_of(action).no_op


def strongest(roles: Sequence[Role | None]) -> Role | None:
    """The strongest of several roles; None where there is none."""
    return max((role for role in roles if role is not None), key=enums.rank, default=None)


def _message(code: BlockerCode, rule: Rule, things: Things, *, read_only: bool) -> str:
    if code is BlockerCode.ROLE_TOO_LOW and read_only:
        return READ_ONLY
    if code is BlockerCode.ROLE_TOO_LOW:
        return f"This needs the role {rule.needs}."
    if code is BlockerCode.IN_USE:
        named = [ids.encode(kind, value) for kind, value in things.nodes]
        hidden = [f"{things.hidden_count} that you may not see"] if things.hidden_count else []
        return f"It is in use by {', '.join(named + hidden)}."
    return MESSAGES[code]
