import pytest

from app.web import negotiation

OFFERS = ("application/json", "application/graphql-response+json", "text/html")


@pytest.mark.parametrize(
    ("accept", "offer"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/*", "text/html"),
        # what browsers send for a page
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", "text/html"),
        # the examples of RFC 9110, 12.5.1
        ("text/html;level=3, text/html;q=0.7, */*;q=0.5", "text/html"),
        ("TEXT/HTML", "text/html"),
        ("*/*, text/html", "text/html"),
        ("text/html, application/json", "text/html"),
        ("application/json, text/html", "application/json"),
        ("application/json;q=0.5, text/html;q=0.6", "text/html"),
        # a closer range rules over a wider one, also where it likes the offer less
        ("application/json;q=0, application/*", "application/graphql-response+json"),
        ("*/*, application/json;q=0.1", "application/graphql-response+json"),
        ("application/graphql-response+json; charset=utf-8 ; q=1.0", "application/graphql-response+json"),
        ("text/html;q=0", None),
        ("text/html;q=many", None),
        ("image/png", None),
        (",;,", None),
    ],
)
def test_preferred(accept: str, offer: str | None) -> None:
    assert negotiation.preferred(accept, OFFERS) == offer
