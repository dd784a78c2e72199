"""What the service says of decisions it has made, as OpenAPI shows it."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from considerate.consent.decision import Reason
from considerate.consent.purposes import Purpose
from considerate.serving.schemas import Basis, Input


class DecisionQuery(Input):
    """Which of the caller's decisions."""

    limit: Annotated[int, Field(ge=1, le=200, description="At most so many.")] = 50
    before: Annotated[UUID | None, Field(description="Only those older than this one: `next` of the page before.")] = (
        None
    )


class Decision(BaseModel):
    """One list that was served to the caller, and what it rested on."""

    decision_id: UUID
    at: datetime
    surface: str
    basis: Basis
    reason: Reason
    purposes: Annotated[list[Purpose], Field(description="Consents that were used.")]
    consent_epoch: int | None
    consent_seq: Annotated[int | None, Field(description="Position in the ledger of the consent that allowed it.")]
    notice_version: int | None
    model_version: str | None
    catalogue_version: int | None
    items: Annotated[list[str], Field(description="Best first; not kept where they would tell what was on the page.")]
    explanation: Annotated[str, Field(description="Where to ask why.")]


class Decisions(BaseModel):
    """The caller's own decisions, newest first."""

    decisions: list[Decision]
    next: Annotated[UUID | None, Field(description="`before` of the next page; null at the end.")]


class Link(BaseModel):
    """One call that changes something."""

    method: Literal["PUT", "DELETE", "GET"]
    href: str
    effect: str


class Evidence(BaseModel):
    """Something the caller did."""

    item_id: str
    kind: str
    at: datetime | None
    order_line: str | None
    exclude: Annotated[str | None, Field(description="PUT there, and it counts no longer; only for order lines.")]


class ExplainedItem(BaseModel):
    """One item of the list, and the caller's own acts that speak most for it."""

    item_id: str
    slot: int
    evidence: list[Evidence]


class ExplanationAnswer(BaseModel):
    """Why a list was as it was. It names the caller's own acts alone; no count, no score, nobody else."""

    decision: Decision
    evidence: Annotated[
        Literal["shown", "none", "withheld"],
        Field(description="none: nothing of the caller's was used; withheld: it may not be read today, see `why`."),
    ]
    why: Reason
    explained: Annotated[str, Field(description="The same in a sentence.")]
    items: list[ExplainedItem]
    change: Annotated[list[Link], Field(description="How to change what comes next.")]
