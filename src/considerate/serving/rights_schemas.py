"""What the routes of the rights take and give. A field that is not here is refused."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from considerate.serving.schemas import Id, Input, Name

MOST_STATED = 500
Stated = Annotated[list[Id], Field(max_length=MOST_STATED)]
StatedNames = Annotated[list[Name], Field(max_length=MOST_STATED)]


class StatedKeys(Input):
    """Items by id, categories by path, brands by name."""

    items: Stated = Field(default=[])
    categories: StatedNames = Field(default=[])
    brands: StatedNames = Field(default=[])


class Preferences(Input):
    """What a customer says she likes and does not like; it replaces what she said before."""

    likes: StatedKeys = StatedKeys()
    dislikes: StatedKeys = StatedKeys()


class RightAnswer(BaseModel):
    """Whether an objection or a restriction holds."""

    right: Literal["objection", "restriction"]
    active: bool
    since: datetime | None
    consent_epoch: int


class ExclusionWish(Input):
    """Why a purchase must not count."""

    reason: Literal["gift", "not_me", "other"] = "other"


class ExclusionAnswer(BaseModel):
    """A purchase that counts for nothing."""

    order_line: str
    item_ids: list[str]
    reason: str
    excluded_at: datetime


class ExclusionsAnswer(BaseModel):
    """All of them."""

    exclusions: list[ExclusionAnswer]


class RequestWish(Input):
    """What is asked for: a copy of everything (GDPR 15, 20), or erasure (GDPR 17)."""

    type: Literal["access", "erasure"]


class RequestAnswer(BaseModel):
    """How far a request is; statuses are those of OpenDSR."""

    request_id: UUID
    type: Literal["access", "erasure"]
    status: Literal["pending", "in_progress", "completed", "cancelled"]
    received_at: Annotated[datetime | None, Field(description="None of an erasure that is done: nothing is kept.")]
    due_at: Annotated[datetime | None, Field(description="Answered by then: one month (GDPR 12(3)).")]
    completed_at: datetime | None
    export: Annotated[str | None, Field(description="Path of the finished export: one fetch, after a fresh login.")]
    export_until: datetime | None
    next_rebuild_by: Annotated[datetime | None, Field(description="No model in use was fitted with her after this.")]
