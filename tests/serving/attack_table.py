"""Every route of the service: whom it opens to, and a request that would do something there.

A route that is not here fails tests/serving/test_attacks.py: whoever adds one says here who may use it.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from considerate.consent.notices import current_notice

NOTICE = {
    "notice_id": current_notice().notice_id,
    "notice_version": current_notice().notice_version,
    "locale": "en",
}
PUBLIC = "public"
ME = "me"


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes
    ----------
    opens
        `PUBLIC`, `ME` or a service scope.
    body
        A body that it accepts, None where it takes none.
    foreign
        Whether its path names something that belongs to one customer.
    takes
        Facts about customers that its callers may state.
    """

    opens: str
    body: dict[str, Any] | None = None
    foreign: bool = False
    takes: tuple[str, ...] = ()


PURCHASE = {"customer_id": "till's customer", "event_id": "1", "kind": "purchase", "item_id": "milk"}
NO = {
    "customer_id": "the platform's customer",
    "purpose": "train_models",
    "state": "withdrawn",
    "event_time": "2026-11-01T00:00:00Z",
    **NOTICE,
}

ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/livez"): Route(PUBLIC),
    ("GET", "/readyz"): Route(PUBLIC),
    ("GET", "/metrics"): Route(PUBLIC),
    ("GET", "/.well-known/gpc.json"): Route(PUBLIC),
    ("GET", "/v1/recommendations/default"): Route(PUBLIC),
    ("GET", "/v1/transparency/recommender"): Route(PUBLIC),
    ("GET", "/v1/me/recommendations"): Route(ME),
    ("GET", "/v1/me/recommendations/{decision_id}/explanation"): Route(ME, foreign=True),
    ("GET", "/v1/me/decisions"): Route(ME),
    ("POST", "/v1/me/events"): Route(ME, {"events": [{"event_id": "1", "kind": "view", "item_id": "milk"}]}),
    ("GET", "/v1/me/consents"): Route(ME),
    ("DELETE", "/v1/me/consents"): Route(ME),
    ("PUT", "/v1/me/consents/{purpose}"): Route(ME, NOTICE),
    ("DELETE", "/v1/me/consents/{purpose}"): Route(ME),
    ("GET", "/v1/me/consent-history"): Route(ME),
    ("GET", "/v1/me/receipts/{receipt_id}"): Route(ME, foreign=True),
    ("PUT", "/v1/me/objection"): Route(ME),
    ("DELETE", "/v1/me/objection"): Route(ME),
    ("PUT", "/v1/me/restriction"): Route(ME),
    ("DELETE", "/v1/me/restriction"): Route(ME),
    ("GET", "/v1/me/preferences"): Route(ME),
    ("PUT", "/v1/me/preferences"): Route(ME, {"likes": {"brands": ["a brand"]}}),
    ("DELETE", "/v1/me/preferences"): Route(ME),
    ("GET", "/v1/me/exclusions"): Route(ME),
    ("PUT", "/v1/me/exclusions/{order_line}"): Route(ME, {"reason": "gift"}, foreign=True),
    ("DELETE", "/v1/me/exclusions/{order_line}"): Route(ME, foreign=True),
    ("POST", "/v1/me/privacy-requests"): Route(ME, {"type": "access"}),
    ("GET", "/v1/me/privacy-requests/{request_id}"): Route(ME, foreign=True),
    ("DELETE", "/v1/me/privacy-requests/{request_id}"): Route(ME, foreign=True),
    ("GET", "/v1/me/privacy-requests/{request_id}/export"): Route(ME, foreign=True),
    ("POST", "/v1/events"): Route("events:write", {"events": [PURCHASE]}),
    ("POST", "/v1/consents"): Route("consents:write", {"consents": [NO]}, takes=("age_band", "state")),
    ("PUT", "/v1/items"): Route("catalogue:write", {"items": [{"item_id": "a jam", "sensitive": "none"}]}),
    ("PATCH", "/v1/items/{item_id}"): Route("catalogue:write", {"in_stock": False}),
}

NOBODYS = {
    "purpose": "train_models",
    "item_id": "tea",
    "order_line": "nobody's line",
    "decision_id": str(UUID(int=7, version=4)),
    "receipt_id": str(UUID(int=7, version=4)),
    "request_id": str(UUID(int=7, version=4)),
}
"""What stands in a path where nothing of anybody's is meant."""
