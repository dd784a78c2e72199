"""Every algorithm that can be fitted. A new one is a file beside this one and a line here."""

from collections.abc import Callable
from dataclasses import dataclass

from considerate.ranking.scores import Artefact
from considerate.recommenders import (
    als,
    blend,
    bpr,
    buy_again,
    cold_start,
    content,
    ease,
    graph_filter,
    item_knn,
    lightfm_warp,
    next_item,
    popularity,
    two_stage,
)
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
    catalogue_alone
        Whether a catalogue is enough to fit it, before any customer has said yes.
    """

    params: type[Section]
    fit: Callable[..., Artefact]
    combines: bool = False
    catalogue_alone: bool = False


RECOMMENDERS: dict[str, Recommender] = {
    "popularity": Recommender(popularity.Params, popularity.fit, catalogue_alone=True),
    "item_knn": Recommender(item_knn.Params, item_knn.fit),
    "ease": Recommender(ease.Params, ease.fit),
    "graph_filter": Recommender(graph_filter.Params, graph_filter.fit),
    "als": Recommender(als.Params, als.fit),
    "next_item": Recommender(next_item.Params, next_item.fit),
    "bpr": Recommender(bpr.Params, bpr.fit),
    "lightfm_warp": Recommender(lightfm_warp.Params, lightfm_warp.fit),
    "buy_again": Recommender(buy_again.Params, buy_again.fit, catalogue_alone=True),
    "cold_start": Recommender(cold_start.Params, cold_start.fit),
    "content": Recommender(content.Params, content.fit, catalogue_alone=True),
    "blend": Recommender(blend.Params, blend.fit, combines=True, catalogue_alone=True),
    "two_stage": Recommender(two_stage.Params, two_stage.fit, combines=True),
}
