"""The notice: what a consent is bound to."""

import hashlib
from dataclasses import replace

import pytest

from considerate.consent.notices import NOTICE, NoticeShown, check_current, current_notice
from considerate.errors import StaleNotice


def test_the_notice_speaks_of_every_purpose_in_every_language() -> None:
    assert NOTICE.locales == ("en", "de")
    # A heading, five switches, and the rights.
    assert {locale: text.count("\n- ") for locale, text in NOTICE.texts.items()} == {"en": 5, "de": 5}


def test_a_changed_word_changes_the_hash() -> None:
    assert NOTICE.text_sha256("en") == hashlib.sha256(NOTICE.texts["en"].encode()).hexdigest()
    reworded = replace(NOTICE, texts={"en": NOTICE.texts["en"].replace("off", "on")})
    assert reworded.text_sha256("en") != NOTICE.text_sha256("en") != NOTICE.text_sha256("de")


def test_the_current_notice_is_current_in_each_language() -> None:
    assert check_current(current_notice()) is NOTICE
    assert check_current(current_notice("de")) is NOTICE


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (NoticeShown("terms", 1, "en"), r"notice_id 'terms': not a notice of this shop, must be one of considerate-"),
        (NoticeShown(NOTICE.notice_id, 0, "en"), r"notice_version 0: .* is at version 1; show that one and ask again"),
        (NoticeShown(NOTICE.notice_id, 2, "en"), r"notice_version 2: .* is at version 1; show that one and ask again"),
        (NoticeShown(NOTICE.notice_id, 1, "fr"), r"locale 'fr': .* is written in en, de; show one of these"),
    ],
)
def test_a_notice_that_is_not_current_is_stale(shown: NoticeShown, message: str) -> None:
    with pytest.raises(StaleNotice, match=message):
        check_current(shown)
