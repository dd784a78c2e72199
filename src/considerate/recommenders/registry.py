"""Every algorithm that can be fitted. A new one is a file beside this one and a line here."""

from collections.abc import Callable
from dataclasses import dataclass

from considerate.ranking.scores import Artefact
from considerate.recommenders import als, blend, buy_again, item_knn, popularity
from considerate.settings.toml import Section


@dataclass(frozen=True, slots=True)
class Recommender:
    """An algorithm.

    Attributes
    ----------
    params
        The class that checks `[params]` of its TOML.
    fit
        (dataset, params, rng) -> artefact. If it combines, a fourth argument fits its components on a data set of the
        same items: all of the events, or those before an earlier moment.
    combines
        Whether it is made of other models, named in `[components]`.
    """

    params: type[Section]
    fit: Callable[..., Artefact]
    combines: bool = False


RECOMMENDERS: dict[str, Recommender] = {
    "popularity": Recommender(popularity.Params, popularity.fit),
    "item_knn": Recommender(item_knn.Params, item_knn.fit),
    "als": Recommender(als.Params, als.fit),
    "buy_again": Recommender(buy_again.Params, buy_again.fit),
    "blend": Recommender(blend.Params, blend.fit, combines=True),
}
