"""What the service takes and gives, as OpenAPI shows it. A field that is not here is refused."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from considerate.consent.decision import ConsentState, Reason
from considerate.consent.purposes import Purpose

MAX_ID = 10_000
CLOCK_SKEW = timedelta(minutes=5)


def _number(value: Any) -> Any:
    if isinstance(value, (bool, str)):
        raise ValueError("must be a number")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
"""A whole number of a body: 7 or 7.0, as JSON counts; no text that looks like one."""
PLAIN_TEXT = r"^[^\x00-\x1f\x7f]*$"
"""No control character, as in loading: NUL ends a text in much software, a line break starts a new row in its logs."""


def _time_text(value: Any) -> Any:
    # A date has a dash inside; a count of seconds, which pydantic would read too, has none.
    if not isinstance(value, datetime) and not (isinstance(value, str) and "-" in value[1:]):
        raise ValueError("must be a time as text, such as 2026-05-01T12:00:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_time_text)]
"""A time of a body, with its zone; no number that counts seconds from somewhere."""
Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID, pattern=PLAIN_TEXT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PLAIN_TEXT)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e9, le=1e9)]
Basis = Literal["personalised", "stated_preferences", "non_personalised"]
PageKind = Literal["view", "click", "cart", "rating", "like", "dismiss"]
ShopKind = Literal["purchase", "return"]
EventStatus = Literal["stored", "duplicate", "not_recorded"]


class Input(BaseModel):
    """Something a caller sends: closed to fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ListQuery(Input):
    """Which list is asked for. Who asks is in the token alone."""

    surface: Annotated[str, Field(max_length=60, description="Place on the shop's pages, as in service.toml.")] = "home"
    n: Annotated[int, Field(ge=1, description="Items wanted; capped by the service.")] | None = None
    context: Annotated[list[Id], Field(max_length=50, description="Items on the page or in the cart.")] = []
    exclude: Annotated[list[Id], Field(max_length=200, description="Items that must not be in the list.")] = []
    category: Annotated[Name | None, Field(description="Only items of this category path or below it.")] = None


class MyListQuery(ListQuery):
    """A logged-in customer's query."""

    mode: Annotated[
        Literal["personalised", "non_personalised"],
        Field(description="non_personalised: one call away, whatever was consented to; no history is read."),
    ] = "personalised"


class ListedItem(BaseModel):
    """One suggestion. Scores and counts never leave the service."""

    item_id: str
    slot: Annotated[int, Field(description="Place in the list, from 0.")]
    because: Annotated[
        list[str] | None, Field(exclude_if=lambda items: items is None, description="Own items that speak most for it.")
    ] = None


class RecommendationAnswer(BaseModel):
    """A list and what it rests on. Refusing consent is never an error."""

    decision_id: UUID | None
    basis: Basis
    reason: Reason
    model_version: str | None
    consent_epoch: int | None
    gpc: Annotated[Literal["honoured", "not_signalled"], Field(description="What became of a Sec-GPC header.")]
    items: list[ListedItem]


class DefaultAnswer(BaseModel):
    """The same list for everyone who is logged out."""

    basis: Literal["non_personalised"]
    model_version: str | None
    items: list[ListedItem]


class PageEvent(Input):
    """Something a customer did on a page."""

    event_id: Id
    kind: PageKind
    item_id: Id
    value: Annotated[Number | None, Field(description="The rating, for kind rating.")] = None
    timestamp: Time | None = None
    decision_id: UUID | None = None
    surface: Name | None = None


class PageEvents(Input):
    """Events of the caller."""

    events: Annotated[list[PageEvent], Field(min_length=1)]


class ShopEvent(Input):
    """A purchase or return that an order system or a till reports."""

    customer_id: Id
    event_id: Id
    kind: ShopKind
    item_id: Id
    value: Annotated[Number | None, Field(gt=0, description="Quantity; positive for returns too.")] = None
    timestamp: Time | None = None
    channel: Literal["online", "store"] = "online"
    order_line: Id | None = None
    decision_id: UUID | None = None
    surface: Name | None = None


class ShopEvents(Input):
    """Events of many customers."""

    events: Annotated[list[ShopEvent], Field(min_length=1)]


class EventResult(BaseModel):
    """What became of one event."""

    event_id: str
    status: EventStatus


class EventResults(BaseModel):
    """What became of the events, in their order."""

    results: list[EventResult]


class Grant(Input):
    """A yes, bound to the notice that was shown."""

    notice_id: Name
    notice_version: Annotated[Whole, Field(ge=1)]
    locale: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)]


class PurposeState(BaseModel):
    """One switch."""

    purpose: Purpose
    state: ConsentState | Literal["none"]
    effective: Annotated[bool, Field(description="Whether it is acted upon right now.")]
    reason: Reason
    explicit: Annotated[bool, Field(description="Asked for in words of its own (GDPR 9(2)(a)).")]
    decided_at: datetime | None
    expires_at: datetime | None


class NoticeText(BaseModel):
    """The notice as it must be shown before a yes."""

    notice_id: str
    version: int
    locales: list[str]
    text: dict[str, str]
    text_sha256: dict[str, str]


class ConsentsAnswer(BaseModel):
    """Every switch of the caller, and the notice a new yes would be bound to."""

    consent_epoch: int
    gpc: Literal["honoured", "not_signalled"]
    consents: list[PurposeState]
    notice: NoticeText
    due: Annotated[list[Purpose], Field(description="Given before, to be asked about again under this notice.")]


class ConsentReceipt(BaseModel):
    """What was recorded: kept by the caller, it can be held against the ledger."""

    purpose: Purpose
    state: ConsentState | Literal["none"]
    changed: Annotated[bool, Field(description="False for a no where it was off already; recorded all the same.")]
    consent_epoch: int
    recorded_at: datetime
    receipt_id: Annotated[UUID | None, Field(description="For GET /v1/me/receipts/{receipt_id}.")]
    ledger_seq: int | None
    ledger_hash: str | None


class ConsentReceipts(BaseModel):
    """One receipt for each switch."""

    receipts: list[ConsentReceipt]


class Health(BaseModel):
    """Whether a worker can answer."""

    status: Literal["ok"]
