"""The record of processing written out: what `considerate rights record` prints and docs/privacy.md shows."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from considerate.privacy.processing import OF_NOBODY, OF_PEOPLE, STORE_FILES, Entry
from considerate.settings.service import ModelSource, RetentionConfig, ServiceConfig

_ALL: tuple[Entry, ...] = (*OF_PEOPLE, *OF_NOBODY)


def tables_recorded() -> frozenset[str]:
    """Give the tables that have an entry."""
    return frozenset(name for entry in _ALL if entry.kind == "table" for name in entry.names)


def is_recorded(path: str) -> bool:
    """Say whether a file has an entry.

    Parameters
    ----------
    path
        Relative to the installation's folder, with `/`.

    >>> is_recorded("keys/master.key"), is_recorded("customers.csv")
    (True, False)
    """
    patterns = [name for entry in _ALL if entry.kind == "file" for name in entry.names]
    return any(fnmatchcase(path, pattern) for pattern in (*STORE_FILES, *patterns))


def record_of_processing(config: ServiceConfig | None = None) -> str:
    """Give the record as two tables in Markdown: what holds something about a person, and what does not.

    Parameters
    ----------
    config
        Says how long what is kept; None for the defaults.
    """
    retention = RetentionConfig() if config is None else config.retention
    model = ModelSource(name="any") if config is None else config.model
    days = {**retention.model_dump(), "max_age_days": f"{model.max_age_days:g}"}
    people = [
        (
            _names(entry.names),
            entry.what,
            entry.purpose,
            ", ".join(entry.bases),
            entry.kept.format_map(days),
            ", ".join(entry.seen_by),
            "; ".join(filter(None, (entry.at_erasure, entry.remark))),
        )
        for entry in OF_PEOPLE
    ]
    heads = ("where", "what", "what for", "ground", "how long", "who sees it", "when she is erased")
    nobody = [(_names(entry.names), entry.what) for entry in OF_NOBODY]
    return f"{_table(heads, people)}\n{_table(('holds nothing about anybody', 'what it is'), nobody)}"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head, *lines = (f"| {' | '.join(row)} |\n" for row in (heads, *rows))
    return "".join([head, f"|{'---|' * len(heads)}\n", *lines])


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
