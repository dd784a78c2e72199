"""Names of what the second stage knows of a customer and a candidate, in the order of its columns."""

from dataclasses import dataclass

from considerate.ranking.history import Float32, Int32

GROUPS = ("item", "category_1", "category_2", "category_3", "brand")
"""What a customer's purchases are counted by: the item itself, three depths of its category, its brand."""

GROUP_COLUMNS = ("since", "visits_since", "visits", "fast", "share", "overdue", "per_visit", "fresh")
"""Of a customer and a group: days and visits since the last purchase in it; visits with one, and their decayed number;
its decayed share of her purchases; days since in units of her own gap, -1 before there is one; share of her visits
since the first; decayed number of items of it that were new to her when she bought them."""

ITEM_COLUMNS = (
    "buyers_7",
    "buyers_14",
    "buyers_28",
    "buyers_90",
    "buyers_all",
    "trend_7",
    "trend_28",
    "first_buyers_14",
    "first_buyers_28",
    "repeat_share",
    "gap_days",
    "events_per_buyer",
    "days_since_first_sale",
    "days_since_last_sale",
    "category_2_share",
    "category_3_share",
    "first_share_1",
    "first_share_2",
    "first_share_3",
    "first_buyers_7",
    "price",
)
"""Of an item: share of customers who bought it, or bought it for the first time, in so many days; how that moves; share
of its buyers who came back, usual gap, days per buyer; age; its share of the buyers, and of the first buyers, of its
category; log price."""

CUSTOMER_COLUMNS = (
    "visits",
    "items",
    "events_per_visit",
    "days_since_visit",
    "days_between_visits",
    "visits_28",
    "first_time_share",
    "price_level",
)
"""Of a customer: days with a purchase, distinct items, purchases per visit, days since the last and between visits,
visits in 28 days, share of first purchases among those, mean log price."""

PAIR_COLUMNS = ("due", "price_gap", "category_2_items", "category_3_items", "expected_1", "expected_2", "expected_3")
"""Of both: days since the last purchase in units of a gap between her own and the item's; log price above her usual;
items of the category that she has; her new items of the category x the item's share of what is first bought there."""

GAP = ITEM_COLUMNS.index("gap_days")
PRICE = ITEM_COLUMNS.index("price")


@dataclass(frozen=True, slots=True, eq=False)
class ItemSide:
    """What is known of each item, of no person.

    Attributes
    ----------
    columns
        (n_items, len(ITEM_COLUMNS)) float32.
    codes
        (n_items, len(GROUPS) - 1) int32: number of its category at each depth, and of its brand; -1 where unknown.
    """

    columns: Float32
    codes: Int32


def feature_names(components: tuple[str, ...]) -> tuple[str, ...]:
    """Name every feature of a candidate: scores of the components first, `of_best` as a share of her best."""
    return (
        *(f"{kind}.{name}" for name in components for kind in ("score", "of_best")),
        *(f"{group}.{column}" for group in GROUPS for column in GROUP_COLUMNS),
        *(f"of_item.{column}" for column in ITEM_COLUMNS),
        *(f"own.{column}" for column in CUSTOMER_COLUMNS),
        *(f"pair.{column}" for column in PAIR_COLUMNS),
    )
