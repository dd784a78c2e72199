"""Histories written down event by event, and the shortest manifest."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from considerate.ranking.history import Histories, History, Kind
from considerate.ranking.manifest import ConsentBasis, Manifest
from considerate.ranking.weighting import Weighting

NOW = datetime(2026, 3, 1, tzinfo=UTC)

Event = tuple[int, float] | tuple[int, float, Kind] | tuple[int, float, Kind, float]


def history_of(events: Sequence[Event]) -> History:
    """Build a history from (item, days before NOW[, kind[, value]])."""
    ordered = sorted(events, key=lambda event: -event[1])
    return History(
        item=np.array([event[0] for event in ordered], np.int32),
        kind=np.array([event[2] if len(event) > 2 else Kind.PURCHASE for event in ordered], np.int8),
        value=np.array([event[3] if len(event) > 3 else np.nan for event in ordered], np.float32),
        time=np.array([NOW.timestamp() - 86_400 * event[1] for event in ordered], np.float64),
        position=np.full(len(ordered), -1, np.int64),
        channel=np.zeros(len(ordered), np.int8),
    )


def histories_of(parts: Sequence[History]) -> Histories:
    """Put histories together."""

    def joined(name: str, dtype: type) -> np.ndarray:
        return np.concatenate([*(getattr(part, name) for part in parts), np.empty(0)]).astype(dtype)

    return Histories(
        indptr=np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64),
        item=joined("item", np.int32),
        kind=joined("kind", np.int8),
        value=joined("value", np.float32),
        time=joined("time", np.float64),
        position=joined("position", np.int64),
        channel=joined("channel", np.int8),
    )


def without(history: History, event: int) -> History:
    """Leave one event out."""
    keep = np.arange(len(history)) != event
    return replace(
        history,
        item=history.item[keep],
        kind=history.kind[keep],
        value=history.value[keep],
        time=history.time[keep],
        position=history.position[keep],
        channel=history.channel[keep],
    )


def random_history(rng: np.random.Generator, n_items: int, n_events: int, *, ratings: bool = False) -> History:
    """Draw events at random: all kinds but returns."""
    kinds = [Kind.PURCHASE, Kind.PURCHASE, Kind.VIEW, Kind.LIKE, Kind.DISMISS] + ([Kind.RATING] * 3 if ratings else [])
    return history_of(
        [
            (int(rng.integers(n_items)), float(rng.uniform(0, 200)), kinds[int(k)], float(rng.integers(1, 6)))
            for k in rng.integers(len(kinds), size=n_events)
        ]
    )


def manifest_of(kind: str, n_items: int, weighting: Weighting | None = None, **settings: object) -> Manifest:
    """Describe an artefact that was not fitted."""
    return Manifest(
        kind=kind,
        algorithm="test",
        weighting=weighting,
        settings=settings,
        items=n_items,
        data_digest="",
        consent=ConsentBasis(source="assumed", k_item=1, k_pair=1, customers=0, rows=0),
    )
