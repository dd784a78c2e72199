"""Setting the demo's stage: a folder of its own, a store with a real year, consents by the printed rule, a cast."""

import fcntl
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from sqlalchemy import Engine

from considerate.consent.decision import ConsentState
from considerate.consent.events import ConsentEvent
from considerate.consent.ledger import append_many
from considerate.consent.notices import current_notice
from considerate.demo.tour import Cast
from considerate.demo.world import EVERYTHING, GROUPS, SEED, Group, assign_groups, shift_weeks, weeks_to_now
from considerate.errors import StoreError
from considerate.interactions.catalogue import legal_age_bands, read_customers, read_items
from considerate.interactions.columns import Columns, Interactions
from considerate.interactions.loading import load_into_store
from considerate.interactions.reading import read_interactions
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.store.catalogue import upsert_items
from considerate.store.engine import open_store, writing
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import ensure_subjects

ASKED_BEFORE = timedelta(days=90)
WITHDREW_BEFORE = timedelta(days=10)


@dataclass(frozen=True, slots=True)
class World:
    """What the tour needs to know of the store.

    Attributes
    ----------
    cast
        Households of the tour.
    titles
        Item id -> title.
    bought
        The consenting household of the cast -> item ids, newest first.
    """

    cast: Cast
    titles: Mapping[str, str]
    bought: Mapping[str, Sequence[str]]


@contextmanager
def empty_home(folder: Path) -> Iterator[Path]:
    """Empty the demo's own folder and hold it until the block ends, so that two demos never share it.

    Raises
    ------
    StoreError
        Another demo is running in it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{folder}: another demo is running in it; stop that one with Ctrl-C first") from error
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder


def build_world(config: DataConfig, environment: Environment, console: Console, *, at: datetime) -> World:
    """Load the data set, moved to now, and record the simulated consents."""
    interactions = read_interactions(config, environment, quarantine=environment.home / "quarantine", at=at)
    last = pc.max(interactions.table[Columns.TIMESTAMP]).as_py()
    weeks = weeks_to_now(last, at)
    interactions = Interactions(shift_weeks(interactions.table, weeks), interactions.report)
    catalogue = read_items(config, environment)
    age_bands = legal_age_bands(read_customers(config, environment), at)
    keys = load_keys(environment.home / "keys", create=True)
    engine = open_store(environment.database_url, create=True)
    try:
        loaded = load_into_store(interactions, engine, keys, at=at, age_bands=age_bands)
        with writing(engine) as conn:
            upsert_items(conn, catalogue)
        console.print(
            f"Loaded {loaded.inserted:,} real till purchases of {loaded.customers:,} households and "
            f"{len(catalogue.item_ids):,} products in {loaded.seconds:.0f} s."
        )
        console.print(
            f"Their dates are moved forward by {weeks} whole weeks: the last purchase, {last:%A %Y-%m-%d}, now lies on "
            f"{last + timedelta(weeks=weeks):%A %Y-%m-%d}."
        )
        customers = pc.unique(interactions.table[Columns.CUSTOMER]).to_pylist()
        groups = assign_groups(customers)
        record_consents(engine, keys, groups, at=at)
    finally:
        engine.dispose()
    _say_rule(groups, console)
    titles = {item: " ".join(title.split()) for item, title in zip(catalogue.item_ids, catalogue.title, strict=True)}
    cast = _cast(interactions.table, groups)
    bought = {cast.consenting: _newest_first(interactions.table, cast.consenting)}
    return World(cast, titles, bought)


def record_consents(engine: Engine, keys: Keys, groups: Mapping[str, Group], *, at: datetime) -> None:
    """Write every household's simulated decisions into the ledger, grants first, then withdrawals."""
    events = []
    with writing(engine) as conn:
        refs = ensure_subjects(conn, keys, list(groups), at=at)
        for state, before in ((ConsentState.GIVEN, ASKED_BEFORE), (ConsentState.WITHDRAWN, WITHDREW_BEFORE)):
            for household, group in groups.items():
                purposes = group.granted if state is ConsentState.GIVEN else group.withdrawn
                events += [
                    ConsentEvent(
                        refs[household],
                        purpose,
                        state,
                        current_notice(),
                        at - before,
                        actor="demo",
                        evidence={"simulated_by": "make demo", "seed": SEED},
                    )
                    for purpose in purposes
                ]
        append_many(conn, keys, events, at=at)


def _say_rule(groups: Mapping[str, Group], console: Console) -> None:
    counts = Counter(group.name for group in groups.values())
    console.print(
        f"[bold]Consents are simulated[/bold]: nobody in this data set was ever asked. The rule, with seed "
        f"{SEED}: shuffle the households, then deal them out by share."
    )
    for group in GROUPS:
        console.print(f"  {group.share:4.0%}  {counts[group.name]:5,}  {group.name}")
    console.print("Purchases at a till are used only with `link_in_store`, so whoever allows anything allows that too.")


def _cast(table: pa.Table, groups: Mapping[str, Group]) -> Cast:
    """Choose households with a middling history: enough to say something, not the shop's heaviest buyers."""
    sizes = table.group_by(Columns.CUSTOMER).aggregate([(Columns.ITEM, "count_distinct")])
    columns = (sizes[name].to_pylist() for name in (Columns.CUSTOMER, f"{Columns.ITEM}_count_distinct"))
    middling = sorted(customer for customer, items in zip(*columns, strict=True) if 100 <= items <= 400)
    agreed = [
        customer for customer in middling if groups[customer].granted == EVERYTHING and not groups[customer].withdrawn
    ]
    unasked = tuple(sorted(customer for customer, group in groups.items() if not group.granted))
    return Cast(consenting=agreed[0], withdrawing=agreed[1], buying=agreed[2], unasked=unasked)


def _newest_first(table: pa.Table, customer: str) -> list[str]:
    own = table.filter(pc.equal(table[Columns.CUSTOMER], customer)).sort_by([(Columns.TIMESTAMP, "descending")])
    return list(dict.fromkeys(own[Columns.ITEM].to_pylist()))
