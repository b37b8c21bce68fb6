"""The mutations: each turns its input into what the domain knows, has one action done, and answers its payload."""

import strawberry

from app.api.mutations.artifacts import ArtifactMutations
from app.api.mutations.containers import ContainerMutations
from app.api.mutations.credentials import CredentialMutations
from app.api.mutations.workloads import WorkloadMutations


@strawberry.type(description="Every change. A refusal is data, never an entry of `errors`.")
class Mutation(ArtifactMutations, ContainerMutations, WorkloadMutations, CredentialMutations):
    """The root of all changes."""
