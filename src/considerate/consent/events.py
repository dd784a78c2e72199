"""Ledger events: what is recorded of one decision, and how it is hashed into the chain.

    hash_n = SHA256("clr.v1" || hash_(n-1) || JCS(event_n))

with JCS the canonical JSON of RFC 8785. A subject enters the hashed text only as a random reference and as a commitment
to the evidence under the subject's own key: once that key is destroyed the chain still verifies, and says nothing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import rfc8785
from sqlalchemy import LargeBinary

from considerate.consent.decision import ConsentState
from considerate.consent.notices import NoticeShown
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.errors import ConsentError
from considerate.store.tables import consent_event, to_micros

Method = Literal["web", "app", "store", "api", "gpc", "one_click", "expiry", "admin", "erasure", "import"]

SCHEMA_VERSION = 1
GENESIS = bytes(32)
"""What the first event is chained to."""

_SAFE_INTEGER = 2**53 - 1


class Head(NamedTuple):
    """The end of the ledger: seq 0 and 32 zero bytes while it is empty."""

    seq: int
    hash: bytes


EMPTY = Head(0, GENESIS)


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """One decision about one purpose, to be appended.

    Attributes
    ----------
    subject_ref
        Whose decision.
    purpose, state
        About what, and what holds afterwards.
    notice
        What was read before.
    event_time
        When the person acted; an import brings times of the past.
    method, actor
        By which way, and who acted: `customer`, or a role of the shop. Never a name or an id.
    evidence
        Plain JSON that shows the decision later; sealed under the subject's key.
    jurisdiction
        Law under which it was asked, such as `EU`.
    event_id
        16 bytes; random if None. An import derives it, so that the same record is recognised.
    """

    subject_ref: bytes
    purpose: Purpose
    state: ConsentState
    notice: NoticeShown
    event_time: datetime
    method: Method = "web"
    actor: str = "customer"
    evidence: Mapping[str, Any] | None = None
    jurisdiction: str | None = None
    event_id: bytes | None = None

    @property
    def expires_at(self) -> datetime | None:
        """When a grant ends by itself."""
        if self.state is not ConsentState.GIVEN:
            return None
        return self.event_time + timedelta(days=PURPOSE_RULES[self.purpose].ttl_days)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as the ledger has it: what a receipt says.

    Attributes
    ----------
    seq, event_id, hash
        Its place in the ledger.
    purpose, state, event_time, expires_at
        What was decided.
    consent_epoch
        The subject's epoch after it.
    changed
        False for a no to what was off already.
    """

    seq: int
    event_id: bytes
    hash: bytes
    purpose: Purpose
    state: ConsentState
    event_time: datetime
    expires_at: datetime | None
    consent_epoch: int
    changed: bool = True


HASHED: tuple[str, ...] = tuple(
    sorted(column.name for column in consent_event.columns if column.name not in ("prev_hash", "hash"))
)
"""Columns of a ledger row that its hash covers, in the order of canonical JSON."""
_RAW = tuple(isinstance(consent_event.c[name].type, LargeBinary) for name in HASHED)


def canonical_row(values: Sequence[Any]) -> bytes:
    """Give the canonical JSON of a ledger row.

    Parameters
    ----------
    values
        The row's `HASHED` columns in that order; bytes become lower-case hex.

    Notes
    -----
    A row is flat and holds nothing but ASCII keys, text, whole numbers and nulls. For such objects the C encoder of
    the standard library writes exactly the bytes of RFC 8785, at a tenth of the time (a property test compares them).
    """
    plain = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in zip(HASHED, values, strict=True)
    }
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def chain_hash(previous: bytes, canonical: bytes) -> bytes:
    """Give the 32-byte hash of an event that follows the one with hash `previous`."""
    return hashlib.sha256(b"clr.v1" + previous + canonical).digest()


def is_chained(row: Sequence[Any], previous: bytes) -> bool:
    """Whether a ledger row is what was once appended after the event with hash `previous`.

    Parameters
    ----------
    row
        `prev_hash`, `hash` and the `HASHED` columns in that order, as the database holds them. SQLite lets any type
        into a column, and bytes are hashed as their hex: text in their place is a forgery with the same hash.
    """
    before, hashed, *values = row
    typed = all(value is None or isinstance(value, bytes) is raw for value, raw in zip(values, _RAW, strict=True))
    return typed and bool(before == previous and hashed == chain_hash(previous, canonical_row(values)))


def canonical_evidence(evidence: Mapping[str, Any]) -> bytes:
    """Give evidence as canonical JSON (RFC 8785).

    Raises
    ------
    ConsentError
        It is not plain JSON.
    """
    try:
        return rfc8785.dumps(dict(evidence))
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise ConsentError(
            "evidence: must be plain JSON (text, numbers, lists, objects); correct the caller"
        ) from error


def row_values(
    event: ConsentEvent, *, seq: int, event_id: bytes, at: datetime, commitment: bytes | None
) -> dict[str, Any]:
    """Give the ledger columns of an event, but for the chain's own two.

    Raises
    ------
    ConsentError
        A time outside the years that canonical JSON can hold, or text that is not Unicode.
    """
    rule = PURPOSE_RULES[event.purpose]
    values = {
        "seq": seq,
        "event_id": event_id,
        "subject_ref": event.subject_ref,
        "purpose_id": event.purpose.value,
        "purpose_version": rule.version,
        "notice_id": event.notice.notice_id,
        "notice_version": event.notice.notice_version,
        "locale": event.notice.locale,
        "state": event.state.value,
        "event_type": "explicit" if rule.explicit else "expressed",
        "method": event.method,
        "actor": event.actor,
        "event_time": to_micros(event.event_time),
        "recorded_at": to_micros(at),
        "expires_at": None if event.expires_at is None else to_micros(event.expires_at),
        "jurisdiction": event.jurisdiction,
        "evidence_commit": commitment,
        "schema_version": SCHEMA_VERSION,
    }
    for name, value in values.items():
        if isinstance(value, int) and abs(value) > _SAFE_INTEGER:
            raise ConsentError(f"{name} = {value}: must lie within 2**53; check the clock or the record's time")
        if isinstance(value, str) and not value.isprintable():
            raise ConsentError(f"{name}: holds characters that cannot be printed; send plain text")
    return values
