"""Mutations of credentials and of the viewer's own tokens."""

import strawberry

from app.actions import credentials, people, sharing
from app.api import convert, inputs
from app.api.context import Info
from app.api.mutations.common import Given, acting, deleted, spoken
from app.api.payloads import (
    CreateApiTokenPayload,
    CreateApiTokenResult,
    CredentialPayload,
    CredentialResult,
    DeleteResult,
)
from app.db import tables
from app.domain import ids

CREDENTIAL = ids.Kind.CREDENTIAL


@strawberry.type
class CredentialMutations:
    """Secrets that go in and never come out."""

    @strawberry.mutation(description="Keep secret values under a name.")
    async def create_credential(self, info: Info, input: Given[inputs.CreateCredentialInput]) -> CredentialResult:
        """See `credentials.create`."""
        credential_id = await credentials.create(acting(info), input.name, convert.credential_values(input.values))
        return CredentialPayload(credential=await spoken(info, tables.CredentialRow, credential_id))

    @strawberry.mutation(
        description="Replace all values of a credential. What runs keeps the old ones until it is restarted."
    )
    async def rotate_credential(self, info: Info, input: Given[inputs.RotateCredentialInput]) -> CredentialResult:
        """See `credentials.rotate`."""
        credential_id = convert.existing(CREDENTIAL, input.credential_id)
        await credentials.rotate(acting(info), credential_id, convert.credential_values(input.values))
        return CredentialPayload(credential=await spoken(info, tables.CredentialRow, credential_id))

    @strawberry.mutation(description="Change who may what with a credential.")
    async def share_credential(self, info: Info, input: Given[inputs.ShareInput]) -> CredentialResult:
        """See `sharing.share_credential`."""
        credential_id = convert.existing(CREDENTIAL, input.id)
        await sharing.share_credential(acting(info), credential_id, convert.grants(input.grants))
        return CredentialPayload(credential=await spoken(info, tables.CredentialRow, credential_id))

    @strawberry.mutation(description="Delete a credential that nothing points at.")
    async def delete_credential(self, info: Info, input: Given[inputs.CredentialInput]) -> DeleteResult:
        """See `credentials.delete_credential`."""
        credential_id = convert.existing(CREDENTIAL, input.credential_id)
        return deleted(await credentials.delete_credential(acting(info), credential_id))

    @strawberry.mutation(description="Make a token of the viewer's own. Its secret is told this once.")
    async def create_api_token(self, info: Info, input: Given[inputs.CreateApiTokenInput]) -> CreateApiTokenResult:
        """See `people.create_token`."""
        new = people.NewToken(label=input.label, expires_in=input.expires_in, read_only=input.read_only)
        token_id, secret = await people.create_token(acting(info), new)
        return CreateApiTokenPayload(token=await spoken(info, tables.ApiTokenRow, token_id), secret=secret)

    @strawberry.mutation(description="Make a token of the viewer's own useless, at once.")
    async def revoke_api_token(self, info: Info, input: Given[inputs.ApiTokenInput]) -> DeleteResult:
        """See `people.revoke_token`."""
        token_id = convert.existing(ids.Kind.API_TOKEN, input.token_id)
        revoked = await people.revoke_token(acting(info), token_id)
        info.context.forget_viewers()
        return deleted(revoked)
