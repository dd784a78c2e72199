"""The record of processing: nothing is kept or written that it does not name, and what it says of an erasure is so."""

import ast
import re
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, select
from tests.privacy.known_people import ANNA, AT, rows_of

from considerate.privacy.erasure import erase_customer, finish_erasure
from considerate.privacy.export import export_person
from considerate.privacy.exports import write_export
from considerate.privacy.installation import Installation
from considerate.privacy.processing import OF_NOBODY, OF_PEOPLE, STORE_FILES, AtErasure, Basis, Entry, Seer
from considerate.privacy.record import is_recorded, record_of_processing, tables_recorded
from considerate.privacy.requests import read_requests
from considerate.settings.service import ModelSource, RetentionConfig, ServiceConfig
from considerate.settings.toml import read_toml
from considerate.store.engine import reading
from considerate.store.tables import consent_event, consent_evidence, decisions, idempotent_answer, metadata

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "privacy.md"
BY_TABLE = {name: entry for entry in OF_PEOPLE if entry.kind == "table" for name in entry.names}
LEAVES_NO_REFERENCE = (AtErasure.DELETED, AtErasure.CUT)


def test_every_table_has_an_entry_and_every_entry_a_table(engine: Engine) -> None:
    there = {*inspect(engine).get_table_names(), *metadata.tables, *decisions.tables}
    assert tables_recorded() == there


def test_a_table_that_knows_subjects_is_recorded_as_one_about_people() -> None:
    knowing = {
        name for known in (metadata, decisions) for name, table in known.tables.items() if "subject_ref" in table.c
    }
    assert knowing <= set(BY_TABLE)
    assert set(BY_TABLE) - knowing == {"consent_evidence", "idempotent_answer"}


def test_what_it_says_of_an_erasure_is_so(place: Installation, engine: Engine, people: dict[str, bytes]) -> None:
    anna = people[ANNA]
    content = export_person(place, anna, at=AT)
    assert content is not None
    with reading(engine) as conn:
        (request,) = read_requests(conn, subject_ref=anna)
        answers = len(conn.execute(select(idempotent_answer)).all())
        hers = list(conn.execute(select(consent_event.c.event_id).where(consent_event.c.subject_ref == anna)).scalars())
    copy = write_export(place.home, request.request_id, content)
    stone = erase_customer(place, ANNA, at=AT)
    assert stone is not None
    finish_erasure(place, anna, at=AT)

    said = {name: entry.at_erasure not in LEAVES_NO_REFERENCE for name, entry in BY_TABLE.items()}
    left = {name: rows > 0 for name, rows in rows_of(place, anna).items()}
    with reading(engine) as conn:
        of_hers = consent_evidence.c.event_id.in_(hers)
        left["consent_evidence"] = conn.execute(select(consent_evidence).where(of_hers)).first() is not None
        left["idempotent_answer"] = len(conn.execute(select(idempotent_answer)).all()) == answers
    assert left == said
    assert not copy.exists()


def names_under_home(tree: ast.Module) -> set[str]:
    """What a module appends to the installation's folder: literals as they are, constants of the module by value."""
    constants = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Journal":
            found.add(str(constants[node.args[0].id]))  # type: ignore[attr-defined]  # written as a name of the module
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)):
            continue
        left = node.left
        if (left.attr if isinstance(left, ast.Attribute) else getattr(left, "id", "")) != "home":
            continue
        if isinstance(node.right, ast.Constant):
            found.add(str(node.right.value))
        elif isinstance(node.right, ast.Name) and node.right.id in constants:
            found.add(str(constants[node.right.id]))
        elif isinstance(node.right, ast.JoinedStr):
            found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.right.values))
    return found


def test_every_file_that_the_code_names_in_the_installation_s_folder_has_an_entry() -> None:
    paths = [*(ROOT / "src").rglob("*.py"), *(ROOT / "pipelines").glob("*.py")]
    # The demo and the notices call folders of their own `home`; both have an entry.
    paths = [path for path in paths if "demo" not in path.parts and path.name != "publishing.py"]
    named = {name for path in paths for name in names_under_home(ast.parse(path.read_text(encoding="utf-8")))}
    assert {"keys", "quarantine", "exports", "tombstones.jsonl", "mlflow.db", "considerate.db", "scrub.due"} <= named
    # A folder is meant by what it holds.
    assert sorted(name for name in named if not (is_recorded(name) or is_recorded(f"{name}/x"))) == []


def test_the_scan_finds_what_is_new() -> None:
    source = 'FILE = "people.csv"\nenvironment.home / FILE\nhome / "lists" / "x"\nrun.home / f"{port}.log"\n'
    source += 'KEPT = "kept.jsonl"\nlines = Journal(KEPT, "line")\n'
    assert names_under_home(ast.parse(source)) == {"people.csv", "lists", "x.log", "kept.jsonl"}
    assert not any(is_recorded(name) for name in ("people.csv", "lists/x", "x.log", "kept.jsonl"))


def test_what_an_installation_wrote_has_an_entry(place: Installation, people: dict[str, bytes]) -> None:
    content = export_person(place, people[ANNA], at=AT)
    assert content is not None
    write_export(place.home, people[ANNA], content)
    stone = erase_customer(place, ANNA, at=AT)
    assert stone is not None
    finish_erasure(place, stone.subject_ref, at=AT)
    written = [path.relative_to(place.home).as_posix() for path in place.home.rglob("*") if path.is_file()]
    assert {"tombstones.jsonl", "keys/master.key", "scrub.due"} <= set(written)
    assert [path for path in written if not is_recorded(path)] == []


def test_every_entry_about_people_says_everything() -> None:
    for entry in OF_PEOPLE:
        assert all((entry.names, entry.what, entry.purpose, entry.bases, entry.kept, entry.seen_by)), entry
    used = {word for entry in OF_PEOPLE for word in (*entry.bases, *entry.seen_by)}
    assert used == {*Basis, *Seer}
    entries: tuple[Entry, ...] = (*OF_PEOPLE, *OF_NOBODY)
    names = [name for entry in entries for name in entry.names]
    assert len(names) == len(set(names))
    assert not set(STORE_FILES) & set(names)


def test_it_says_how_long_this_shop_keeps_what() -> None:
    settings = read_toml(ROOT / "configs" / "service.toml", ServiceConfig)
    assert record_of_processing(settings) == record_of_processing()
    shorter = settings.model_copy(
        update={"retention": RetentionConfig(events_days=365), "model": ModelSource(name="x", max_age_days=2.5)}
    )
    assert "| 365 days; while she has use restricted, longer | customer" in record_of_processing(shorter)
    assert "served for 2.5 days after the fit" in record_of_processing(shorter)
    assert "{" not in record_of_processing()


def test_the_page_carries_the_record() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^<!-- record -->\n(.*?)^<!-- /record -->$", page, re.MULTILINE | re.DOTALL)
    assert found == [record_of_processing()], "write it anew: considerate rights record"


@pytest.mark.parametrize("word", [*Basis, *Seer])
def test_the_page_explains_each_word_of_the_record(word: str) -> None:
    assert re.search(rf"^- \*\*{re.escape(word)}\*\*: ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
