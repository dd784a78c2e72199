"""The record of processing (GDPR 30): everything that is kept or written, what for, how long, and who sees it.

A table of the store or a file of the installation's folder without an entry fails a test, and so does an entry that an
erasure contradicts. `privacy.record` writes it out.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from considerate.privacy.exports import KEPT as EXPORT_KEPT
from considerate.privacy.tombstones import REBUILD_WITHIN
from considerate.store.answers import KEPT as ANSWER_KEPT

Kind = Literal["table", "file"]


class Basis(StrEnum):
    """On what ground of the GDPR something is kept or used; the value stands in the record."""

    CONSENT = "consent"
    DUTY = "duty"
    INTEREST = "interest"
    SHOP = "the shop's own"


class Seer(StrEnum):
    """Who sees something; the value stands in the record."""

    CUSTOMER = "customer"
    SERVICE = "service"
    FITS = "fits"
    OPERATOR = "operator"


class AtErasure(StrEnum):
    """What becomes of a customer's part when she is erased; the value stands in the record."""

    DELETED = "deleted"
    CUT = "the link to her is cut, and what it listed is emptied"
    EMPTIED = "emptied to a bare reference"
    STAYS = "stays, and leads to nobody any more"
    TIMED = "stays until its time is over"
    REFITTED = "the next fit is without her"


@dataclass(frozen=True, slots=True)
class Entry:
    """Tables or files of one kind.

    Attributes
    ----------
    kind
        Tables of the store or of the decisions, or files.
    names
        Of tables; or patterns of paths below the installation's folder, where `*` stands for folders too.
    what
        What they hold.
    """

    kind: Kind
    names: tuple[str, ...]
    what: str


@dataclass(frozen=True, slots=True)
class Processed(Entry):
    """An entry about people.

    Attributes
    ----------
    purpose
        What for.
    bases
        On what grounds, proposed for the shop to confirm.
    kept
        For how long; in braces, what the service TOML says.
    seen_by
        Who sees it.
    at_erasure
        What becomes of it when she is erased.
    remark
        What `at_erasure` leaves unsaid.
    """

    purpose: str
    bases: tuple[Basis, ...]
    kept: str
    seen_by: tuple[Seer, ...]
    at_erasure: AtErasure
    remark: str = ""


_HOUR = 3600
_UNTIL_ERASED = "until she is erased"
_RESTRICTED = "while she has use restricted, longer"
_CUSTOMER, _SERVICE, _FITS, _OPERATOR = Seer
_ALL = (_CUSTOMER, _SERVICE, _FITS, _OPERATOR)


def _hours(seconds: float) -> str:
    return f"{seconds / _HOUR:g} hours"


STORE_FILES = ("considerate.db*", "decisions.db*")
"""Where the tables lie with SQLite; with PostgreSQL they lie in its database."""

