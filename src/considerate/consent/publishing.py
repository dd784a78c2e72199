"""The notices of a shop: written as files, one for each version, and put down in the store with the hash of each text.

    notices/<notice id>/1.toml       valid_from = 2026-01-01T00:00:00Z
    notices/<notice id>/1.en.txt     the text as it is shown
    notices/<notice id>/2.toml       valid_from = ..., material = ["train_models"]
    notices/<notice id>/2.en.txt     ...

A version that was published is never edited: whoever agreed to it read those words.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import AwareDatetime
from sqlalchemy import Connection, select

from considerate.consent.notices import NOTICE, NOTICES, Notice, NoticeShown, current_notice
from considerate.consent.purposes import Purpose
from considerate.errors import ConfigError, ConsentError
from considerate.settings.toml import Section, read_toml
from considerate.store.engine import require_writing
from considerate.store.statements import insert_new
from considerate.store.tables import notice, to_micros


class NoticeFile(Section):
    """One version of a notice.

    Attributes
    ----------
    valid_from
        When it took effect.
    material
        Purposes about which customers must be asked again because of this version; `all` for every one.
    """

    valid_from: AwareDatetime
    material: tuple[Purpose, ...] | Literal["all"] = ()


def read_notices(folder: Path, *, at: datetime) -> Mapping[str, Notice]:
    """Read the notice in force; the built-in one where there is no such folder.

    Parameters
    ----------
    folder
        `notices` in the folder of everything written at run time.
    at
        Now: a version that takes effect later has no place here yet.

    Raises
    ------
    ConfigError
        A file is missing, wrong or out of order.
    """
    if not folder.is_dir():
        return NOTICES
    return in_force(read_versions(folder, at=at))


def in_force(versions: Sequence[Notice]) -> Mapping[str, Notice]:
    """Give the notice that `read_versions` gave in its newest version, by its id."""
    newest = versions[-1]
    return MappingProxyType({newest.notice_id: newest})


def read_versions(folder: Path, *, at: datetime) -> Sequence[Notice]:
    """Read every version of the shop's notice, oldest first.

    A folder that bears the name of the built-in notice may begin with version 2 and so carry on where that one ends.

    Raises
    ------
    ConfigError
        A file is missing, wrong or out of order.
    """
    if not folder.is_dir():
        return [NOTICE]
    notices = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(notices) != 1:
        raise ConfigError(
            f"{folder}: holds {len(notices)} folders; must hold one, named as the notice, with its versions 1.toml, "
            "2.toml ... in it; without it, the built-in notice is shown"
        )
    home = notices[0]
    numbers = sorted(int(path.stem) for path in home.glob("*.toml") if path.stem.isdecimal())
    versions = [NOTICE] if home.name == NOTICE.notice_id and 1 not in numbers else []
    for number in numbers:
        if number != len(versions) + 1:
            raise ConfigError(
                f"{home / f'{number}.toml'}: version {len(versions) + 1} is missing before it; put it there"
            )
        versions.append(_read(home, number, versions[-1] if versions else None, at))
    if not numbers:
        raise ConfigError(f"{home}: holds no version of the notice; write 1.toml and the texts 1.en.txt, 1.de.txt ...")
    return versions


def publish(conn: Connection, versions: Sequence[Notice]) -> int:
    """Put down the hash of each text; give how many were new.

    Parameters
    ----------
    conn
        From `store.engine.writing`.

    Raises
    ------
    ConsentError
        A text was changed after it was published, or the store knows a newer notice.
    """
    require_writing(conn)
    check_published(conn, versions)
    known = {(row.notice_id, row.version, row.locale): row.text_sha256 for row in conn.execute(select(notice))}
    new = 0
    for version in versions:
        for locale in version.texts:
            key = (version.notice_id, version.version, locale)
            found = known.get(key)
            if found is None:
                conn.execute(insert_new(conn, notice), _row(version, locale))
                new += 1
            elif found != version.text_sha256(locale):
                raise ConsentError(
                    f"notice {version.notice_id} version {version.version} in {locale}: its text was changed after it "
                    f"was published; put the old text back, and write the new one as version {version.version + 1}"
                )
    return new


def check_published(conn: Connection, versions: Sequence[Notice]) -> None:
    """Refuse notices that are older than what the store has published: under them, consents that ended would count.

    Parameters
    ----------
    conn
        From `store.engine.reading` or `writing`.
    versions
        From `read_versions`.

    Raises
    ------
    ConsentError
        The store knows a later version of the notice, or another notice that has not been replaced by this one.
    """
    newest = versions[-1]
    columns = (notice.c.notice_id, notice.c.version, notice.c.valid_from)
    order = (notice.c.valid_from.desc(), notice.c.version.desc())
    for notice_id, version, valid_from in conn.execute(select(*columns).order_by(*order)):
        if notice_id == newest.notice_id:
            if version > newest.version:
                raise ConsentError(
                    f"notice {notice_id}: the store knows version {version}, the folder `notices` ends at "
                    f"{newest.version}; copy that folder from the host that published it"
                )
        # The built-in one is what was shown before the shop had its own, which is never replaced by going back to it.
        elif notice_id != NOTICE.notice_id or version > NOTICE.version:
            if newest is NOTICE:
                raise ConsentError(
                    f"notice {notice_id}: the store knows version {version}, and there is no folder `notices` here; "
                    f"copy it from the host that published it, or replace it for good by {NOTICE.notice_id}/2.toml"
                )
            if valid_from >= to_micros(newest.valid_from):
                raise ConsentError(
                    f"notice {notice_id}: the store knows version {version}, which is not older than "
                    f"{newest.notice_id} version {newest.version}, the newest in the folder `notices`; copy that "
                    "folder from the host that published it; a notice that replaces it has a later valid_from"
                )


def note_notices(conn: Connection, shown: Iterable[NoticeShown]) -> None:
    """Put down the built-in notice where it was shown, as far as it is known in that version and language."""
    rows = [
        _row(known, one.locale)
        for one in dict.fromkeys(shown)
        if (known := NOTICES.get(one.notice_id)) is not None
        and known.version == one.notice_version
        and one.locale in known.texts
    ]
    if rows:
        conn.execute(insert_new(conn, notice), rows)


def newest_published(conn: Connection) -> NoticeShown:
    """Name the notice that took effect last, in one of its languages; the built-in one where none is put down."""
    order = (notice.c.valid_from.desc(), notice.c.version.desc(), notice.c.locale != "en", notice.c.locale)
    row = conn.execute(select(notice.c.notice_id, notice.c.version, notice.c.locale).order_by(*order)).first()
    if row is None or (row.notice_id, row.version) == (NOTICE.notice_id, NOTICE.version):
        return current_notice()
    return NoticeShown(*row)


def _read(home: Path, number: int, before: Notice | None, at: datetime) -> Notice:
    path = home / f"{number}.toml"
    found = read_toml(path, NoticeFile)
    if found.valid_from > at:
        raise ConfigError(
            f"{path}: valid_from = {found.valid_from.isoformat()} lies ahead; put it there when it takes effect"
        )
    if before is not None and found.valid_from < before.valid_from:
        raise ConfigError(f"{path}: valid_from lies before that of version {before.version}; correct one of them")
    texts = {text.name.split(".")[1]: _text(text) for text in sorted(home.glob(f"{number}.*.txt"))}
    if not texts:
        raise ConfigError(f"{path}: has no text; write it as {number}.en.txt beside it, one file for each language")
    changed = list(Purpose) if found.material == "all" else found.material
    oldest = dict(before.oldest_of) if before is not None else {}
    oldest.update(dict.fromkeys(changed, number))
    return Notice(
        notice_id=home.name,
        version=number,
        oldest_valid=1 if before is None else before.oldest_valid,
        material=bool(changed) or before is None,
        valid_from=found.valid_from,
        texts=MappingProxyType(texts),
        oldest_of=MappingProxyType(oldest),
    )


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable text in UTF-8; write it again") from error
    if not text.strip():
        raise ConfigError(f"{path}: is empty; write what customers are to read")
    return text


def _row(version: Notice, locale: str) -> dict[str, object]:
    return {
        "notice_id": version.notice_id,
        "version": version.version,
        "locale": locale,
        "text_sha256": version.text_sha256(locale),
        "material": version.material,
        "valid_from": to_micros(version.valid_from),
    }
