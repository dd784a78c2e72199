"""Rows that were left out, kept with their reasons so that somebody can put them right."""

import os
from pathlib import Path

from considerate.errors import DataError
from considerate.interactions.rules import UNREADABLE_LINE
from considerate.interactions.sources import FILE, ROW, Source, literal, number_of, quoted


def write(source: Source, target: Path, aside: list[str], bad: list[str]) -> Path | None:
    """Write every row left out to the Parquet file `target`, whole or not at all.

    Columns: `reasons` (list of rules), `file`, `row_number` (from 1, among the readable rows of the file; for an
    unreadable line its line number), `line` (text of an unreadable line) and the source's own columns as text.
    The file holds personal data: only its owner may read it. A file of an earlier load is replaced, and removed where
    this load leaves nothing out.

    Parameters
    ----------
    source
        With the relation `mapped`, whose masks say what each row matched.
    target
        Path of the file; its folder is made.
    aside, bad
        Reasons behind the bits of the two masks.

    Returns
    -------
    `target`, or None where no row was left out.
    """
    connection = source.connection
    count = number_of(connection, "SELECT count(*) FROM mapped WHERE bad > 0 OR aside > 0")
    if count + source.unreadable == 0:
        target.unlink(missing_ok=True)
        return None
    reasons = ", ".join(
        f"CASE WHEN m.{mask} & {1 << bit} > 0 THEN {literal(reason)} END"
        for mask, names in (("aside", aside), ("bad", bad))
        for bit, reason in enumerate(names)
    )
    files = "CASE {} " + " ".join(f"WHEN {i} THEN {literal(name)}" for i, name in enumerate(source.files)) + " END"
    own = "".join(f", s.{quoted(name)}::VARCHAR AS {quoted('source.' + name)}" for name in source.columns)
    query = (
        f"SELECT list_filter([{reasons}], lambda x: x IS NOT NULL) AS reasons, {files.format(f'm.{FILE}')} AS file, "
        f"m.{ROW} AS row_number, NULL::VARCHAR AS line{own} "
        f"FROM source s JOIN mapped m ON s.{ROW} = m.{ROW} AND s.{FILE} = m.{FILE} WHERE m.bad > 0 OR m.aside > 0"
    )
    if source.unreadable:
        query += (
            f" UNION ALL BY NAME SELECT [{literal(UNREADABLE_LINE)}] AS reasons, {files.format(FILE)} AS file, "
            "line AS row_number, problem || ': ' || text AS line FROM unreadable_line"
        )
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection.execute(
            f"COPY (SELECT * FROM ({query}) ORDER BY file, row_number) TO {literal(str(part))} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
        part.chmod(0o600)
        os.replace(part, target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror}; check the folder") from error
    finally:
        part.unlink(missing_ok=True)
    return target
