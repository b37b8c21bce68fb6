"""Which media type a request speaks (Content-Type) and which ones it understands (Accept)."""

import functools

from strawberry.http.parse_content_type import parse_content_type

from app.web.refusals import Refusal


@functools.lru_cache(maxsize=64)
def preferred(accept: str, offers: tuple[str, ...]) -> str | None:
    """The offer that an Accept header likes best (RFC 9110, 12.5.1), or None where it takes none of them.

    Of equally liked ones: the one named exactly, then the one named first, then the first offer. An empty header
    takes the first offer. Example: `preferred("text/html, */*;q=0.8", ("application/json", "text/html"))` is
    `"text/html"`.
    """
    if not accept.strip():
        return offers[0]
    ranges = [_range(text) for text in accept.lower().split(",")]
    best: tuple[float, int, int] = (0.0, 0, 0)
    chosen = None
    for offer in offers:
        precise, position, quality = max(
            (
                (_precision(pattern, offer), -position, quality)
                for position, (pattern, quality) in enumerate(ranges)
                if _precision(pattern, offer)
            ),
            default=(0, 0, 0.0),
        )
        # A wildcard says nothing about the order of what it takes.
        rank = (quality, precise, position if precise == _EXACT else 0)
        if quality > 0 and (chosen is None or rank > best):
            best, chosen = rank, offer
    return chosen


_EXACT = 3


def _precision(pattern: str, offer: str) -> int:
    """How closely `*/*` (1), `application/*` (2) or a full name (3) names the offer; 0 where it does not."""
    if pattern == offer:
        return _EXACT
    if pattern == f"{offer.partition('/')[0]}/*":
        return 2
    return 1 if pattern == "*/*" else 0


def _range(text: str) -> tuple[str, float]:
    """`text/html;q=0.8` → `("text/html", 0.8)`. A quality that is no number takes nothing."""
    pattern, *parameters = (part.strip() for part in text.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return pattern, float(value)
            except ValueError:
                return pattern, 0.0
    return pattern, 1.0


@functools.lru_cache(maxsize=64)
def require_json(content_type: str, content_encoding: str) -> None:
    """Raise the Refusal for a body that is anything but plain JSON in UTF-8 (RFC 8259, 8.1)."""
    if not content_type.strip():
        raise Refusal(
            415, "UNSUPPORTED_MEDIA_TYPE", "The request has no Content-Type. Send `Content-Type: application/json`."
        )
    media_type, parameters = parse_content_type(content_type)
    if media_type.lower() != "application/json":
        raise Refusal(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            f"The body's media type is {media_type[:100]!r}. Send the request as `application/json`.",
        )
    charset = parameters.get("charset", "utf-8")
    if charset.lower() not in {"utf-8", "utf8"}:
        raise Refusal(415, "UNSUPPORTED_MEDIA_TYPE", f"The body's charset is {charset[:100]!r}. Send JSON in UTF-8.")
    if content_encoding.strip().lower() not in {"", "identity"}:
        raise Refusal(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            f"The body's Content-Encoding is {content_encoding[:100]!r}. Send it uncompressed.",
            {"Accept-Encoding": "identity"},
        )
