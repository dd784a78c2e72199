"""What the second stage is told of each item: how many buy it lately, how often they come back, where it belongs."""

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.ranking.history import Float64, Int32, Kind
from considerate.ranking.two_stage_columns import ITEM_COLUMNS, ItemSide
from considerate.ranking.weighting import SECONDS_PER_DAY

SHRINKAGE = 10.0
"""So many customers of average behaviour are added to each item's."""

USUAL_GAP_DAYS = 30.0
DEPTHS = 3
SEPARATOR = " > "


def item_side(dataset: Dataset) -> ItemSide:
    """Measure the items on the events of `dataset`, as of its last event."""
    codes = _codes(dataset)
    events = dataset.events.where(dataset.events.kind == Kind.PURCHASE)
    n, n_items = len(events), len(dataset.items)
    end = 0.0 if dataset.end is None else dataset.end.timestamp()
    age = np.maximum(end - events.time, 0.0) / SECONDS_PER_DAY
    pair = events.customer * n_items + events.item
    order = np.argsort(pair, kind="stable")
    age, pair = age[order], pair[order]
    opens = np.diff(pair, prepend=-1) > 0
    starts = np.flatnonzero(opens)
    item = (pair[starts] % max(n_items, 1)).astype(np.int64)
    first, last = age[starts], age[np.append(starts[1:], len(pair)) - 1] if len(starts) else age[:0]
    day = np.floor(age)
    new_day = opens.copy()
    new_day[1:] |= day[1:] != day[:-1]
    days = np.add.reduceat(new_day.astype(np.int64), starts) if len(starts) else np.empty(0, np.int64)
    active = max(n, 1)

    def share(of: Float64, within: float) -> Float64:
        return np.bincount(item[of < within], minlength=n_items) / active

    within = {within: share(last, within) for within in (7.0, 14.0, 28.0, 90.0, np.inf)}
    repeats = days > 1
    gap = (first - last)[repeats] / (days[repeats] - 1)
    every = np.bincount(item, minlength=n_items)
    again = np.bincount(item[repeats], minlength=n_items)
    usual = float(np.log(np.maximum(gap, 1.0)).mean()) if len(gap) else float(np.log(USUAL_GAP_DAYS))
    log_gap = np.bincount(item[repeats], np.log(np.maximum(gap, 1.0)), minlength=n_items)
    log_gap = np.where(again >= dataset.consent.k_item, (log_gap + SHRINKAGE * usual) / (again + SHRINKAGE), usual)
    back = float(repeats.mean()) if len(repeats) else 0.5
    oldest, newest = np.zeros(n_items), np.full(n_items, 1000.0)
    np.maximum.at(oldest, item, first)
    np.minimum.at(newest, item, last)
    prior = SHRINKAGE / active
    columns = {
        "buyers_7": within[7.0],
        "buyers_14": within[14.0],
        "buyers_28": within[28.0],
        "buyers_90": within[90.0],
        "buyers_all": within[np.inf],
        "trend_7": np.log((within[7.0] * 4 + prior) / (within[28.0] + prior)),
        "trend_28": np.log((within[28.0] * 90 / 28 + prior) / (within[90.0] + prior)),
        "first_buyers_14": share(first, 14.0),
        "first_buyers_28": share(first, 28.0),
        "repeat_share": (again + SHRINKAGE * back) / (every + SHRINKAGE),
        "gap_days": np.exp(log_gap),
        "events_per_buyer": np.bincount(item, days, minlength=n_items) / np.maximum(every, 1),
        "days_since_first_sale": oldest,
        "days_since_last_sale": newest,
        "category_2_share": _share_of_group(within[28.0], codes[:, 1], prior),
        "category_3_share": _share_of_group(within[28.0], codes[:, 2], prior),
        "first_share_1": _share_of_group(share(first, 28.0), codes[:, 0], prior),
        "first_share_2": _share_of_group(share(first, 28.0), codes[:, 1], prior),
        "first_share_3": _share_of_group(share(first, 28.0), codes[:, 2], prior),
        "first_buyers_7": share(first, 7.0),
        "price": _log_price(dataset),
    }
    return ItemSide(np.stack([columns[name] for name in ITEM_COLUMNS], axis=1).astype(np.float32), codes)


def _share_of_group(buyers: Float64, code: Int32, prior: float) -> Float64:
    known = code >= 0
    total = np.bincount(code[known], buyers[known], minlength=1)
    return np.where(known, buyers / (total[np.maximum(code, 0)] + prior), 0.0)


def _log_price(dataset: Dataset) -> Float64:
    price = dataset.catalogue.aligned(dataset.items.ids).price.astype(np.float64)
    known = np.isfinite(price) & (price > 0)
    usual = float(np.median(np.log(price[known]))) if known.any() else 0.0
    return np.where(known, np.log(np.where(known, price, 1.0)), usual)


def _codes(dataset: Dataset) -> Int32:
    catalogue = dataset.catalogue.aligned(dataset.items.ids)
    paths = [tuple(part for part in path.split(SEPARATOR) if part) for path in catalogue.category.tolist()]
    columns = [[path[: depth + 1] if len(path) > depth else None for path in paths] for depth in range(DEPTHS)]
    columns.append([(brand,) if brand else None for brand in catalogue.brand.tolist()])
    return np.stack([_numbered(column) for column in columns], axis=1)


def _numbered(names: list[tuple[str, ...] | None]) -> Int32:
    number = {name: i for i, name in enumerate(sorted({name for name in names if name is not None}))}
    return np.array([-1 if name is None else number[name] for name in names], np.int32)
