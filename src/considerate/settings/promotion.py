"""The promotion TOML (`configs/promotion.toml`): when a fitted model may become the one that is served."""

from typing import Annotated

from pydantic import Field

from considerate.settings.toml import Section


class PromotionRules(Section):
    """What a promotion keeps to.

    Attributes
    ----------
    min_publish_hours
        So long lies between the fits of two models that are served; a twelfth less will do, so that what is run every
        24 hours is not refused for a minute. Whoever compares the lists of two models that differ by few purchases can
        guess those purchases (Calandrino et al. 2011); a whole day's purchases between them hide each other. A fit
        that carries out an erasure, or follows a promotion with withdrawals, is not held back. 0 where nobody outside
        can ask.
    refits
        A model that consent has outrun is fitted again so often before it is promoted with what remains.
    """

    min_publish_hours: Annotated[float, Field(ge=0, le=8_760)] = 24
    refits: Annotated[int, Field(ge=0, le=20)] = 3


class PromotionConfig(Section):
    """The file."""

    promotion: PromotionRules = PromotionRules()
