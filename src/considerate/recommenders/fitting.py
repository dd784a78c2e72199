"""From a model TOML and a data set to an artefact."""

from collections.abc import MutableMapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError, DataError
from considerate.ranking.scores import Artefact
from considerate.recommenders.registry import RECOMMENDERS, Recommender
from considerate.recommenders.whole_catalogue import over_catalogue
from considerate.settings.data import ConsentConfig
from considerate.settings.model import ModelConfig
from considerate.settings.toml import Section, read_toml, validate

Kept = MutableMapping[tuple[str, str], Artefact]
"""Components that were fitted before, by their TOML and the digest of what they were fitted on."""


def fit_model(
    config: ModelConfig,
    path: Path,
    dataset: Dataset,
    consent: ConsentConfig,
    rng: np.random.Generator,
    *,
    kept: Kept | None = None,
) -> Artefact:
    """Fit the model that a TOML describes, under the terms on which the data were given.

    Returns are netted, then items with fewer than `k_item` distinct customers leave, and explicit pairs of items with
    fewer than `k_pair` never enter. Customers of whom nothing is left do not count; the others are taken in an order
    that depends on what they did alone. So the artefact is the same, byte for byte, as that of a fit on data where
    those who are left out never existed. A model over the whole catalogue gets the other items of it without events,
    and may be able to do without any customer.

    Parameters
    ----------
    config
        Of the TOML.
    path
        Where it was read: opens each message, and components are found beside it.
    dataset
        Consented; returns netted already or not.
    consent
        Thresholds `k_item` and `k_pair`.
    rng
        Source of all chance. A component of a blend takes its own, from the seed in its TOML, and so equals the same
        model fitted alone.
    kept
        Takes every component that is fitted, and gives it back where the same is asked for again: a study changes how
        a blend weighs its components, not the components.

    Raises
    ------
    ConfigError
        Unknown algorithm, parameter or component.
    DataError
        No item is left.
    """
    check_model(config, path)
    dataset = dataset.net_of_returns()
    terms = replace(dataset.consent, k_item=consent.k_item, k_pair=consent.k_pair)
    common = dataset.customers_per_item() >= consent.k_item
    whole = config.whole_catalogue and len(dataset.catalogue) > 0
    if not common.any() and not (whole and _catalogue_alone(config, path)):
        raise DataError(
            f"{path}: no item has k_item = {consent.k_item} distinct consenting customers; "
            f"nothing can be fitted on {len(dataset.items)} items of {len(dataset.customers)} customers: "
            "collect more consent, lower k_item in [consent] (not below 5), or begin with models/blend.beginnings.toml "
            "and a catalogue"
        )
    known = replace(dataset.restricted_to(common), consent=terms).of_active_customers().in_canonical_order()
    if whole:
        known = over_catalogue(known)
    return _fit(config, path, known, rng, kept)


def check_model(config: ModelConfig, path: Path) -> tuple[Recommender, Section]:
    """Check a model TOML, and those of its components, against the algorithms that they name.

    Raises
    ------
    ConfigError
        Unknown algorithm, parameter or component; components where none are taken, or none where they are needed.
    """
    recommender = RECOMMENDERS.get(config.algorithm)
    if recommender is None:
        known = ", ".join(sorted(RECOMMENDERS))
        raise ConfigError(f"{path}: algorithm = {config.algorithm!r} is not known; name one of: {known}")
    if recommender.combines and not config.components:
        raise ConfigError(f"{path}: components is empty; {config.algorithm} needs some: name -> path of a model TOML")
    if config.components and not recommender.combines:
        raise ConfigError(f"{path}: components = {config.components}; {config.algorithm} takes none: remove them")
    for name, part in components_of(config, path).items():
        if not name.isidentifier():
            raise ConfigError(f"{path}: components -> {name!r}; a name must be letters, digits and underscores")
        if part[0].components:
            raise ConfigError(f"{path}: components -> {name} is itself a blend; name its components here instead")
        check_model(*part)
    return recommender, validate(recommender.params, config.params, f"{path}: params")


def _catalogue_alone(config: ModelConfig, path: Path) -> bool:
    """Whether a catalogue is enough to fit the model and all of its components."""
    parts = components_of(config, path).values()
    return RECOMMENDERS[config.algorithm].catalogue_alone and all(_catalogue_alone(*part) for part in parts)


def components_of(config: ModelConfig, path: Path) -> dict[str, tuple[ModelConfig, Path]]:
    """Read the TOML of every component of a model, with its path."""
    paths = {name: path.parent / relative for name, relative in config.components.items()}
    return {name: (read_toml(part, ModelConfig), part) for name, part in paths.items()}


def _fit(
    config: ModelConfig, path: Path, dataset: Dataset, rng: np.random.Generator, kept: Kept | None = None
) -> Artefact:
    recommender, params = check_model(config, path)
    if not recommender.combines:
        return recommender.fit(dataset, params, rng)

    def fit_parts(events: Dataset) -> dict[str, Artefact]:
        return {
            name: _part(part, part_path, events, kept)
            for name, (part, part_path) in components_of(config, path).items()
        }

    try:
        return recommender.fit(dataset, params, rng, fit_parts)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _part(part: ModelConfig, path: Path, dataset: Dataset, kept: Kept | None) -> Artefact:
    if kept is None:
        return _fit(part, path, dataset, np.random.default_rng(part.seed))
    terms = f"{path} {part.model_dump_json()} {dataset.consent.k_item} {dataset.consent.k_pair}"
    key = (terms, dataset.digest)
    if key not in kept:
        kept[key] = _fit(part, path, dataset, np.random.default_rng(part.seed))
    return kept[key]
