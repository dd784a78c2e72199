"""Every error that considerate raises on purpose.

    ConsiderateError
    |-- ConfigError      a TOML file, an option or an environment variable is wrong
    |-- DataError        a source cannot be read, or too many of its rows are bad
    |-- StoreError       the database cannot be opened, is locked, read-only or of another schema
    |   `-- StoreUnavailable     it does not answer in time, or not at all; it may later
    |       `-- StoreBusy        it works, and this one thing took too long or found every connection in use
    |           `-- StoreLocked  another process writes
    |-- ConsentError     a consent rule, the ledger or the gate refuses
    |   |-- StaleNotice          a grant names a notice that is not the current one
    |   |-- MinorCannotConsent   a grant by someone who is, or may be, under 18
    |   `-- UnknownSubject       nobody of that reference, or an erased person
    |-- ArtefactError    a model on disk is not what its manifest says
    |-- TrackingError    MLflow or its registry refuses, or a model may not be registered
    |   `-- StaleModel           consent has outrun a model: it may not be promoted as it is
    `-- ServingError     the service cannot start

A message names the value, the rule and the next step. The command line prints it alone and exits with code 2.
"""


class ConsiderateError(Exception):
    """Something the reader of the message can put right."""


class ConfigError(ConsiderateError):
    """A TOML file, an option or an environment variable is wrong."""


class DataError(ConsiderateError):
    """A source cannot be read, or too many of its rows are bad."""


class StoreError(ConsiderateError):
    """The database cannot be opened, is locked, read-only or of another schema."""


class StoreUnavailable(StoreError):
    """The database does not answer in time, or not at all; it may later."""


class StoreBusy(StoreUnavailable):
    """The database works, but this one statement took too long, or every connection is in use."""


class StoreLocked(StoreBusy):
    """Another process writes, and for longer than this one may wait."""


class ConsentError(ConsiderateError):
    """A consent rule, the ledger or the gate refuses."""


class StaleNotice(ConsentError):
    """A grant names a notice that is not the current one."""


class MinorCannotConsent(ConsentError):
    """A grant by someone who is, or may be, under 18."""


class UnknownSubject(ConsentError):
    """Nobody of that reference, or an erased person."""


class ArtefactError(ConsiderateError):
    """A model on disk is not what its manifest says."""


class TrackingError(ConsiderateError):
    """MLflow or its registry refuses, or a model may not be registered."""


class StaleModel(TrackingError):
    """Consent has outrun a model: it may not be promoted as it is."""


class ServingError(ConsiderateError):
    """The service cannot start."""
