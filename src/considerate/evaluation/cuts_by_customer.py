"""Protocols that cut every customer's events on their own, or part the customers: for data without times."""

from dataclasses import replace

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.dataset.splits import of_customers, of_events, split_before
from considerate.errors import DataError
from considerate.evaluation.folds import Cut
from considerate.evaluation.item_sets import CHOSEN, chosen_items, customers_per_item
from considerate.ranking.history import Bool, Histories, Int64, Kind
from considerate.settings.protocols import FixedProtocol, HeldOutCustomersProtocol, LeaveLastOutProtocol


def leave_last_out(dataset: Dataset, protocol: LeaveLastOutProtocol, *, final: bool) -> Cut:
    """Ask for each customer's last choice; for development it is dropped entirely, and the one before it asked for.

    An item that nobody chose before counts all the same: it can be right and is never found.
    """
    if not final:
        dataset, _ = split_before(dataset, np.isin(dataset.events.kind, CHOSEN))
    before, behind = split_before(dataset, np.isin(dataset.events.kind, CHOSEN))
    # Each side on its own: a return after the last choice must not take a purchase out of what was known before it.
    train, judged = before.net_of_returns(), behind.net_of_returns()
    known = np.flatnonzero(np.diff(train.events.indptr))
    asked_for = judged.events.take(known)
    n_items = len(dataset.items)
    n_asked_for = np.bincount(chosen_items(asked_for, n_items).items, minlength=n_items)
    counts = customers_per_item(train) + n_asked_for >= protocol.min_customers
    return Cut(train, train.events.take(known), asked_for, known, train.end, counts)


def held_out_customers(
    dataset: Dataset, protocol: HeldOutCustomersProtocol, *, final: bool, rng: np.random.Generator
) -> Cut:
    """Ask customers whom no fit knows; for development other ones, and those of the test part are dropped entirely.

    The items that count are those that the customers in the fit chose.

    Raises
    ------
    DataError
        Too few customers have `min_events` choices.
    """
    dataset = dataset.net_of_returns()
    liked = is_choice(dataset.events, protocol.min_rating)
    n_liked = np.bincount(dataset.events.customer[liked], minlength=len(dataset.customers))
    drawn = rng.permutation(in_order_of_ids(dataset, np.flatnonzero(n_liked >= protocol.min_events)))
    first, second = drawn[: protocol.held_out], drawn[protocol.held_out : 2 * protocol.held_out]
    asked, kept = (first, drawn[protocol.held_out :]) if final else (second, drawn[2 * protocol.held_out :])
    if not len(kept):
        raise DataError(
            f"held_out_customers: held_out = {protocol.held_out} leaves train empty: {len(drawn)} customers have "
            f">= {protocol.min_events} choices, and test and development part take held_out each; lower held_out"
        )
    # The fit must not depend on the draw's order.
    asked, kept = np.sort(asked), np.sort(kept)
    learnt = of_customers(of_events(dataset, liked), kept)
    counts = customers_per_item(learnt) >= protocol.min_customers
    train = learnt if protocol.ratings == "positive" else of_customers(dataset, kept)
    events = dataset.events.take(asked)
    before, judged = _parted(events, is_choice(events, protocol.min_rating) & counts[events.item], protocol)
    return Cut(train, before, judged, asked, train.end, counts)


def is_choice(events: Histories, min_rating: float | None) -> Bool:
    """(n_events,) whether the customer chose the item: a purchase, a like, or a rating of at least `min_rating`."""
    chosen: Bool = np.isin(events.kind, CHOSEN)
    if min_rating is not None:
        chosen &= (events.kind != Kind.RATING) | (events.value >= min_rating)
    return chosen


def in_order_of_ids(dataset: Dataset, rows: Int64) -> Int64:
    """Sort (m,) customers by id: as numbers where every id is one, else as text."""
    ids = [dataset.customers.ids[row] for row in rows.tolist()]
    if all(id_.isascii() and id_.isdigit() for id_ in ids):
        return rows[np.array(sorted(range(len(ids)), key=lambda place: int(ids[place])), np.int64)]
    return rows[np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)]


def _parted(events: Histories, counted: Bool, protocol: HeldOutCustomersProtocol) -> tuple[Histories, Histories]:
    """What is known of each customer, and the choices asked for."""
    if protocol.history == "none":
        return replace(Histories.empty(len(events)), traits=events.traits), events.where(counted)
    customer = events.customer
    sizes = np.bincount(customer[counted], minlength=len(events))
    running: Int64 = np.cumsum(counted) - counted  # choices before each event, over all customers
    place = running - np.concatenate([[0], np.cumsum(sizes)])[customer]
    # A hair below, so that four fifths of 15 are 12 whatever floats make of it.
    known = np.ceil(protocol.history_share * sizes - 1e-9).astype(np.int64)[customer]
    # Of the events that are no choice, those before the first choice that is asked for.
    before = place < known + ~counted
    asked_for = events.where(counted & ~before)
    return events.where(before & counted if protocol.ratings == "positive" else before), asked_for


def fixed(dataset: Dataset, protocol: FixedProtocol, public_test: Dataset | None, rng: np.random.Generator) -> Cut:
    """Ask for the public test part, or for a random share of the events of train."""
    dataset = dataset.net_of_returns()
    if public_test is not None:
        train, judged = dataset, _aligned(public_test.net_of_returns(), dataset)
    else:
        held_out = rng.random(dataset.events.n_events) < protocol.development_share
        train, judged = of_events(dataset, ~held_out), dataset.events.where(held_out)
    counts = customers_per_item(train) >= protocol.min_customers
    return Cut(train, train.events, judged, np.arange(len(dataset.customers)), None, counts)


def _aligned(test: Dataset, train: Dataset) -> Histories:
    """Give the events of `test` under the indices of `train`; what train does not know is nobody's target."""
    events = replace(test.events.reindexed(train.items.indices(test.items.ids)), traits=None)
    rows = train.customers.indices(test.customers.ids)
    of_train = np.full(len(train.customers), len(test.customers), np.int64)
    of_train[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    with_nobody = replace(events, indptr=np.append(events.indptr, events.indptr[-1]))
    return with_nobody.take(of_train)
