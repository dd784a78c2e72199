"""The time between two models that are served: short differences between them would show single purchases.

It lies between the moments of their fits, which say what each has seen, and not between those of their publications:
a daily fit is a day apart from the one before, however long either took.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from considerate.errors import TrackingError
from considerate.settings.promotion import PromotionRules
from considerate.tracking.ledger import Ledger
from considerate.tracking.registry import CHAMPION

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

AS_OF = "consent.as_of"
PUBLISHED = "considerate.published_at"
NEXT_FIT = "considerate.next_fit_due"
ENOUGH = 11 / 12
"""Share of the interval that is asked for: 22 of 24 hours. What is run daily begins a little earlier on some days, an
hour earlier when clocks change, or is fitted again before it is promoted."""


def refuse_too_soon(
    client: "MlflowClient", ledger: Ledger, *, name: str, as_of: datetime, rules: PromotionRules
) -> None:
    """Refuse a model that lies too close to one that was served before.

    A fit that carries out what is due is never held back: the rebuild after an erasure, or the next fit after a
    promotion with withdrawals.

    Parameters
    ----------
    client, ledger
        Of this installation.
    name
        Of the registered model.
    as_of
        The moment of the fit.
    rules
        Of the shop.

    Raises
    ------
    TrackingError
        Names both fits and from when on a fit may be published.
    """
    found = client.search_registered_models(filter_string=f"name = '{name}'")
    champion = found[0].aliases.get(CHAMPION) if found else None
    apart = timedelta(hours=rules.min_publish_hours) * ENOUGH
    served: dict[datetime, str] = {}
    for version in client.search_model_versions(f"name = '{name}'"):
        # The champion too: whoever promoted it may have been stopped before the tag was written.
        if (PUBLISHED not in version.tags and str(version.version) != str(champion)) or AS_OF not in version.tags:
            continue
        fitted = datetime.fromisoformat(version.tags[AS_OF])
        served[fitted] = f"{name}-{version.version}"
        if str(version.version) == str(champion) and _due(ledger, version.tags, fitted, as_of):
            return
    near = [fitted for fitted in served if abs(as_of - fitted) < apart]
    if near:
        last = max(near)
        raise TrackingError(
            f"{name}: a fit as of {as_of:%Y-%m-%d %H:%M} UTC is too close to {served[last]}, which was served and is "
            f"as of {last:%Y-%m-%d %H:%M} UTC; [promotion] min_publish_hours = {rules.min_publish_hours:g}: fit again "
            f"after {max(served) + apart:%Y-%m-%d %H:%M} UTC, or set it to 0 where nobody outside the shop can compare "
            "the lists of two models"
        )


def _due(ledger: Ledger, tags: dict[str, str], fitted: datetime, as_of: datetime) -> bool:
    """Whether a model as of `as_of` carries out what the champion, as of `fitted`, still owes."""
    return as_of > fitted and (bool(tags.get(NEXT_FIT)) or ledger.erased_between(fitted, as_of))