OF_PEOPLE: tuple[Processed, ...] = (
    Processed(
        "table",
        ("subject",),
        "a random reference; the shop's customer id as a keyed hash and sealed; age band; since when she objects, has "
        "use restricted, or sent a privacy signal",
        "finding what she allows; heeding her age and her rights",
        (Basis.DUTY,),
        _UNTIL_ERASED,
        _ALL,
        AtErasure.EMPTIED,
    ),
    Processed(
        "table",
        ("subject_key",),
        "a key of her own, wrapped under the installation's",
        "sealing her evidence, so that it can be destroyed",
        (Basis.DUTY,),
        _UNTIL_ERASED,
        (_SERVICE, _OPERATOR),
        AtErasure.DELETED,
    ),
    Processed(
        "table",
        ("consent_event",),
        "the ledger: each yes and no with its purpose, notice, language, way and time, chained by hashes",
        "showing what was allowed, and when",
        (Basis.DUTY,),
        "as long as the store",
        _ALL,
        AtErasure.STAYS,
    ),
    Processed(
        "table",
        ("consent_evidence",),
        "what shows that she decided, such as the form she used; sealed under her key",
        "showing consent",
        (Basis.DUTY,),
        _UNTIL_ERASED,
        (_CUSTOMER, _OPERATOR),
        AtErasure.DELETED,
    ),
    Processed(
        "table",
        ("consent_current",),
        "her last decision on each purpose, worked out from the ledger",
        "asking consent at every request and fit",
        (Basis.DUTY,),
        _UNTIL_ERASED,
        _ALL,
        AtErasure.DELETED,
    ),
    Processed(
        "table",
        ("interaction",),
        "what she bought, returned, rated, viewed, clicked, liked, dismissed or put in a cart: product, time, order "
        "line, online or till",
        "`personalise_onsite`, `train_models`; rows of a till only with `link_in_store`, rows on sensitive products "
        "only with `sensitive_categories`",
        (Basis.CONSENT, Basis.SHOP),
        f"{{events_days}} days; {_RESTRICTED}",
        _ALL,
        AtErasure.DELETED,
    ),
    Processed(
        "table",
        ("preference",),
        "items, categories and brands that she says she likes or does not like",
        "none so far: shown to her and put into her copy, read by no list and no fit",
        (Basis.CONSENT,),
        "until she removes it or is erased",
        (_CUSTOMER, _SERVICE, _OPERATOR),
        AtErasure.DELETED,
    ),
    Processed(
        "table",
        ("event_exclusion",),
        "purchases that must not count, and why: a gift, not hers, other",
        "leaving them out of her lists and of fits",
        (Basis.DUTY,),
        "until she takes it back or is erased",
        _ALL,
        AtErasure.DELETED,
    ),
    Processed(
        "table",
        ("privacy_request",),
        "what she asked for by right: type, status, times, steps",
        "answering within a month, and showing it",
        (Basis.DUTY,),
        "{requests_days} days after the answer",
        (_CUSTOMER, _SERVICE, _OPERATOR),
        AtErasure.EMPTIED,
        "that an erasure was asked for and done stays under another id",
    ),
    Processed(
        "table",
        ("tombstone",),
        "the reference of somebody erased, the ledger's position, the times of erasure and of the next fit",
        "keeping the erased away, also after a backup was restored",
        (Basis.DUTY,),
        "as long as the store",
        (_SERVICE, _FITS, _OPERATOR),
        AtErasure.STAYS,
    ),
    Processed(
        "table",
        ("idempotent_answer",),
        "pseudonyms of caller, key and request; the answer that was given",
        "doing a repeated request once",
        (Basis.INTEREST,),
        _hours(ANSWER_KEPT.total_seconds()),
        (_SERVICE, _OPERATOR),
        AtErasure.DELETED,
    ),
    Processed(
        "table",
        ("served_decision",),
        "each list of somebody logged in, personalised or not: when, where, on what ground, from which model, which "
        "products",
        "explaining a list and answering for it",
        (Basis.DUTY,),
        f"{{decisions_days}} days; {_RESTRICTED}",
        (_CUSTOMER, _SERVICE, _OPERATOR),
        AtErasure.CUT,
    ),
    Processed(
        "file",
        ("tombstones.jsonl", "wishes.jsonl"),
        "outside the database: the tombstones once more; references of who objects, restricts use or is a minor",
        "no backup takes it back",
        (Basis.DUTY,),
        "longer than any backup",
        (_SERVICE, _FITS, _OPERATOR),
        AtErasure.STAYS,
    ),
    Processed(
        "file",
        ("exports/*",),
        "copies of one customer's data, each a zip archive",
        "handing it out to her",
        (Basis.DUTY,),
        f"until it is fetched, {_hours(EXPORT_KEPT.total_seconds())} at most",
        (_CUSTOMER, _OPERATOR),
        AtErasure.DELETED,
    ),
    Processed(
        "file",
        ("quarantine/*",),
        "rows that a load or an import refused, as they came, with the reason",
        "putting them right",
        (Basis.SHOP,),
        "{quarantine_days} days",
        (_OPERATOR,),
        AtErasure.TIMED,
    ),
    Processed(
        "file",
        ("models/*", "mlartifacts/*"),
        "fitted models: arrays over products, no row, vector or id of a person",
        "making lists (`train_models`)",
        (Basis.CONSENT,),
        "served for {max_age_days} days after the fit; versions until the operator deletes them",
        (_SERVICE, _FITS, _OPERATOR),
        AtErasure.REFITTED,
        f"due within {_hours(REBUILD_WITHIN.total_seconds())}",
    ),
)
"""What holds something about a person."""

OF_NOBODY: tuple[Entry, ...] = (
    Entry("table", ("item", "catalogue_state"), "the catalogue, and how often it has changed"),
    Entry("table", ("notice",), "the hash of every text that customers were shown"),
    Entry("table", ("ledger_checkpoint",), "signed positions of the ledger"),
    Entry("table", ("key_check", "alembic_version"), "which keys and which schema the store belongs to"),
    Entry("file", ("keys/*",), "the installation's keys: whoever has them and the database can name customers"),
    Entry("file", ("checkpoints/*",), "signed positions of the ledger, to be kept elsewhere too"),
    Entry("file", ("notices/*",), "the shop's own notice, which it writes itself"),
    Entry("file", ("mlflow.*",), "runs and versions: settings, figures, numbers of people, a keyed digest"),
    Entry("file", ("optuna.*", "comparisons/*"), "trials and comparisons of models: settings and figures"),
    Entry("file", ("run/*",), "the running service's settings (a database password may be among them) and counts"),
    Entry("file", ("demo/*", "demo.lock"), "an installation of the demo's own: households of a public data set"),
    Entry("file", ("scrub.due", "scrub.due.*"), "a note that deleted bytes are still to be overwritten"),
)
"""What holds nothing about anybody."""
