"""A database that was rolled back is told from one that was not, and nothing that is run on it covers that up."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, func, select
from tests.privacy.known_people import ANNA, AT, BEN
from tests.rolling_back import forget_events, forget_wishes
from typer.testing import CliRunner

from considerate.cli.main import app
from considerate.consent.checkpoints import sign_head
from considerate.consent.decision import Policy
from considerate.consent.ledger import grant, head
from considerate.consent.notices import NOTICE, current_notice
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError, StoreError
from considerate.privacy.installation import Installation, installation_of
from considerate.privacy.kept_wishes import KeptWish, exercise_outside, keep_wishes
from considerate.privacy.rolled_back import (
    MOST,
    NEWEST,
    Outside,
    check_not_rolled_back,
    check_taken_back,
    read_what_is_outside,
)
from considerate.privacy.tombstones import Tombstone, keep_outside
from considerate.store.engine import open_store, reading
from considerate.store.keys import load_keys
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import interaction, notice, subject

Lose = Callable[[Installation, Engine, bytes], None]

WRITERS = ("consent import consents.csv", "load shop.toml --into-store", "ledger replay", "rights retention")
REPLAY = "1 objections, restrictions or ages of minors are not in this database.*: considerate rights replay"
LOAD = """
name = "shop"
[source]
format = "csv"
path = "orders.csv"
[source.columns]
customer_id = "customer"
item_id = "item"
timestamp = "time"
order_line = "line"
"""


def strangers(number: int) -> list[bytes]:
    return [b"stranger" + n.to_bytes(8, "big") for n in range(number)]


def object_and_forget(place: Installation, engine: Engine, ref: bytes) -> None:
    with place.transaction() as conn:
        _, wish = exercise_outside(conn, place.home, ref, "objection", at=AT, on=True)
    keep_wishes(place.home, [wish])
    forget_wishes(engine, ref)


def look(engine: Engine, outside: Outside, home: Path) -> None:
    with reading(engine) as conn:
        check_not_rolled_back(conn, outside.newest(), home / "keys")


def test_whom_a_backup_never_knew_hides_nobody_whom_it_knows(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    object_and_forget(place, engine, people[ANNA])
    keep_wishes(place.home, [KeptWish(ref, "objection", True, 1, AT) for ref in strangers(2 * NEWEST)])
    with pytest.raises(StoreError, match=REPLAY):
        look(engine, read_what_is_outside(place.home), place.home)


def test_nor_do_the_erased_whom_it_never_knew(place: Installation, engine: Engine, people: dict[str, bytes]) -> None:
    keep_outside(place.home, [Tombstone(ref, 1, AT) for ref in (people[BEN], *strangers(2 * NEWEST))])
    with pytest.raises(StoreError, match="1 erased customers are in this database again"):
        look(engine, read_what_is_outside(place.home), place.home)


def test_nor_does_one_who_changes_her_mind_all_day(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    object_and_forget(place, engine, people[ANNA])
    for epoch in range(1, NEWEST + 2):
        keep_wishes(place.home, [KeptWish(people[BEN], "restriction", epoch % 2 == 1, epoch, AT)])
    keep_wishes(place.home, [KeptWish(people[BEN], "restriction", False, NEWEST + 2, AT)])
    with pytest.raises(StoreError, match=REPLAY):
        look(engine, read_what_is_outside(place.home), place.home)


def test_a_look_costs_no_more_however_long_the_files_are(place: Installation, engine: Engine) -> None:
    refs = strangers(10 * MOST)
    wishes = [KeptWish(ref, "objection", True, 1, AT) for ref in refs]
    outside = Outside(None, [Tombstone(ref, 1, AT) for ref in refs], wishes)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    look(engine, outside, place.home)
    assert len(asked) <= 2 * MOST / NEWEST + 2


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A store that knows Anna, with her feed and her consents to bring in from the working directory."""
    url = f"sqlite:///{tmp_path / 'considerate.db'}"
    monkeypatch.chdir(tmp_path)
    for name, value in (("HOME", str(tmp_path)), ("DATABASE_URL", url)):
        monkeypatch.setenv(f"CONSIDERATE_{name}", value)
    said = f"{ANNA},train_models,refused,2026-03-01T09:30:00Z,{NOTICE.notice_id},1,en,adult\n"
    for file, content in (
        ("shop.toml", LOAD),
        ("orders.csv", f"customer,item,time,line\n{ANNA},milk,2026-01-05T10:00:00,1\n"),
        ("consents.csv", f"customer_id,purpose,state,event_time,notice_id,notice_version,locale,age_band\n{said}"),
    ):
        (tmp_path / file).write_text(content, encoding="utf-8")
    made = open_store(url, create=True)
    yield made
    made.dispose()


@pytest.fixture
def shops_place(shop: Engine, tmp_path: Path) -> Installation:
    return installation_of(shop, load_keys(tmp_path / "keys", create=True), tmp_path)


def lose_an_objection(place: Installation, engine: Engine, ref: bytes) -> None:
    object_and_forget(place, engine, ref)


def lose_consents(place: Installation, engine: Engine, ref: bytes) -> None:
    with place.transaction() as conn:
        grant(conn, place.keys, ref, Purpose.TRAIN_MODELS, notice=current_notice(), at=AT, policy=Policy())
    sign_head(engine, place.home / "checkpoints", place.home / "keys", at=AT)
    forget_events(engine, left=0)


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize(
    ("lose", "refusal"),
    [
        (lose_an_objection, REPLAY),
        (lose_consents, "the ledger ends at 0, but its end was 1 .* considerate rights replay"),
    ],
)
def test_nothing_is_written_to_a_database_that_forgot_something(
    shop: Engine, shops_place: Installation, command: str, lose: Lose, refusal: str
) -> None:
    with shops_place.transaction() as conn:
        ref = ensure_subjects(conn, shops_place.keys, [ANNA], age_bands={ANNA: "adult"}, at=AT)[ANNA]
    lose(shops_place, shop, ref)
    before = written(shop)
    done = CliRunner().invoke(app, command.split())
    assert isinstance(done.exception, ConsentError | StoreError)
    assert re.search(refusal, str(done.exception))
    assert ANNA not in str(done.exception)
    assert written(shop) == before


@pytest.mark.parametrize("command", WRITERS)
def test_what_was_put_in_force_again_stays_so_when_more_is_brought_in(
    shop: Engine, shops_place: Installation, command: str
) -> None:
    with shops_place.transaction() as conn:
        ref = ensure_subjects(conn, shops_place.keys, [ANNA], age_bands={ANNA: "adult"}, at=AT)[ANNA]
    object_and_forget(shops_place, shop, ref)
    for arguments in ("rights replay", command):
        done = CliRunner().invoke(app, arguments.split())
        assert done.exit_code == 0, done.output
    check_taken_back(shop, shops_place.home)
    with reading(shop) as conn:
        assert conn.execute(select(subject.c.objected_at)).scalar_one() is not None


def written(engine: Engine) -> list[int]:
    """Count what any of the commands would add, and what would raise an epoch."""
    with reading(engine) as conn:
        counts = [conn.execute(select(func.count()).select_from(table)).scalar_one() for table in (interaction, notice)]
        return [*counts, head(conn).seq, conn.execute(select(func.sum(subject.c.consent_epoch))).scalar_one()]
