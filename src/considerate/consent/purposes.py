"""The five purposes, each its own switch, none pre-ticked. Two of them only widen others and are useless alone."""

from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    """What a customer may allow, one by one."""

    PERSONALISE_ONSITE = "personalise_onsite"
    TRAIN_MODELS = "train_models"
    LINK_IN_STORE = "link_in_store"
    EMAIL_CAMPAIGN = "email_campaign"
    SENSITIVE_CATEGORIES = "sensitive_categories"


@dataclass(frozen=True, slots=True)
class PurposeRule:
    """What holds for a purpose wherever it is used.

    Attributes
    ----------
    version
        Version of the purpose's meaning; written into each ledger event.
    explicit
        The customer must say so in words of its own (GDPR 9(2)(a)).
    gpc_denies
        A `Sec-GPC: 1` signal denies it (see considerate.consent.decision).
    ttl_days
        A grant expires after so many days and is asked for again.
    requires
        Purposes that this one widens: unless one of them is effective it is not either. Empty where it stands alone.
    """

    version: int
    explicit: bool
    gpc_denies: bool
    ttl_days: int
    requires: tuple[Purpose, ...] = ()


_ONSITE, _TRAIN, _EMAIL = Purpose.PERSONALISE_ONSITE, Purpose.TRAIN_MODELS, Purpose.EMAIL_CAMPAIGN

PURPOSE_RULES: dict[Purpose, PurposeRule] = {
    _ONSITE: PurposeRule(1, explicit=False, gpc_denies=False, ttl_days=730),
    _TRAIN: PurposeRule(1, explicit=False, gpc_denies=False, ttl_days=730),
    Purpose.LINK_IN_STORE: PurposeRule(1, explicit=False, gpc_denies=True, ttl_days=730, requires=(_ONSITE, _TRAIN)),
    _EMAIL: PurposeRule(1, explicit=False, gpc_denies=True, ttl_days=730),
    Purpose.SENSITIVE_CATEGORIES: PurposeRule(
        1, explicit=True, gpc_denies=True, ttl_days=365, requires=(_ONSITE, _TRAIN, _EMAIL)
    ),
}
