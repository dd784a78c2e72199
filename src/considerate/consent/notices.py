"""The notice a customer reads before deciding: what a consent is bound to.

A consent names a notice, its version and its language; the hash of the text shows later which words were read.
A material change names the purposes it changes: a consent to one of them that was given under an older version stops
being effective, and every other stays as it is.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from considerate.consent.purposes import Purpose
from considerate.errors import StaleNotice


@dataclass(frozen=True, slots=True)
class Notice:
    """One version of a notice.

    Attributes
    ----------
    notice_id, version
        Its name, and the version that is current.
    oldest_valid
        The oldest version since which nothing material has changed for any purpose.
    material
        Whether this version changed something that customers must be asked about again.
    valid_from
        When it took effect.
    texts
        Locale -> text as shown.
    oldest_of
        Purpose -> the oldest version since which nothing material has changed for it, where that is not `oldest_valid`.
    """

    notice_id: str
    version: int
    oldest_valid: int
    material: bool
    valid_from: datetime
    texts: Mapping[str, str]
    oldest_of: Mapping[Purpose, int] = field(default_factory=dict)

    def oldest_for(self, purpose: Purpose) -> int:
        """Give the oldest version under which a consent to `purpose` still holds."""
        return max(self.oldest_valid, self.oldest_of.get(purpose, self.oldest_valid))

    @property
    def locales(self) -> tuple[str, ...]:
        """Languages in which it can be shown."""
        return tuple(self.texts)

    def text_sha256(self, locale: str) -> str:
        """Give the hex SHA-256 of the text in UTF-8."""
        return hashlib.sha256(self.texts[locale].encode()).hexdigest()


_ENGLISH = """\
How we use what you buy, if you let us

You decide each of these on its own. All are off until you turn them on, the shop works the same either way, and you
can change your mind at any time with one click; that takes effect at once.

- Suggestions for you: we read your own orders and clicks to suggest products on our pages.
- Learning from purchases: your orders, together with those of many others, teach our suggestions which products go
  together. What is learnt is about products; no profile of you is kept in it. After you turn this off, the next
  learning, within 7 days, no longer includes you.
- Purchases in our stores: the two uses above may include what you bought at the till with your customer card.
- E-mail: we send you product suggestions by e-mail. Each message has a link that ends this.
- Sensitive products: the uses above may include products that can say something about your health, beliefs or private
  life. Without this switch we leave them out of both.

You can ask us for a copy of your data, and have it corrected or erased.
"""

_GERMAN = """\
Wie wir deine Einkäufe verwenden, wenn du es erlaubst

Du entscheidest über jeden Punkt einzeln. Alle sind ausgeschaltet, bis du sie einschaltest; der Shop funktioniert in
jedem Fall gleich. Du kannst deine Wahl jederzeit mit einem Klick ändern, das gilt sofort.

- Vorschläge für dich: Wir lesen deine eigenen Bestellungen und Klicks, um dir auf unseren Seiten Produkte
  vorzuschlagen.
- Lernen aus Einkäufen: Deine Bestellungen lehren unsere Vorschläge zusammen mit denen vieler anderer, welche Produkte
  zusammenpassen. Gelernt wird über Produkte; ein Profil von dir bleibt darin nicht zurück. Nach dem Ausschalten
  enthält das nächste Lernen, spätestens nach 7 Tagen, dich nicht mehr.
- Einkäufe in unseren Filialen: Die beiden Verwendungen oben dürfen umfassen, was du mit deiner Kundenkarte an der
  Kasse gekauft hast.
- E-Mail: Wir schicken dir Produktvorschläge per E-Mail. Jede Nachricht hat einen Link, der das beendet.
- Sensible Produkte: Die Verwendungen oben dürfen Produkte umfassen, die etwas über deine Gesundheit, deine
  Überzeugungen oder dein Privatleben aussagen können. Ohne diesen Schalter lassen wir sie bei beiden weg.

Du kannst eine Kopie deiner Daten verlangen und sie berichtigen oder löschen lassen.
"""

NOTICE = Notice(
    notice_id="considerate-suggestions",
    version=1,
    oldest_valid=1,
    material=True,
    valid_from=datetime(2026, 1, 1, tzinfo=UTC),
    texts=MappingProxyType({"en": _ENGLISH, "de": _GERMAN}),
)
"""The one built-in notice."""

NOTICES: Mapping[str, Notice] = MappingProxyType({NOTICE.notice_id: NOTICE})


@dataclass(frozen=True, slots=True)
class NoticeShown:
    """Which notice a customer had before her when she decided."""

    notice_id: str
    notice_version: int
    locale: str


def current_notice(locale: str = "en") -> NoticeShown:
    """Name the built-in notice in its current version."""
    return NoticeShown(NOTICE.notice_id, NOTICE.version, locale)


def check_current(shown: NoticeShown, notices: Mapping[str, Notice] = NOTICES) -> Notice:
    """Give the notice if what was shown is its current version in a language it has.

    Raises
    ------
    StaleNotice
        It is not: show the current one and ask again.
    """
    notice = notices.get(shown.notice_id)
    if notice is None:
        raise StaleNotice(
            f"notice_id {shown.notice_id!r}: not a notice of this shop, must be one of {', '.join(notices)}; "
            "show that one and ask again"
        )
    if shown.notice_version != notice.version:
        raise StaleNotice(
            f"notice_version {shown.notice_version}: {notice.notice_id} is at version {notice.version}; "
            "show that one and ask again"
        )
    if shown.locale not in notice.texts:
        raise StaleNotice(
            f"locale {shown.locale!r}: {notice.notice_id} is written in {', '.join(notice.locales)}; "
            "show one of these and ask again"
        )
    return notice
