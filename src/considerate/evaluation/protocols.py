"""How a data set is cut into what a model may learn from and what it is judged on.

Two parts can be judged: `val`, carved from what the test part leaves, for every choice, and `test`, read for a final
figure alone. Neither the items that count nor the customers who count depend on the model or on `k_item`: an item that
a model may not know can be relevant, and is then simply never suggested.
"""

from collections.abc import Iterable

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError
from considerate.evaluation.cuts_by_customer import fixed, held_out_customers, leave_last_out
from considerate.evaluation.cuts_in_time import cold_items, consented, temporal
from considerate.evaluation.folds import Cut, Fold, Part, Targets, fold_of
from considerate.settings.data import DataConfig
from considerate.settings.protocols import (
    ColdItemsProtocol,
    ConsentedProtocol,
    FixedProtocol,
    HeldOutCustomersProtocol,
    LeaveLastOutProtocol,
    ProtocolConfig,
    TemporalProtocol,
)

__all__ = ["Fold", "Part", "Targets", "choose_protocol", "make_folds"]


def choose_protocol(data: DataConfig, name: str | None, where: str) -> tuple[str, ProtocolConfig]:
    """Give the protocol of that name, or the default one, with its name.

    Parameters
    ----------
    data, where
        A data set and the path of its TOML, which opens every message.
    name
        As on the command line, None for the default.

    Raises
    ------
    ConfigError
        There is none of that name, none at all, or several and no default.
    """
    known = ", ".join(sorted(data.protocol)) or "none"
    if not data.protocol:
        raise ConfigError(
            f'{where}: no [protocol.<name>] table; add one, such as [protocol.month] with kind = "temporal"'
        )
    wanted = name or data.default_protocol or (next(iter(data.protocol)) if len(data.protocol) == 1 else None)
    if wanted is None:
        raise ConfigError(f"{where}: several protocols ({known}) and no default_protocol; name one with --protocol")
    if wanted not in data.protocol:
        raise ConfigError(f"{where}: protocol = {wanted!r}; must be one of: {known}")
    return wanted, data.protocol[wanted]


def make_folds(
    dataset: Dataset,
    protocol: ProtocolConfig,
    *,
    final: bool,
    public_test: Dataset | None = None,
    rng: np.random.Generator,
) -> tuple[Fold, ...]:
    """Cut `dataset` by `protocol`.

    Parameters
    ----------
    dataset
        Everything that may be used; of a fixed protocol its public train part.
    final
        Judge the test part; else the development part, and the test part is not looked at.
    public_test
        The public test part of a fixed protocol, needed where `final`.
    rng
        Draws what is left to chance: who is held out, who consents, the development part of a fixed protocol.

    Returns
    -------
    tuple[Fold, ...]
        One, or one per cut of a protocol that cuts several times, oldest first.

    Raises
    ------
    DataError
        Train or test is empty, or a protocol of cuts in time meets events without time.
    """
    part: Part = "test" if final else "val"
    cuts = _cuts(dataset, protocol, final=final, public_test=public_test, rng=rng)
    return tuple(
        fold_of(cut, part, goals=protocol.goals, k=protocol.k, min_customers=protocol.min_customers) for cut in cuts
    )


def _cuts(
    dataset: Dataset,
    protocol: ProtocolConfig,
    *,
    final: bool,
    public_test: Dataset | None,
    rng: np.random.Generator,
) -> Iterable[Cut]:
    match protocol:
        case TemporalProtocol():
            return temporal(dataset, protocol, final=final)
        case ColdItemsProtocol():
            return [cold_items(dataset, protocol, final=final)]
        case ConsentedProtocol():
            return [consented(dataset, protocol, final=final, rng=rng)]
        case LeaveLastOutProtocol():
            return [leave_last_out(dataset, protocol, final=final)]
        case HeldOutCustomersProtocol():
            return [held_out_customers(dataset, protocol, final=final, rng=rng)]
        case FixedProtocol():
            if final and public_test is None:
                raise ConfigError("protocol of kind fixed: the test part is the file named by test; read it first")
            return [fixed(dataset, protocol, public_test if final else None, rng)]
