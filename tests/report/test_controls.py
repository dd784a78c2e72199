"""No row of the report holds where the service answers errors alone, or lists with nothing on them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from tests.report import attack_rows, caching_rows, identity_rows, kept_rows, rights_rows, serving_rows
from tests.report.consent_report import attempt
from tests.report.identity_rows import outputs, told_of
from tests.report.rows import ROWS
from tests.report.shop import Shop, free_port

from considerate.consent.purposes import Purpose
from considerate.ranking.history import Channel, Kind
from considerate.store.engine import writing
from considerate.store.interactions import NewEvent, append_events
from considerate.store.tables import subject

MODULES = {part.__name__ for part in (serving_rows, identity_rows, attack_rows, kept_rows, rights_rows, caching_rows)}
ASK_NOBODY = {"attack 24", "43"}
"""Rows that look at files and tables alone."""
ASKING = [one for one in ROWS if one.attempt.__module__ in MODULES and one.number not in ASK_NOBODY]
HEADERS = {"Cache-Control": "no-store", "Vary": "Authorization, Sec-GPC"}


class Useless(Shop):
    """A shop whose store is as it should be, before which stands a service that gives every caller one answer."""

    answer: tuple[int, Any] = (503, {"type": "about:blank", "status": 503})

    def start(self) -> None:
        """Serve nothing."""
        self.log.touch()

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        status, body = self.answer
        return httpx.Response(status, json=body, headers=HEADERS, request=httpx.Request(method, f"http://shop{path}"))

    def buy(self, customer: str, items: Sequence[str], *, channel: str = "online", more: str = "") -> httpx.Response:
        at = datetime.now(UTC) - timedelta(hours=1)
        where = Channel.ONLINE if channel == "online" else Channel.STORE
        lines = [f"{channel}-{more}{place}" for place in range(len(items))]
        events = [
            NewEvent(line, item, Kind.PURCHASE, at, channel=where, order_line=line)
            for line, item in zip(lines, items, strict=True)
        ]
        ref = self.know(customer)
        with writing(self.engine) as conn:
            append_events(conn, ref, events, at=at)
        return self.call("POST", "/v1/events")

    def paths(self) -> dict[str, Any]:
        return {"/v1/me/recommendations": {"get": {}}, "/v1/me/consents/{purpose}": {"put": {}, "delete": {}}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Useless]:
    home: Path = tmp_path_factory.mktemp("useless")
    (home / "keys").mkdir()
    laid_out = Useless("sqlite", f"sqlite:///{home / 'considerate.db'}", home, free_port(), 1)
    laid_out.lay_out()
    laid_out.start()
    yield laid_out
    laid_out.close()


@pytest.mark.parametrize("one", ASKING, ids=lambda one: one.number)
def test_no_row_holds_where_every_answer_is_an_error(shop: Useless, one: Any) -> None:
    shop.answer = Useless.answer
    assert attempt(one, shop, True).violations


@pytest.mark.parametrize("number", ["1", "21", "22", "29", "30", "38", "41"])
@pytest.mark.parametrize("basis", ["personalised", "non_personalised"])
def test_no_row_about_lists_holds_where_every_list_is_empty(shop: Useless, number: str, basis: str) -> None:
    shop.answer = (200, {"basis": basis, "reason": "mode_requested", "items": [], "decision_id": None})
    (one,) = (row for row in ROWS if row.number == number)
    assert attempt(one, shop, True).violations


def test_an_id_that_is_stored_unsealed_is_found_in_every_guise(shop: Useless) -> None:
    customer = "row-33-unsealed"
    ref = shop.know(customer, Purpose.PERSONALISE_ONSITE)
    assert told_of(outputs(shop), ["row-33-", customer]) == []
    for plain in (customer.encode(), customer.encode("utf-16-le"), customer.encode().hex().encode()):
        with writing(shop.engine) as conn:
            conn.execute(update(subject).where(subject.c.subject_ref == ref).values(customer_id_enc=plain))
        assert {found.split(":")[0] for found in told_of(outputs(shop), ["row-33-", customer])} == {"row-33-", customer}
