"""The data TOML (`configs/<data>.toml`): where interactions come from, on what consent, judged how."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from considerate.settings.protocols import ProtocolConfig
from considerate.settings.toml import Section

K_SEGMENT = 50
"""Fewest distinct consenting customers behind a segment (an age band, a region) of which a model may know anything."""

Columns = dict[str, str | list[str]]
"""Our column name -> a source column, or several whose text is joined with `-`."""


class SourceConfig(Section):
    """Where rows come from and how they read as interactions.

    Attributes
    ----------
    format
        `csv`, `parquet`, `sqlite`, `postgresql`, or `store` (the product's own database).
    path
        File or glob. `{data}` stands for the folder in which the data set was found, `package:name/file` for a file
        inside an installed package.
    url, query
        Database and SQL, for `sqlite` (url = file) and `postgresql`.
    columns
        Our names -> source columns.
    values
        Our names -> one value for every row (`kind = "purchase"`).
    when
        Our kind -> SQL condition over source columns that marks it (`return = "quantity < 0"`).
    timestamp_format
        How times are written (`%m/%d/%Y %H:%M`), where they are neither ISO 8601 nor seconds since 1970.
    earliest
        Times before this date are wrong.
    max_rejected
        Share of bad rows above which the load fails; rows set aside are not bad.
    set_aside
        Reason -> SQL condition over source columns (or the built-in `exact_duplicate`): rows the owner expects;
        quarantined and counted, not held against `max_rejected`. The reason `cancellation` also yields a
        `return`, which cancels the purchase it belongs to.
    """

    format: Literal["csv", "parquet", "sqlite", "postgresql", "store"]
    path: str | None = None
    url: str | None = None
    query: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    columns: Columns = Field(default_factory=dict)
    values: dict[str, str | float] = Field(default_factory=dict)
    when: dict[str, str] = Field(default_factory=dict)
    set_aside: dict[str, str] = Field(default_factory=dict)
    timestamp_format: str | None = None
    earliest: str = "1970-01-02"
    max_rejected: Annotated[float, Field(ge=0, le=1)] = 0.05

    @model_validator(mode="after")
    def _complete(self) -> "SourceConfig":
        if self.format in ("csv", "parquet") and self.path is None:
            raise ValueError(f"format {self.format} needs path")
        if self.format in ("sqlite", "postgresql") and (self.url is None or self.query is None):
            raise ValueError(f"format {self.format} needs url and query")
        if self.format != "store" and not {"customer_id", "item_id"} <= self.columns.keys():
            raise ValueError("columns must map customer_id and item_id")
        return self


class TableConfig(Section):
    """A catalogue or customer table beside the interactions: `[items]`, `[customers]`.

    Attributes
    ----------
    format, path, encoding, delimiter
        As in `[source]`.
    columns
        Our names -> source columns; several columns for `category` make a path (`GROCERY > SOUP`), several for any
        other name are joined with a space.
    features
        Source columns kept under their own name.
    where
        SQL condition over source columns: only such rows are read.
    region_characters
        Keep so many characters of `region`: a whole zip code may single a person out.
    """

    format: Literal["csv", "parquet"] = "parquet"
    path: str
    columns: Columns
    features: list[str] = Field(default_factory=list)
    where: str | None = None
    region_characters: Annotated[int, Field(ge=1)] | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None


class ItemsConfig(TableConfig):
    """The catalogue: `[items]`. Where `source.format = "store"` it is in the store, and only `unclassified` counts.

    Attributes
    ----------
    unclassified
        What an item without a class in the column `sensitive` counts as. With `sensitive` it is held back, like an item
        that the catalogue lacks, until somebody says `none` or names its class; the column must be mapped then.
    """

    path: str = ""
    columns: Columns = Field(default_factory=dict)
    unclassified: Literal["plain", "sensitive"] = "plain"


class ConsentConfig(Section):
    """On what consent a fit rests (DESIGN: where the consent of a fit comes from).

    Attributes
    ----------
    source
        `ledger`, or `assumed` for public benchmarks: everyone adult, every switch on but sensitive categories.
    unknown_age
        What an unknown age counts as.
    k_item
        Fewest distinct consenting customers behind an item of a model. Below 5 only with `assumed`.
    k_pair
        Fewest distinct consenting customers behind an explicit pair of items.
    gpc_strict
        A Global Privacy Control signal once sent by a customer's device speaks against learning from her too.
    events_days
        Events older than so many days are not learnt from; with `assumed` age does not count.
    """

    source: Literal["ledger", "assumed"] = "ledger"
    unknown_age: Literal["deny", "adult"] = "deny"
    k_item: Annotated[int, Field(ge=1)] = 10
    k_pair: Annotated[int, Field(ge=1)] = 5
    gpc_strict: bool = False
    events_days: Annotated[int, Field(ge=1, le=36_500)] = 730

    @model_validator(mode="after")
    def _floor(self) -> "ConsentConfig":
        if self.source == "ledger" and min(self.k_item, self.k_pair) < 5:
            raise ValueError("k_item and k_pair must be >= 5 where consent comes from the ledger")
        return self


class DataConfig(Section):
    """One data set: source, catalogue, customers, consent and protocols.

    Attributes
    ----------
    name
        Experiment name in MLflow and key in the list of data sets.
    default_protocol
        The protocol used when the command line names none.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    source: SourceConfig
    items: ItemsConfig | None = None
    customers: TableConfig | None = None
    consent: ConsentConfig = ConsentConfig()
    protocol: dict[str, ProtocolConfig] = Field(default_factory=dict)
    default_protocol: str | None = None

    @model_validator(mode="after")
    def _catalogue_somewhere(self) -> "DataConfig":
        if self.items is not None and not self.items.path and self.source.format != "store":
            raise ValueError("items needs path: name the file of the catalogue")
        return self

    @model_validator(mode="after")
    def _protocol_names(self) -> "DataConfig":
        if "none" in self.protocol:
            raise ValueError("protocol.none: `--protocol none` means to judge none; give the table another name")
        return self


class Located(Section):
    """Where the files of a data set were found: what `{data}` stands for."""

    folder: Path | None = None
