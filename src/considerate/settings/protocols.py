"""The tables `[protocol.<name>]` of a data TOML: how data are cut into what is learnt from and what is judged."""

from typing import Annotated, Literal

from pydantic import Field

from considerate.settings.toml import Section

Share = Annotated[float, Field(gt=0, lt=1)]
Days = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Goals = tuple[Literal["repeat", "new"], ...]


class TemporalProtocol(Section):
    """Cuts in time: fit on what lies before, judge on the `test_days` after it.

    The test cuts lie 1, 2 .. `cuts` times `test_days` before the last event; the development cuts as many times before
    the first of them, so that no development data lie behind it.

    Attributes
    ----------
    test_days
        Days behind each cut that are judged, and between two cuts.
    cuts
        How many; several are figures of their own and one pooled figure.
    min_customers
        Items that fewer customers chose before the cut neither teach nor count.
    goals, k
        What is judged: `repeat`, `new`; lengths of list.
    """

    kind: Literal["temporal"] = "temporal"
    test_days: Days = 28
    cuts: Count = 1
    min_customers: Count = 1
    goals: Goals = ("repeat", "new")
    k: tuple[Count, ...] = (10,)


class LeaveLastOutProtocol(Section):
    """Each customer's last choice is asked for, everything before it is known; for development, the second last."""

    kind: Literal["leave_last_out"]
    min_customers: Count = 1
    goals: Goals = ("new",)
    k: tuple[Count, ...] = (10,)


class HeldOutCustomersProtocol(Section):
    """Customers who are in no fit: a first part of what they did is their history, the rest is asked for.

    Attributes
    ----------
    min_rating
        A rating below it is no choice; None: every rating is one.
    min_events
        Customers with fewer choices take no part at all.
    held_out
        Customers in the test part, and as many others in the development part.
    history_share
        Share of a customer's choices, the first ones, that are her history.
    history
        `first`: that share is known. `none`: nothing is known but what she allows to be known of herself.
    ratings
        What is learnt from and known: choices alone (`positive`), or every event (`all`). The targets are the same.
    seed
        Draws who is held out.
    """

    kind: Literal["held_out_customers"]
    min_rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    min_events: Count = 5
    held_out: Count = 1_000
    history_share: Share = 0.8
    history: Literal["first", "none"] = "first"
    ratings: Literal["positive", "all"] = "positive"
    seed: Seed = 0
    min_customers: Count = 1
    goals: Goals = ("new",)
    k: tuple[Count, ...] = (10,)


class FixedProtocol(Section):
    """The public train and test files of a data set; development data are carved from train."""

    kind: Literal["fixed"]
    test: str
    development_share: Share = 0.1
    seed: Seed = 0
    min_customers: Count = 1
    goals: Goals = ("new",)
    k: tuple[Count, ...] = (20,)


class ColdItemsProtocol(Section):
    """New products: what was first sold in the `test_days` after the cut, among all that nobody bought before it."""

    kind: Literal["cold_items"]
    test_days: Days = 28
    min_customers: Count = 1
    goals: tuple[Literal["new"], ...] = ("new",)
    k: tuple[Count, ...] = (10,)


class ConsentedProtocol(Section):
    """A temporal cut under simulated consent: fit on those who allow training, judge those who allow suggestions.

    Attributes
    ----------
    training, personalisation
        Share of the customers before the cut who allow `train_models`, and who allow `personalise_onsite`.
    activity
        How much more willing the active are: log odds per standard deviation of the logarithm of a customer's events
        before the cut; 0 for consent by chance alone, below 0 for consent of the less active.
    seed
        Draws who allows what.
    """

    kind: Literal["consented"]
    test_days: Days = 28
    training: Share = 0.5
    personalisation: Share = 0.7
    activity: Annotated[float, Field(allow_inf_nan=False)] = 0.5
    seed: Seed = 0
    min_customers: Count = 1
    goals: Goals = ("repeat", "new")
    k: tuple[Count, ...] = (10,)


ProtocolConfig = Annotated[
    TemporalProtocol
    | LeaveLastOutProtocol
    | HeldOutCustomersProtocol
    | FixedProtocol
    | ColdItemsProtocol
    | ConsentedProtocol,
    Field(discriminator="kind"),
]
