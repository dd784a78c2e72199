"""Exact unlearning through the whole road: a customer who withdrew leaves the same bytes as one who never existed."""

import random
import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

import train
from considerate.consent.decision import Policy
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.evaluation.preparation import prepare
from considerate.interactions.loading import load_into_store
from considerate.interactions.reading import read_interactions
from considerate.ranking.loading import load
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml
from considerate.store.engine import open_store, writing
from considerate.store.keys import load_keys
from considerate.store.subjects import ensure_subjects
from considerate.tracking.registry import download
from considerate.tracking.training import Trained

AT = datetime(2026, 4, 1, tzinfo=UTC)
POLICY = Policy(unknown_age="adult")
MODELS = Path(__file__).parents[2] / "models"
ALGORITHMS = ("popularity", "item_knn", "als", "buy_again", "blend")

SOURCE_TOML = """
name = "corner_shop"

[source]
format = "csv"
path = "{csv}"

[source.columns]
customer_id = "who"
item_id = "what"
timestamp = "when"
kind = "kind"
"""

SHOP_TOML = """
name = "corner_shop"

[source]
format = "store"

[consent]
source = "ledger"
unknown_age = "adult"
k_item = 5

[protocol.weekly]
kind = "temporal"
test_days = 7
min_customers = 2
k = [5]
"""


def who(line: str) -> str:
    return line.partition(",")[0]


def everything(csv: Path) -> tuple[list[str], list[str], list[str]]:
    """Give the rows of the corner shop with what unlearning could stumble over, and who stays and who goes."""
    bought = [f"{line},purchase" for line in csv.read_text().splitlines()[1:]]
    customers = sorted({who(line) for line in bought})
    # Those who go are spread over the order of the ids: the numbers of all others move.
    gone = [customers[0], customers[31]]
    stay = [customer for customer in customers if customer not in gone]
    rows = [
        *bought,
        # Six people bought it, of whom two go: it is below k_item, and no trace of it may be left.
        *(f"{customer},rare,2026-02-01 09:00:00,purchase" for customer in (*gone, *stay[:4])),
        # Theirs alone, and the first and the last event of all: the cut must not know of them.
        *(f"{customer},secret,2026-01-01 09:00:00,purchase" for customer in gone),
        *(f"{customer},secret,2026-03-20 09:00:00,purchase" for customer in gone),
        *(f"{who(line)},{line.split(',')[1]},2026-03-06 12:00:00,return" for line in bought[::50]),
    ]
    return rows, stay, gone


def open_shop(home: Path, rows: Sequence[str], *, allow: Iterable[str], withdrawn: Iterable[str]) -> Environment:
    """Load rows into a new installation with keys of its own; `allow` grant training, and `withdrawn` take it back."""
    environment = Environment(home=home, data=None)
    csv, source = home / "purchases.csv", home / "source.toml"
    csv.write_text("\n".join(["who,what,when,kind", *rows]) + "\n")
    source.write_text(SOURCE_TOML.format(csv=csv))
    (home / "shop.toml").write_text(SHOP_TOML)
    interactions = read_interactions(read_toml(source, DataConfig), environment, quarantine=None, at=AT)
    assert interactions.report.rows_kept == len(rows)
    keys = load_keys(home / "keys", create=True)
    engine = open_store(environment.database_url, create=True)
    try:
        load_into_store(interactions, engine, keys, at=AT)
        with writing(engine) as conn:
            refs = ensure_subjects(conn, keys, sorted({who(line) for line in rows}))
            for customer in allow:
                grant(conn, keys, refs[customer], Purpose.TRAIN_MODELS, notice=current_notice(), at=AT, policy=POLICY)
            for customer in withdrawn:
                withdraw(conn, keys, refs[customer], Purpose.TRAIN_MODELS, at=AT)
    finally:
        engine.dispose()
    return environment


def register_all(environment: Environment) -> dict[str, Trained]:
    """Train and register every algorithm as committed; the artefacts land in `home/<algorithm>`."""
    prepared = prepare(environment.home / "shop.toml", environment, None, final=True, at=AT)
    found = {}
    for algorithm in ALGORITHMS:
        path = MODELS / f"{algorithm}.toml"
        model = read_toml(path, ModelConfig)
        found[algorithm] = train.train(model, path, prepared, environment, register=True, say=lambda _: None)
        version = found[algorithm].version
        assert version is not None
        download(environment, version, environment.home / algorithm)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_who_withdrew_leaves_the_same_bytes_as_who_never_existed(csv: Path, tracked_home: Path, tmp_path: Path) -> None:
    rows, stay, (withdrew, never_asked) = everything(csv)
    homes = [shutil.copytree(tracked_home, tmp_path / name) for name in ("withdrawn", "never existed")]
    one = open_shop(homes[0], rows, allow=[withdrew, *stay], withdrawn=[withdrew])
    # Another installation: other keys, so other subject references; other order of rows and of consents.
    theirs = [line for line in rows if who(line) not in (withdrew, never_asked)]
    random.Random(5).shuffle(theirs)
    other = open_shop(homes[1], theirs, allow=reversed(stay), withdrawn=[])

    unlearnt, fresh = register_all(one), register_all(other)

    assert unlearnt["als"].facts["consent"]["n_excluded_withdrawn"] == "1"
    assert unlearnt["als"].facts["consent"]["n_excluded_absent"] == "1"
    assert fresh["als"].facts["consent"]["n_total"] == str(len(stay))
    for algorithm in ALGORITHMS:
        assert contents(one.home / algorithm) == contents(other.home / algorithm), algorithm
        for digest in ("model_digest", "data_digest"):
            assert unlearnt[algorithm].facts[digest] == fresh[algorithm].facts[digest], algorithm
        # The intervals draw customers in the order of their references, which differ from store to store.
        figures = {figure.name: figure.value for figure in fresh[algorithm].figures}
        assert {figure.name: figure.value for figure in unlearnt[algorithm].figures} == pytest.approx(figures)
        artefact = load(one.home / algorithm)
        assert artefact.manifest.consent.customers == len(stay)
        assert not {"rare", "secret"} & set(artefact.item_ids)
        assert len(artefact.item_ids) == 40
