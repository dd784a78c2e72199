"""Promises about what models are fitted on, and what is left in them."""

import io
import itertools
import tempfile
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.consent import test_gate
from tests.house.traces import traces
from tests.report.rows import Outcome, outcome, row
from tests.report.shop import ROOT, Shop

from considerate.consent.decision import Policy
from considerate.consent.gate import ConsentReport, keep_consented
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.consent.snapshot import snapshot_from_ledger
from considerate.dataset.dataset import Dataset
from considerate.errors import TrackingError
from considerate.interactions.columns import Columns, Interactions
from considerate.interactions.stored import read_stored
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.scores import Artefact
from considerate.recommenders.fitting import fit_model
from considerate.settings.data import ConsentConfig
from considerate.settings.model import ModelConfig
from considerate.settings.promotion import PromotionRules
from considerate.settings.toml import read_toml
from considerate.store.engine import writing
from considerate.store.subjects import ensure_subjects
from considerate.tracking.registry import CONSENT_TAGS, refuse_unproved

T = Purpose.TRAIN_MODELS
TERMS = ConsentConfig(k_item=5, k_pair=5)
AT_ONCE = PromotionRules(min_publish_hours=0)
Basket = Sequence[str]


def cast(shop: Shop, baskets: Mapping[str, Basket]) -> dict[str, bytes]:
    """Let adults who allow training buy; give the reference of each."""
    at = datetime.now(UTC) - timedelta(minutes=1)
    with writing(shop.engine) as conn:
        refs = ensure_subjects(conn, shop.keys, list(baskets), age_bands=dict.fromkeys(baskets, "adult"), at=at)
        for ref in refs.values():
            grant(conn, shop.keys, ref, T, notice=current_notice(), at=at, policy=Policy())
    for customer, basket in baskets.items():
        bought = shop.buy(customer, basket)
        if bought.status_code != 202:
            raise RuntimeError(bought.text)
    return dict(refs)


def baskets(number: str, customers: int, items: int = 13) -> dict[str, Basket]:
    """Give customers who buy six of `items` products each."""
    return {
        f"row-{number}-{place}": [f"item-{number}-{(place * step) % items}" for step in range(1, 7)]
        for place in range(1, customers + 1)
    }


def fit(
    shop: Shop, refs: Collection[bytes], *, model: str = "item_knn", without: Collection[bytes] = ()
) -> tuple[Artefact, ConsentReport]:
    """Fit a model of the repository on what these customers did, as if those in `without` had never been there."""
    stored, at = read_stored(shop.engine), datetime.now(UTC)
    ours = pa.array([ref.hex() for ref in refs if ref not in set(without)], pa.string())
    table = stored.table.filter(pc.is_in(stored.table[Columns.CUSTOMER], value_set=ours))
    snapshot = snapshot_from_ledger(shop.engine, shop.keys, at, Policy())
    consented, report = keep_consented(Interactions(table, stored.report), snapshot, config=TERMS, at=at)
    path = ROOT / "models" / f"{model}.toml"
    dataset = Dataset.from_interactions(consented)
    return fit_model(read_toml(path, ModelConfig), path, dataset, TERMS, np.random.default_rng(0)), report


