"""The service TOML (`configs/service.toml`): where the service listens, whom it believes, what it may answer."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from considerate.settings.toml import Section

Port = Annotated[int, Field(ge=1, le=65535)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Algorithm = Literal["EdDSA", "RS256", "PS256", "ES256"]


class AuthConfig(Section):
    """Whose tokens the service believes.

    Attributes
    ----------
    issuer, audience
        The only values of `iss` and `aud` that pass.
    algorithms
        Pinned: asymmetric ones only, so that no public key can be taken for a shared secret.
    jwks
        File or `https://` URL of the shop's public keys; None where there is only the development key.
    jwks_seconds
        A JWKS from a URL is fetched again after so long, and not sooner for an unknown `kid`.
    leeway_seconds
        Tolerated difference between the shop's clock and ours.
    max_token_seconds
        Longest accepted life of a token, `exp - iat`.
    development_key
        Private key with which `considerate token` mints tokens, relative to the folder of everything written at run
        time. Its public half stands in a `.jwks.json` beside it. Leave it out in production.
    """

    issuer: Annotated[str, Field(min_length=1)]
    audience: Annotated[str, Field(min_length=1)]
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = Field(default=["EdDSA"])
    jwks: str | None = None
    jwks_seconds: Positive = 300
    leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 10
    max_token_seconds: Positive = 3600
    development_key: Path | None = None

    @model_validator(mode="after")
    def _some_key(self) -> "AuthConfig":
        if self.jwks is None and self.development_key is None:
            raise ValueError("no key to believe: set jwks, or development_key on a development machine")
        if self.jwks is not None and self.jwks.startswith("http://"):
            raise ValueError(f"jwks = {self.jwks}; keys must come over https, or from a file")
        return self


class ModelSource(Section):
    """Which registered model the service follows, and how often it looks.

    Attributes
    ----------
    name
        Registered model in MLflow, which is the `name` of the data TOML it was trained on; its version with the alias
        `champion` is served.
    poll_seconds
        Pause of the refresher between two looks at the registry.
    watch_seconds
        Pause of each worker between two looks at the pointer file.
    max_age_days
        A model whose fit is longer ago is not served: what customers have withdrawn since must fade within this time.
        The built-in notice promises 7 days.
    """

    name: Annotated[str, Field(min_length=1)]
    poll_seconds: Positive = 5
    watch_seconds: Positive = 0.5
    max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 7


class ListsConfig(Section):
    """How long a list is, and how much it explains.

    Attributes
    ----------
    default_n, max_n
        Items of a list: unless asked otherwise, and at most.
    because
        Own items named as the reason of a suggestion, at most; 0 names none.
    """

    default_n: Count = 10
    max_n: Count = 100
    because: Annotated[int, Field(ge=0, le=10)] = 2

    @model_validator(mode="after")
    def _in_order(self) -> "ListsConfig":
        if self.default_n > self.max_n:
            raise ValueError(f"default_n = {self.default_n} must be <= max_n = {self.max_n}")
        return self


class LimitsConfig(Section):
    """What a request may bring."""

    body_bytes: Count = 262_144
    events: Count = 500
    items: Count = 1_000
    id_characters: Count = 10_000


class RatesConfig(Section):
    """How many requests a minute the whole service takes; each worker takes its share, rounded down and one at least.

    Probes are free.

    Attributes
    ----------
    customer_per_minute
        Of one customer.
    service_per_minute
        Of one calling service.
    address_per_minute
        Of one address, for what needs no token and for tokens that do not hold. A page that the shop's own server
        puts together asks for everybody from one address.
    """

    customer_per_minute: Count = 3_000
    service_per_minute: Count = 6_000
    address_per_minute: Count = 6_000


class PolicyConfig(Section):
    """The shop's own rules about people.

    Attributes
    ----------
    unknown_age
        What a customer of unknown age counts as. `adult` only where the shop sells to adults alone.
    gpc_strict
        A `Sec-GPC: 1` signal also switches off suggestions on the shop's own pages.
    """

    unknown_age: Literal["deny", "adult"] = "deny"
    gpc_strict: bool = False


class StoreConfig(Section):
    """The database; `url` None stands for the default store of this installation."""

    url: str | None = None
    read_timeout_ms: Annotated[int, Field(ge=1, le=500)] = 100
    write_timeout_ms: Annotated[int, Field(ge=1, le=900)] = 700


class DecisionsConfig(Section):
    """How served decisions are logged.

    Attributes
    ----------
    queue
        Rows that may wait in each worker: what a crash may lose at most. While it is full, no list is personalised.
    flush_ms
        Longest pause between two writes, in milliseconds.
    """

    queue: Count = 2_000
    flush_ms: Annotated[int, Field(ge=1, le=250)] = 250


class RetentionConfig(Section):
    """How long what is kept, in days; `considerate rights retention` deletes what is older.

    Attributes
    ----------
    events_days
        What customers did. Older rows are not used for lists either, deleted or not; the data TOML says the same for
        fits.
    decisions_days
        Lists that were served.
    requests_days
        Privacy requests that were answered.
    quarantine_days
        Files of rows that a load refused.
    """

    events_days: Count = 730
    decisions_days: Count = 90
    requests_days: Count = 365
    quarantine_days: Count = 30


class ControllerConfig(Section):
    """Who decides what the data is used for, as receipts and the transparency page name them.

    Attributes
    ----------
    id, name, address, contact
        The shop, and where a customer reaches it about her data.
    type
        Such as `company`.
    jurisdiction
        Law under which customers are asked, unless a record brings its own.
    authority
        Supervisory authority a customer can complain to.
    storage_locations
        Countries or regions in which the store lies.
    recipients
        Third parties that receive personal data; empty where there are none.
    """

    id: str = "shop"
    name: str = "the shop that runs this service"
    address: str = "see the shop's imprint"
    contact: str = "see the shop's privacy notice"
    type: str = "company"
    jurisdiction: str = "EU"
    authority: str = "the data protection authority where you live"
    storage_locations: tuple[str, ...] = ("on the shop's own systems",)
    recipients: tuple[str, ...] = ()


class TracingConfig(Section):
    """OpenTelemetry: off unless an exporter is named, since its middleware costs a third of the throughput."""

    exporter: Literal["none", "otlp", "zipkin", "jaeger"] = "none"


class ServiceConfig(Section):
    """The service: one frozen object, read once per process.

    Attributes
    ----------
    host, port, workers
        Where it listens and with how many processes.
    request_seconds
        A request is cut off after so long; BentoML keeps every request in memory for this time, so at most 1.
    surfaces
        Place on the shop's pages -> goal of its list.
    """

    host: str = "127.0.0.1"
    port: Port = 3000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    request_seconds: Annotated[float, Field(gt=0, le=1)] = 1.0
    auth: AuthConfig
    model: ModelSource
    surfaces: Annotated[dict[str, Literal["repeat", "new", "all"]], Field(min_length=1)]
    lists: ListsConfig = ListsConfig()
    limits: LimitsConfig = LimitsConfig()
    rates: RatesConfig = RatesConfig()
    policy: PolicyConfig = PolicyConfig()
    store: StoreConfig = StoreConfig()
    decisions: DecisionsConfig = DecisionsConfig()
    tracing: TracingConfig = TracingConfig()
    retention: RetentionConfig = RetentionConfig()
    controller: ControllerConfig = ControllerConfig()

    @field_validator("surfaces")
    @classmethod
    def _plain_names(cls, surfaces: dict[str, str]) -> dict[str, str]:
        for name in surfaces:
            if not name.isidentifier() or not name.isascii():
                raise ValueError(f"surface {name!r} must be a plain word of letters, digits and _")
        return surfaces
