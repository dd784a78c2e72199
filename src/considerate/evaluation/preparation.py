"""From a data TOML to folds that are ready to be fitted and judged: read, ask for consent, cut, judge popularity."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from sqlalchemy import Engine

from considerate.consent.decision import Policy
from considerate.consent.gate import keep_consented
from considerate.consent.publishing import check_published, in_force, read_versions
from considerate.consent.snapshot import snapshot_assumed, snapshot_from_ledger
from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError, ConsentError
from considerate.evaluation.evaluate import BUDGET_MB, Judged
from considerate.evaluation.folds import Fold
from considerate.evaluation.judging import fit_and_judge
from considerate.evaluation.protocols import choose_protocol, make_folds
from considerate.interactions.catalogue import read_customers, read_items
from considerate.interactions.columns import Columns, Interactions
from considerate.interactions.reading import read_interactions
from considerate.interactions.stored import read_stored
from considerate.items.catalogue import Catalogue
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.settings.model import ModelConfig
from considerate.settings.protocols import FixedProtocol, ProtocolConfig
from considerate.settings.toml import read_toml
from considerate.store.catalogue import read_catalogue
from considerate.store.engine import open_store, reading
from considerate.store.keys import load_keys

UNJUDGED = "none"
"""The protocol of a fit on everything that nothing is held back from."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One data set, read once and cut once, on which any number of models can be fitted.

    Attributes
    ----------
    data
        Its TOML.
    protocol
        Name of the protocol.
    dataset
        All consented events as they happened, for the fit that is registered.
    data_digest
        SHA-256 of them.
    folds
        What models are judged on: one, or one per cut; none where nothing is judged.
    popularity
        The baseline's figures on the same folds: all-time distinct customers per item, nothing else.
    limits
        `budget_mb` and `threads` for judging, as in `evaluate`.
    """

    data: DataConfig
    protocol: str
    dataset: Dataset
    data_digest: str
    folds: tuple[Fold, ...]
    popularity: tuple[Judged, ...]
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """`val` or `test`; `none` where nothing is judged."""
        return self.folds[0].part if self.folds else UNJUDGED


def prepare(
    data_path: Path,
    environment: Environment,
    protocol: str | None,
    *,
    final: bool,
    at: datetime,
    seq: int | None = None,
    judged: bool = True,
    **limits: Any,
) -> Prepared:
    """Read a data set once, ask for consent, cut it, and judge popularity on it: the same for every model.

    Parameters
    ----------
    data_path, environment
        The data TOML, and where to read.
    protocol
        Name of a table `protocol.NAME` of the TOML; its default one if None.
    final, at, seq, limits
        As in `prepare_fold`.
    judged
        Without, nothing is cut and nothing judged: for a fit where hardly anybody allows training yet.

    Raises
    ------
    ConfigError
        The final part is asked for where nothing is judged.
    """
    data = read_toml(data_path, DataConfig)
    if not judged:
        if final:
            raise ConfigError("--final with --protocol none: no test part is cut; leave out one of the two")
        dataset = consented_dataset(data, environment, at=at, seq=seq, may_be_empty=True)
        return Prepared(data, UNJUDGED, dataset, dataset.digest, (), (), limits)
    table = choose_protocol(data, protocol, str(data_path))
    return prepare_fold(data, environment, table, final=final, at=at, seq=seq, **limits)


def consented_dataset(
    data: DataConfig, environment: Environment, *, at: datetime, seq: int | None = None, may_be_empty: bool = False
) -> Dataset:
    """Read what a data TOML names and keep what its customers' consent allows to learn from.

    The store is opened, for reading only, where the rows or the consents are in it; with consent assumed and rows
    from files it is not touched.

    Parameters
    ----------
    data, environment
        What to read, and where.
    at
        Now.
    seq
        Last event of the ledger that counts; all of it if None.
    may_be_empty
        A catalogue is enough: nobody need allow training.

    Raises
    ------
    DataError, StoreError, ConsentError
        The source, the store or the ledger cannot be used, or consent leaves nothing.
    """
    if data.source.format == "store" and data.consent.source == "assumed":
        raise ConfigError(f'{data.name}: consent.source = assumed; must be "ledger" where source.format = "store"')
    if seq is not None and data.consent.source == "assumed":
        raise ConfigError(f"ledger position {seq}: {data.name} reads no ledger; leave out --as-of-seq")
    with ExitStack() as stack:
        if data.consent.source == "ledger":
            engine = open_store(environment.database_url, create=False, read_only=True)
            stack.callback(engine.dispose)
            keys = load_keys(environment.home / "keys", create=False)
            versions = read_versions(environment.home / "notices", at=at)
            with reading(engine) as conn:
                check_published(conn, versions)
            policy = Policy(data.consent.unknown_age, data.consent.gpc_strict, in_force(versions))
            snapshot = snapshot_from_ledger(engine, keys, at, policy, seq=seq)
        else:
            engine, snapshot = None, snapshot_assumed()
        if engine is not None and data.source.format == "store":
            interactions = read_stored(engine)
        else:
            interactions = read_interactions(data, environment, quarantine=environment.home / "quarantine", at=at)
        # What the store classes as sensitive is that of every fit on its ledger, wherever the rows come from.
        stored = None if engine is None else _stored_catalogue(engine)
        catalogue = stored if data.source.format == "store" else _items_of(data, environment)
        attributes = read_customers(data, environment) if data.customers is not None else None
    known = [one for one in (catalogue, stored) if one is not None and len(one)]
    sensitive = frozenset().union(*(sensitive_items(one) for one in known)) if known else None
    if data.items is not None and data.items.unclassified == "sensitive":
        sensitive = (sensitive or frozenset()) | undescribed_items(interactions, catalogue)
    consented, report = keep_consented(interactions, snapshot, config=data.consent, at=at, sensitive_items=sensitive)
    if not report.rows_kept and not (may_be_empty and catalogue is not None and len(catalogue)):
        reasons = ", ".join(f"{reason} {count}" for reason, count in report.customers_left_out.items())
        raise ConsentError(
            f"{data.name}: consent leaves 0 of {report.rows_total:,} rows (customers left out: {reasons}); "
            "record consents, or bring those you have: considerate consent import FILE; until then, begin with "
            "models/blend.beginnings.toml, a catalogue and pipelines/train.py ... --protocol none --register"
        )
    return Dataset.from_interactions(consented, catalogue=catalogue, attributes=attributes)


def sensitive_items(catalogue: Catalogue) -> frozenset[str]:
    """Ids of the items that carry a sensitive class."""
    return frozenset(item for item, sensitive in zip(catalogue.item_ids, catalogue.sensitive, strict=True) if sensitive)


def undescribed_items(interactions: Interactions, catalogue: Catalogue | None) -> frozenset[str]:
    """Ids of the items in `interactions` that the catalogue lacks: nobody has said what they are."""
    described = () if catalogue is None else catalogue.item_ids
    return frozenset(pc.unique(interactions.table[Columns.ITEM]).to_pylist()).difference(described)


def prepare_fold(
    data: DataConfig,
    environment: Environment,
    protocol: tuple[str, ProtocolConfig],
    *,
    final: bool,
    at: datetime,
    seq: int | None = None,
    budget_mb: int = BUDGET_MB,
    threads: int | None = None,
) -> Prepared:
    """Read, cut, and judge the baseline: everything that is the same for every model.

    Parameters
    ----------
    data, environment
        What to read, and where.
    protocol
        Name and table, as `choose_protocol` gives them.
    final
        Judge the test part, which choices must not look at.
    at
        Now.
    seq
        As in `consented_dataset`.
    budget_mb, threads
        For judging the baseline, as in `evaluate`.
    """
    name, table = protocol
    dataset = consented_dataset(data, environment, at=at, seq=seq)
    public_test = None
    if isinstance(table, FixedProtocol) and final:
        source = data.source.model_copy(update={"path": table.test})
        test_data = data.model_copy(update={"name": f"{data.name}_test", "source": source})
        public_test = consented_dataset(test_data, environment, at=at, seq=seq)
    seed = getattr(table, "seed", 0)
    folds = make_folds(dataset, table, final=final, public_test=public_test, rng=np.random.default_rng(seed))
    popularity = judge_popularity(folds, data, budget_mb=budget_mb, threads=threads)
    return Prepared(
        data, name, dataset, dataset.digest, folds, popularity, {"budget_mb": budget_mb, "threads": threads}
    )


def judge_popularity(
    folds: Sequence[Fold], data: DataConfig, *, budget_mb: int = BUDGET_MB, threads: int | None = None
) -> tuple[Judged, ...]:
    """Judge plain popularity, all-time distinct customers per item: the figure any model is held against."""
    plain = ModelConfig(algorithm="popularity", params={"half_life_days": None})
    fitted = fit_and_judge(
        plain, Path("models/popularity.toml"), folds, data.consent, budget_mb=budget_mb, threads=threads
    )
    return fitted.judged


def _stored_catalogue(engine: Engine) -> Catalogue:
    with reading(engine) as connection:
        return read_catalogue(connection)


def _items_of(data: DataConfig, environment: Environment) -> Catalogue | None:
    return read_items(data, environment) if data.items is not None else None
