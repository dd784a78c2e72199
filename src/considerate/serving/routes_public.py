"""What anybody may know of the service: what its lists depend on, and that it heeds the privacy signal."""

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from considerate.consent.decision import gpc_denies
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.serving.gpc import LAST_UPDATE
from considerate.serving.models import Served
from considerate.serving.resources import Resources
from considerate.serving.signals import FEATURES, SIGNALS, Origin, weights_in_words

CACHED = "public, max-age=60"

_GOALS: Mapping[str, str] = {
    "repeat": "products worth buying again",
    "new": "products you have not bought or rated",
    "all": "both, as they come",
}

RULES = (
    "Without your permission (personalise_onsite) nothing of yours is read; the list is the same for everybody.",
    "Filters come last on every list: out of stock, age limits, sensitive products, one variant of a product.",
    "What you dismissed stays away until you like, rate or buy it, or put it in a cart.",
    "A model knows products, never people: it is fitted on purchases of customers who allow train_models, on no "
    "product that fewer than k_item of them bought, and on no explicit pair that fewer than k_pair of them did.",
    "No price, no stock and no order of search results depends on you.",
)


class GpcSupport(BaseModel):
    """The Global Privacy Control support resource."""

    gpc: bool
    lastUpdate: Annotated[str, Field(description="RFC 3339 date of the last change.")]


class SignalText(BaseModel):
    """One thing that a list can depend on."""

    name: str
    origin: Origin
    what: str
    read_under: list[Purpose]
    in_use: bool
    change: str


class PurposeText(BaseModel):
    """One switch."""

    purpose: Purpose
    explicit: bool
    gpc_denies: Annotated[bool, Field(description="A Global Privacy Control signal switches it off.")]
    days: Annotated[int, Field(description="After so many days a yes ends by itself.")]
    widens: Annotated[list[Purpose], Field(description="Useless unless one of these is on.")]


class ModelText(BaseModel):
    """The model in use."""

    version: str
    algorithm: str
    weights: Annotated[dict[str, str], Field(description="How much an event weighs, in words.")]
    features: Annotated[dict[str, list[str]], Field(description="What it works out from the signals, by name.")]
    k_item: int
    k_pair: int


class Policies(BaseModel):
    """What the shop has decided."""

    unknown_age: Literal["deny", "adult"]
    gpc_strict: bool
    because: Annotated[int, Field(description="Own products named as a reason, at most.")]
    events_days: int
    decisions_days: int


class Transparency(BaseModel):
    """What lists depend on, how much, and how to change it; made from the running configuration."""

    rules: list[str]
    surfaces: Annotated[dict[str, str], Field(description="Place on the pages: what its list is for.")]
    signals: list[SignalText]
    purposes: list[PurposeText]
    policies: Policies
    model: ModelText | None


def public_routes(resources: Resources) -> APIRouter:
    """Routes that need no token and tell everybody the same."""
    router = APIRouter(tags=["public"])
    config = resources.config
    policy = resources.policy

    @router.get("/.well-known/gpc.json", summary="The service heeds Global Privacy Control")
    async def gpc(response: Response) -> GpcSupport:
        """As the specification of the signal asks."""
        response.headers["Cache-Control"] = CACHED
        return GpcSupport(gpc=True, lastUpdate=LAST_UPDATE.isoformat())

    @router.get("/v1/transparency/recommender", summary="What lists depend on, and how to change it")
    async def transparency(response: Response) -> Transparency:
        """Main parameters, their weight in words, and the call that changes each."""
        response.headers["Cache-Control"] = CACHED
        served = resources.models.current()
        return Transparency(
            rules=list(RULES),
            surfaces={surface: _GOALS[goal] for surface, goal in config.surfaces.items()},
            signals=[
                SignalText(
                    name=signal.name,
                    origin=signal.origin,
                    what=signal.what,
                    read_under=list(signal.read_under),
                    in_use=signal.in_use,
                    change=signal.change,
                )
                for signal in SIGNALS
            ],
            purposes=[
                PurposeText(
                    purpose=purpose,
                    explicit=rule.explicit,
                    gpc_denies=gpc_denies(purpose, policy),
                    days=rule.ttl_days,
                    widens=list(rule.requires),
                )
                for purpose, rule in PURPOSE_RULES.items()
            ],
            policies=Policies(
                unknown_age=config.policy.unknown_age,
                gpc_strict=config.policy.gpc_strict,
                because=config.lists.because,
                events_days=config.retention.events_days,
                decisions_days=config.retention.decisions_days,
            ),
            model=None if served is None else _model_text(served),
        )

    return router


def _model_text(served: Served) -> ModelText:
    manifest = served.artefact.manifest
    features = FEATURES if manifest.kind == "two_stage" else {}
    return ModelText(
        version=served.version,
        algorithm=manifest.algorithm,
        weights=weights_in_words(manifest.weighting),
        features={group: list(names) for group, names in features.items()},
        k_item=manifest.consent.k_item,
        k_pair=manifest.consent.k_pair,
    )
