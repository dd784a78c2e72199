"""The shop's own notice: versions in files, and what a material change ends."""

from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from considerate.consent.decision import Policy, Reason, SubjectFacts, effective
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import NOTICE, NOTICES, NoticeShown
from considerate.consent.projection import read_current
from considerate.consent.publishing import check_published, newest_published, publish, read_notices, read_versions
from considerate.consent.purposes import Purpose
from considerate.errors import ConfigError, ConsentError, StaleNotice, StoreError
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.tables import consent_event, notice

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def write(folder: Path, version: int, material: str = "[]", *, name: str = "shop", locales: str = "en de") -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    day = f"2026-01-{version:02}T00:00:00Z"
    (folder / name / f"{version}.toml").write_text(f"valid_from = {day}\nmaterial = {material}\n")
    for locale in locales.split():
        (folder / name / f"{version}.{locale}.txt").write_text(f"Version {version} in {locale}: what we do.\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "notices"


def test_without_a_folder_the_built_in_notice_is_shown(folder: Path) -> None:
    assert read_notices(folder, at=AT) is NOTICES
    assert read_versions(folder, at=AT) == [NOTICE]


def test_the_newest_version_is_the_one_in_force(folder: Path) -> None:
    write(folder, 1)
    write(folder, 2, locales="en")
    found = read_notices(folder, at=AT)["shop"]
    assert (found.version, found.locales, found.texts["en"]) == (2, ("en",), "Version 2 in en: what we do.\n")
    assert [version.version for version in read_versions(folder, at=AT)] == [1, 2]


def test_the_built_in_notice_can_be_carried_on(folder: Path) -> None:
    write(folder, 2, '["train_models"]', name=NOTICE.notice_id)
    versions = read_versions(folder, at=AT)
    assert versions[0] is NOTICE
    assert versions[1].oldest_for(Purpose.TRAIN_MODELS) == 2
    assert versions[1].oldest_for(Purpose.EMAIL_CAMPAIGN) == 1


def facts_of(engine: Engine, ref: bytes) -> SubjectFacts:
    with reading(engine) as conn:
        return SubjectFacts(consents=read_current(conn, ref), age_band="adult")


@pytest.mark.parametrize("changed", [(), *((one,) for one in Purpose), *combinations(Purpose, 2), tuple(Purpose)])
def test_a_material_change_ends_the_grants_of_its_purposes_and_no_other(
    engine: Engine, keys: Keys, adults: list[bytes], folder: Path, changed: tuple[Purpose, ...]
) -> None:
    write(folder, 1)
    before = Policy(notices=read_notices(folder, at=AT))
    with writing(engine) as conn:
        for purpose in Purpose:
            grant(conn, keys, adults[0], purpose, notice=NoticeShown("shop", 1, "de"), at=AT, policy=before)
    facts = facts_of(engine, adults[0])
    assert all(effective(facts, purpose, at=AT, policy=before).allowed for purpose in Purpose)
    write(folder, 2, str([purpose.value for purpose in changed]))
    write(folder, 3)
    after = Policy(notices=read_notices(folder, at=AT))
    for purpose in Purpose:
        decision = effective(facts, purpose, at=AT, policy=after)
        if purpose in changed:
            assert decision.reason is Reason.NOTICE_CHANGED
        else:
            # A modifier falls with what it widens; never by a notice that did not change for it.
            assert decision.allowed or set(changed) & {Purpose.PERSONALISE_ONSITE, Purpose.TRAIN_MODELS}
    # Asked again under the new version, each of them counts again.
    with writing(engine) as conn:
        for purpose in changed:
            grant(conn, keys, adults[0], purpose, notice=NoticeShown("shop", 3, "en"), at=AT, policy=after)
    facts = facts_of(engine, adults[0])
    assert all(effective(facts, purpose, at=AT, policy=after).allowed for purpose in Purpose)


def test_all_is_every_purpose(folder: Path) -> None:
    write(folder, 1)
    write(folder, 2, '"all"')
    found = read_notices(folder, at=AT)["shop"]
    assert found.material
    assert {found.oldest_for(purpose) for purpose in Purpose} == {2}


def test_a_yes_to_the_version_before_is_stale(engine: Engine, keys: Keys, adults: list[bytes], folder: Path) -> None:
    write(folder, 1)
    write(folder, 2)
    policy = Policy(notices=read_notices(folder, at=AT))
    with writing(engine) as conn, pytest.raises(StaleNotice, match="notice_version 1: shop is at version 2; show that"):
        grant(conn, keys, adults[0], Purpose.TRAIN_MODELS, notice=NoticeShown("shop", 1, "en"), at=AT, policy=policy)


def test_each_text_is_put_down_with_its_hash_once(engine: Engine, folder: Path) -> None:
    write(folder, 1)
    write(folder, 2, '["train_models"]', locales="en")
    versions = read_versions(folder, at=AT)
    with writing(engine) as conn:
        assert publish(conn, versions) == 3
        assert publish(conn, versions) == 0
        rows = conn.execute(select(notice).order_by(notice.c.version, notice.c.locale)).all()
    assert [(row.version, row.locale, row.material) for row in rows] == [
        (1, "de", True),
        (1, "en", True),
        (2, "en", True),
    ]
    assert rows[2].text_sha256 == versions[1].text_sha256("en")


def test_a_text_that_was_changed_after_it_was_published_is_refused(engine: Engine, folder: Path) -> None:
    write(folder, 1)
    with writing(engine) as conn:
        publish(conn, read_versions(folder, at=AT))
        (folder / "shop" / "1.en.txt").write_text("Other words.")
        with pytest.raises(ConsentError, match=r"notice shop version 1 in en: its text was changed .* version 2"):
            publish(conn, read_versions(folder, at=AT))


def test_a_store_that_knows_a_later_version_refuses_the_notices_of_a_host_that_lacks_it(
    engine: Engine, keys: Keys, adults: list[bytes], folder: Path
) -> None:
    """Else a consent that version 2 ended would count again there."""
    write(folder, 2, '"all"', name=NOTICE.notice_id)
    with writing(engine) as conn:
        shown, at = NoticeShown(NOTICE.notice_id, 1, "en"), AT - timedelta(days=90)
        grant(conn, keys, adults[0], Purpose.TRAIN_MODELS, notice=shown, at=at, policy=Policy())
        publish(conn, read_versions(folder, at=AT))
        before = conn.execute(select(notice)).all()
        with pytest.raises(
            ConsentError, match=rf"notice {NOTICE.notice_id}: the store knows version 2, .* ends at 1; copy that folder"
        ):
            publish(conn, read_versions(folder.parent / "none", at=AT))
        assert conn.execute(select(notice)).all() == before


def test_a_notice_of_the_shop_does_not_give_way_to_the_built_in_one_because_its_folder_is_missing(
    engine: Engine, folder: Path
) -> None:
    write(folder, 1)
    with writing(engine) as conn:
        publish(conn, [NOTICE])
        publish(conn, read_versions(folder, at=AT))
        missing = read_versions(folder.parent / "none", at=AT)
        message = rf"notice shop: the store knows version 1, and there is no folder .* {NOTICE.notice_id}/2\.toml"
        with pytest.raises(ConsentError, match=message):
            check_published(conn, missing)
        # For good, and said so.
        write(folder.parent / "back", 2, name=NOTICE.notice_id)
        check_published(conn, read_versions(folder.parent / "back", at=AT))


def test_a_notice_is_replaced_by_one_that_takes_effect_later_and_by_no_other(engine: Engine, folder: Path) -> None:
    write(folder, 1)
    write(folder, 2)
    with writing(engine) as conn:
        publish(conn, read_versions(folder, at=AT))
        for day, refused in ((1, True), (2, True), (3, False)):
            other = folder.parent / f"from day {day}"
            write(other, 1, name="other")
            (other / "other" / "1.toml").write_text(f"valid_from = 2026-01-0{day}T00:00:00Z\n")
            if refused:
                with pytest.raises(
                    ConsentError,
                    match="notice shop: the store knows version 2, which is not older than other version 1",
                ):
                    publish(conn, read_versions(other, at=AT))
            else:
                assert publish(conn, read_versions(other, at=AT)) == 2
        with pytest.raises(ConsentError, match=r"notice other: the store knows version 1, .* has a later valid_from"):
            publish(conn, read_versions(folder, at=AT))


def test_publishing_needs_the_write_lock(engine: Engine) -> None:
    with reading(engine) as conn, pytest.raises(StoreError, match="write lock"):
        publish(conn, [NOTICE])


def test_a_no_before_any_yes_names_the_notice_in_force(
    engine: Engine, keys: Keys, adults: list[bytes], folder: Path
) -> None:
    with writing(engine) as conn:
        assert newest_published(conn) == NoticeShown(NOTICE.notice_id, NOTICE.version, "en")
        write(folder, 1, locales="de")
        write(folder, 2, locales="de fr")
        publish(conn, read_versions(folder, at=AT))
        withdraw(conn, keys, adults[0], Purpose.TRAIN_MODELS, at=AT)
        columns = (consent_event.c.notice_id, consent_event.c.notice_version, consent_event.c.locale)
        assert tuple(conn.execute(select(*columns)).one()) == ("shop", 2, "de")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda home: (home / "3.toml").write_text("valid_from = 2026-01-03T00:00:00Z"),
            r"3\.toml: version 2 is missing before it; put it there",
        ),
        (lambda home: (home / "1.toml").unlink(), r"shop: holds no version of the notice; write 1\.toml"),
        (lambda home: (home / "1.en.txt").unlink(), r"1\.toml: has no text; write it as 1\.en\.txt"),
        (lambda home: (home / "1.en.txt").write_text(" \n"), r"1\.en\.txt: is empty; write what customers"),
        (lambda home: (home / "1.en.txt").write_bytes(b"\xff"), r"1\.en\.txt: not readable text in UTF-8"),
        (lambda home: (home / "1.toml").write_text("valid_from = 2026-01-01"), r"1\.toml: valid_from = "),
        (lambda home: (home / "1.toml").write_text("material = []"), r"1\.toml: valid_from is missing; add it"),
        (lambda home: (home.parent / "other").mkdir(), r"notices: holds 2 folders; must hold one"),
        (
            lambda home: (home / "1.toml").write_text("valid_from = 2027-01-01T00:00:00Z"),
            r"1\.toml: valid_from = 2027-01-01T00:00:00\+00:00 lies ahead; put it there when it takes",
        ),
        (
            lambda home: (home / "1.toml").write_text('valid_from = 2026-01-01T00:00:00Z\nmaterial = ["everything"]'),
            r"1\.toml: material",
        ),
    ],
)
def test_a_folder_that_is_no_notice_says_what_is_wrong(folder: Path, change: object, message: str) -> None:
    assert callable(change)
    write(folder, 1, locales="en")
    change(folder / "shop")
    with pytest.raises(ConfigError, match=message):
        read_notices(folder, at=AT)


def test_a_version_from_before_the_one_before_it_is_refused(folder: Path) -> None:
    write(folder, 1)
    write(folder, 2)
    early = (AT - timedelta(days=400)).isoformat()
    (folder / "shop" / "2.toml").write_text(f"valid_from = {early}\n")
    with pytest.raises(ConfigError, match=r"2\.toml: valid_from lies before that of version 1; correct one of them"):
        read_notices(folder, at=AT)
