"""The demo's world: a real year of till purchases moved to now, and consents simulated by a printed rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from considerate.consent.purposes import Purpose

SEED = 2017


def weeks_to_now(last: datetime, at: datetime) -> int:
    """Whole weeks by which `last` moves into the week before `at`, so that weekdays stay what they were."""
    return (at - last) // timedelta(weeks=1)


def shift_weeks(table: pa.Table, weeks: int) -> pa.Table:
    """Move the column `timestamp` of validated interactions forward by whole weeks."""
    column = table.schema.get_field_index("timestamp")
    moved = pc.add(table.column(column), pa.scalar(timedelta(weeks=weeks), pa.duration("us")))
    return table.set_column(column, table.schema.field(column), moved)


@dataclass(frozen=True, slots=True)
class Group:
    """Households that answered alike.

    Attributes
    ----------
    name
        How the screen calls them.
    share
        Share of all households, 0 to 1.
    granted
        Purposes they allowed.
    withdrawn
        Purposes they allowed first and withdrew later.
    """

    name: str
    share: float
    granted: tuple[Purpose, ...]
    withdrawn: tuple[Purpose, ...] = ()


EVERYTHING = (Purpose.PERSONALISE_ONSITE, Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE)
GROUPS = (
    Group("never asked, no record at all", 0.34, ()),
    Group("suggestions, training, till purchases", 0.52, EVERYTHING),
    Group("suggestions and till purchases, no training", 0.06, (Purpose.PERSONALISE_ONSITE, Purpose.LINK_IN_STORE)),
    Group("training and till purchases, no suggestions", 0.04, (Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE)),
    Group("allowed everything, withdrew later", 0.04, EVERYTHING, EVERYTHING),
)
"""Till purchases are read under `link_in_store`, so a household without it has no usable history here."""


def assign_groups(customer_ids: Sequence[str], seed: int = SEED) -> dict[str, Group]:
    """Deal every household into a group: a seeded shuffle of the sorted ids, cut at the groups' shares."""
    ordered = sorted(customer_ids)
    dealt = np.random.default_rng(seed).permutation(len(ordered))
    bounds = np.ceil(np.cumsum([group.share for group in GROUPS]) * len(ordered)).astype(int)
    group_of = np.searchsorted(bounds, np.arange(len(ordered)), side="right")
    return {ordered[row]: GROUPS[min(group, len(GROUPS) - 1)] for row, group in zip(dealt, group_of, strict=True)}
