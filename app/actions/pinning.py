"""Locks pin images: registries are asked for digests while no transaction is open and no row is locked."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from app import images
from app.actions.context import Context
from app.db import tables
from app.domain import errors, lifecycle, references

RESOLUTIONS_MAXIMUM = 3
CHANGING = "The images of the draft keep changing while registries are asked for them: try again."

Result = TypeVar("Result")


class UnknownImages(Exception):
    """A lock has met images that registries were not asked for yet: it is done again once they were."""

    def __init__(self, action: lifecycle.Action, unknown: Collection[str]) -> None:
        super().__init__(f"not asked for yet: {', '.join(unknown)}")
        self.action = action
        self.unknown = unknown


async def resolved(context: Context, attempt: Callable[[Context, images.Resolution], Awaitable[Result]]) -> Result:
    """Do an action that may lock a draft. Answers what the attempt answers.

    The attempt is the whole action in one transaction, with all its refusals, up to `artifacts.lock_in`. Where that
    misses digests, all is undone, registries are asked, and the action is attempted again: by then the draft may have
    changed, or be gone, so nothing that was found out before counts. The time that passes meanwhile is in its context.

    Raises:
        errors.ActionUnavailable: somebody gives the draft new images faster than registries answer.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    known = images.Resolution()
    for turn in range(RESOLUTIONS_MAXIMUM + 1):
        now = context.now + timedelta(seconds=clock() - began)
        try:
            return await attempt(dataclasses.replace(context, now=now) if turn else context, known)
        except UnknownImages as missing:
            if turn == RESOLUTIONS_MAXIMUM:
                raise errors.ActionUnavailable(missing.action.value, [lifecycle.unresolved([CHANGING])]) from None
            assert context.resolver is not None  # noqa: S101  without one nothing is missed
            found = await context.resolver.resolve(missing.unknown)
            known = images.Resolution({**known.digests, **found.digests}, {**known.unresolved, **found.unresolved})
    raise AssertionError


def pin(
    context: Context,
    action: lifecycle.Action,
    containers: Sequence[tables.ContainerRow],
    resolution: images.Resolution,
) -> Mapping[str, str]:
    """Give each container the digest of its image. Answers why some have none, by image.

    A digest in the reference is the pin, whatever registries say.

    Raises:
        UnknownImages: registries have to be asked first.
        errors.ActionUnavailable: an image has no digest, and this server requires one.
    """
    written = {each.image_uri: _written(each.image_uri) for each in containers}
    digests = {**resolution.digests, **{image: digest for image, digest in written.items() if digest is not None}}
    unresolved = {}
    if context.resolver is not None:
        without = [image for image in written if image not in digests]
        unknown = [image for image in without if image not in resolution.unresolved]
        if unknown:
            raise UnknownImages(action, unknown)
        unresolved = {image: resolution.unresolved[image] for image in without}
        if unresolved and context.requires_pins:
            raise errors.ActionUnavailable(action.value, [lifecycle.unresolved(list(unresolved.values()))])
    for each in containers:
        each.image_digest = digests.get(each.image_uri)
    return unresolved


def _written(image: str) -> str | None:
    reference = references.parse(image)
    return None if isinstance(reference, str) else reference.digest