def saved(artefact: Artefact) -> dict[str, bytes]:
    """Give the files of an artefact."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "artefact"
        artefact.save(folder)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@row("3", "personalised without being learnt from: the model equals one without her")
def served_but_not_learnt_from(shop: Shop, quick: bool) -> Outcome:
    refs = cast(shop, baskets("3", 12))
    she = shop.know("row-3-she", Purpose.PERSONALISE_ONSITE)
    shop.buy("row-3-she", ["milk", *(f"item-3-{number}" for number in range(5))])
    everybody = [*refs.values(), she]
    held = [shop.ask("row-3-she")["basis"] == "personalised" for _ in range(5 if quick else 50)]
    models = ("item_knn",) if quick else ("item_knn", "als", "popularity")
    alone = {model: saved(fit(shop, everybody, model=model, without=[she])[0]) for model in models}
    held += [saved(fit(shop, everybody, model=model)[0]) == alone[model] for model in models]
    shop.know("row-3-she", T)
    held += [saved(fit(shop, everybody, model=model)[0]) != alone[model] for model in models]  # her yes changes each
    return outcome(held)


@row("10", "who is learnt from equals a brute-force reading of the ledger at that position")
def as_of_a_position(shop: Shop, quick: bool) -> Outcome:
    read = test_gate.test_what_gets_through_equals_a_brute_force_reading_of_the_ledger.hypothesis.inner_test
    held: list[bool] = []

    @settings(
        max_examples=15 if quick else 200,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        acts=test_gate.ACTS,
        said=test_gate.ROWS,
        share=st.floats(0, 1),
        rights=test_gate.RIGHTS,
        gifts=test_gate.GIFTS,
        unknown_age=st.sampled_from(["deny", "adult"]),
    )
    def compare(**drawn: Any) -> None:
        try:
            read(shop.engine, shop.keys, **drawn)
        except AssertionError:
            held.append(False)
        else:
            held.append(True)

    compare()
    return outcome(held, "random ledgers")


@row("11", "the tags of a run add up, and without one of them nothing is registered")
def tags(shop: Shop, quick: bool) -> Outcome:
    refs = cast(shop, baskets("11", 14))
    shop.call("DELETE", f"/v1/me/consents/{T}", headers=shop.token("row-11-1"))
    shop.call("PUT", "/v1/me/objection", headers=shop.token("row-11-2"))
    proof = fit(shop, refs.values())[1].tags()
    excluded = {name: int(value) for name, value in proof.items() if name.startswith("consent.n_excluded_")}
    held = [(excluded["consent.n_excluded_withdrawn"], excluded["consent.n_excluded_objected"]) == (1, 1)]
    held.append(int(proof["consent.n_total"]) == int(proof["consent.n_included"]) + sum(excluded.values()) == len(refs))
    held.append(not _unproved(proof))
    held += [_unproved({tag: value for tag, value in proof.items() if tag != left}) for left in CONSENT_TAGS]
    counts = [tag for tag in CONSENT_TAGS if ".n_" in tag]
    held += [_unproved({**proof, tag: str(int(proof[tag]) + 1)}) for tag in counts]
    return outcome(held)


def _unproved(proof: Mapping[str, str]) -> bool:
    try:
        refuse_unproved(proof, "report")
    except TrackingError:
        return True
    return False


@row("13", "an artefact holds no row, no reference and no id of any customer")
def nobody_inside(shop: Shop, quick: bool) -> Outcome:
    customers = 47  # a prime that is no other size here
    refs = cast(shop, baskets("13", customers))
    held, arrays = [], 0
    for model in ("item_knn", "als", "popularity"):
        artefact, report = fit(shop, refs.values(), model=model)
        held.append(report.customers_kept == customers)
        with tempfile.TemporaryDirectory() as name:
            artefact.save(Path(name) / "artefact")
            wanted = [*itertools.islice(refs, 5 if quick else customers), *(ref.hex() for ref in refs.values())]
            held.append(traces(Path(name), wanted) == [])
            for path in Path(name).rglob("*.np[yz]"):
                for array in _arrays(path.read_bytes()):
                    arrays += 1
                    held.append(customers not in array.shape and customers + 1 not in array.shape)
            (Path(name) / "planted").write_bytes(next(iter(refs)).encode())
            held.append(traces(Path(name), wanted[:1]) == ["planted: raw"])
    held.append(arrays > 0)
    return outcome(held, f"{arrays} arrays")


def _arrays(content: bytes) -> list[Any]:
    found = np.load(io.BytesIO(content), allow_pickle=False)
    return [found[name] for name in found.files] if isinstance(found, np.lib.npyio.NpzFile) else [found]


@row("14", "exact unlearning: the model after leaving equals, byte for byte, one that never saw her")
def exact_unlearning(shop: Shop, quick: bool) -> Outcome:
    refs = cast(shop, baskets("14", 14))
    names = list(refs)
    held = []
    models = ("item_knn", "als")
    before = {model: saved(fit(shop, refs.values(), model=model)[0]) for model in models}
    never = {
        model: saved(fit(shop, refs.values(), model=model, without=[refs[names[0]], refs[names[7]]])[0])
        for model in models
    }
    shop.insist("DELETE", f"/v1/me/consents/{T}", headers=shop.token(names[0]))
    asked = shop.insist("POST", "/v1/me/privacy-requests", json={"type": "erasure"}, headers=shop.token(names[7]))
    held.append(asked.status_code == 202)
    for model in models:
        held.append(before[model] != never[model])
        held.append(saved(fit(shop, refs.values(), model=model)[0]) == never[model])
    return outcome(held)


@row("25", "what fewer than k customers bought, or bought together, is in no model; one more below k shows nowhere")
def thresholds(shop: Shop, quick: bool) -> Outcome:
    people = baskets("25", 20)
    names = list(people)
    for place in range(TERMS.k_item - 2):
        people[names[place]] = [*people[names[place]], "item-25-rare"]
    refs = cast(shop, people)
    held, first = [], saved(fit(shop, refs.values())[0])
    for place in (TERMS.k_item - 2, TERMS.k_item - 1):
        shop.buy(names[place], ["item-25-rare"], more="later-")
        artefact = fit(shop, refs.values())[0]
        rare = place == TERMS.k_item - 1  # the fifth buyer, and not the fourth, lets it in
        held.append(("item-25-rare" in artefact.item_ids) == rare)
        held.append((saved(artefact) == first) != rare)
    for common in (TERMS.k_pair - 1, TERMS.k_pair):
        # Each is bought often enough; what counts is how many bought both.
        left, right = f"item-25-left-{common}", f"item-25-right-{common}"
        for names_of, item in ((names[:10], left), (names[10 - common : 20 - common], right)):
            for name in names_of:
                shop.buy(name, [item], more=f"{item}-")
        held.append(goes_with(fit(shop, refs.values())[0], left, right) == (common == TERMS.k_pair))
    return outcome(held, f"k_item = {TERMS.k_item}, k_pair = {TERMS.k_pair}")


def goes_with(artefact: Artefact, left: str, right: str) -> bool:
    """Whether a model knows two items to go together, either way."""
    if not isinstance(artefact, LinearItems):
        raise TypeError(artefact)
    row, column = artefact.item_ids.index(left), artefact.item_ids.index(right)
    return bool(artefact.similarity[row, column] or artefact.similarity[column, row])
