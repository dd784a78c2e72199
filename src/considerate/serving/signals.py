"""The register of everything that a list can depend on: what it is, under what permission, and how to change it.

The transparency page is made from it. A field of `History`, `Wish`, `SubjectFacts` or `Shelf` without an entry fails a
test, and so does an entry without a field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from considerate.consent.purposes import Purpose
from considerate.ranking.two_stage_columns import (
    CUSTOMER_COLUMNS,
    GROUP_COLUMNS,
    GROUPS,
    ITEM_COLUMNS,
    PAIR_COLUMNS,
)
from considerate.ranking.weighting import Weighting

Origin = Literal["history", "stated", "request", "account", "catalogue"]

_ONSITE, _STORE, _SENSITIVE = Purpose.PERSONALISE_ONSITE, Purpose.LINK_IN_STORE, Purpose.SENSITIVE_CATEGORIES
_EXCLUDE = "Exclude a purchase: PUT /v1/me/exclusions/{order_line}; or turn personalise_onsite off."
_STATE = "PUT or DELETE /v1/me/preferences."
_PAGE = "Asked for by the page, not kept."
_SHOP = "The shop's own catalogue; the same for everybody."


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that a list can depend on.

    Attributes
    ----------
    name
        As the code calls it.
    origin
        Whence it comes.
    what
        In words.
    change
        How the customer changes it or keeps it out.
    read_under
        Purposes that must be in force, all of them; none where nothing of the person is read.
    in_use
        False for what the code could read and this service never does.
    """

    name: str
    origin: Origin
    what: str
    change: str
    read_under: tuple[Purpose, ...] = ()
    in_use: bool = True


def _own(name: str, what: str, change: str = _EXCLUDE, *more: Purpose) -> Signal:
    return Signal(name, "history", what, change, (_ONSITE, *more))


def _unread(name: str, what: str, change: str = _STATE) -> Signal:
    return Signal(name, "stated", what, change, (_ONSITE,), in_use=False)


HISTORY: tuple[Signal, ...] = (
    _own("item", "Which products you bought, rated, viewed, clicked, liked, dismissed or put in a cart."),
    _own("kind", "Which of these it was."),
    _own("value", "How many you bought, or how you rated."),
    _own("time", "When it was."),
    _own("position", "In which order it was, where no time is known."),
    _own("channel", "Online or at a till.", "Turn link_in_store off: what you bought at a till is not read.", _STORE),
    _own("order_line", "The line of your order: to explain a list and to let you exclude a purchase, never to rank."),
    _unread("attributes", "Age band, region and the like.", "Nothing to change: this service reads none."),
    _unread("liked_items", "Products you said you like."),
    _unread("refused_items", "Products you said you do not like."),
    _unread("liked_categories", "Categories you said you like."),
    _unread("refused_categories", "Categories you said you do not like."),
)
"""Fields of `ranking.history.History`."""

REQUEST: tuple[Signal, ...] = (
    Signal("goal", "request", "What the place on the page is for: something new, something again, or both.", _PAGE),
    Signal("n", "request", "How many products fit.", _PAGE),
    Signal("context", "request", "Products on the page or in the cart.", _PAGE),
    Signal("exclude", "request", "Products that the page shows already.", _PAGE),
    Signal("category", "request", "The category of the page.", _PAGE),
    Signal("personalised", "request", "Whether this one list may be your own.", "Ask with mode=non_personalised."),
    Signal("gpc", "request", "Your browser's privacy signal (Sec-GPC).", "A setting of your browser."),
    Signal("because", "request", "How many of your own products are named as a reason.", "A setting of the shop."),
)
"""Fields of `serving.lists.Wish`."""

ACCOUNT: tuple[Signal, ...] = (
    Signal("consents", "account", "What you allow.", "PUT or DELETE /v1/me/consents/{purpose}; holds at once."),
    Signal("age_band", "account", "Whether you are an adult: minors are never profiled.", "Let the shop correct it."),
    Signal("state", "account", "Whether your data is being erased.", "POST /v1/me/privacy-requests."),
    Signal("objected", "account", "Whether you object to the use of your data.", "PUT or DELETE /v1/me/objection."),
    Signal("restricted", "account", "Whether you restrict its use.", "PUT or DELETE /v1/me/restriction."),
    Signal(
        "gpc_at",
        "account",
        "Whether one of your browsers sent the privacy signal before.",
        "A later yes to a purpose wins, for that purpose.",
    ),
)
"""Fields of `consent.decision.SubjectFacts`: they decide what may be read, never the order of a list."""

CATALOGUE: tuple[Signal, ...] = (
    Signal("item_ids", "catalogue", "Which products there are.", _SHOP),
    Signal("sold", "catalogue", "Whether a product is in stock.", _SHOP),
    Signal("limits", "catalogue", "Age limits: applied last, on every list.", _SHOP),
    Signal(
        "sensitive",
        "catalogue",
        "Whether a product can say something about health, beliefs or private life: neither read nor shown.",
        "Turn sensitive_categories on, in words of its own.",
        (_SENSITIVE,),
    ),
    Signal("group", "catalogue", "Variants of one product: a list shows one of them.", _SHOP),
    Signal("categories", "catalogue", "Categories, where a page asks for one.", _SHOP),
)
"""Fields of `serving.shelves.Shelf`."""

SIGNALS = (*HISTORY, *REQUEST, *ACCOUNT, *CATALOGUE)

FEATURES: Mapping[str, tuple[str, ...]] = {
    "from your purchases": tuple(f"own.{column}" for column in CUSTOMER_COLUMNS),
    "from your purchases of the product, its category or brand": tuple(
        f"{group}.{column}" for group in GROUPS for column in GROUP_COLUMNS
    ),
    "of you and the product": tuple(f"pair.{column}" for column in PAIR_COLUMNS),
    "of the product, the same for everybody": tuple(f"of_item.{column}" for column in ITEM_COLUMNS),
}
"""What a model of two stages works out from the signals; with the scores of its components, all it looks at."""


def weights_in_words(weighting: Weighting | None) -> dict[str, str]:
    """Say how much each kind of event, its age and its rating weigh.

    >>> weights_in_words(None)
    {'events': 'as the parts of the model decide, each by its own rule'}
    >>> words = weights_in_words(Weighting(half_life_days=30))
    >>> words["purchase"], words["view"], words["dismiss"], words["return"]
    ('most', 'little', 'against', 'takes the purchase back')
    >>> words["age"]
    'an event loses half its weight in 30 days'
    """
    if weighting is None:
        return {"events": "as the parts of the model decide, each by its own rule"}
    most = max((abs(weight) for weight in weighting.kinds.values()), default=0.0) or 1.0
    words: dict[str, str] = {str(kind): _in_words(weight / most) for kind, weight in weighting.kinds.items()}
    words["return"] = "takes the purchase back"
    if weighting.half_life_days is not None:
        words["age"] = f"an event loses half its weight in {weighting.half_life_days:g} days"
    if weighting.half_life_events is not None:
        words["order"] = f"an event loses half its weight with {weighting.half_life_events:g} later ones"
    if weighting.rating_slope:
        words["rating value"] = "the further above your own mean, the more it weighs"
    return words


def _in_words(share: float) -> str:
    if share < 0:
        return "against"
    if share == 0:
        return "nothing"
    return "most" if share > 0.9 else "much" if share >= 0.4 else "little"
