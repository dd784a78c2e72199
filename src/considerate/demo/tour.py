"""A walk over the running service, as the shop's page would call it: every step is real HTTP."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from considerate.errors import ServingError

LIST_LENGTH = 8


def wide_console() -> Console:
    """Give a console as wide as the terminal, and 140 characters wide where the output goes into a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who appears in the tour, by shop id: one with consent, one without, one who withdraws, one who buys."""

    consenting: str
    without_record: str
    withdrawing: str
    buying: str


@dataclass(frozen=True, slots=True)
class Shop:
    """What the shop has: the endpoint, its own token mint, its catalogue and its order history.

    Attributes
    ----------
    client
        Speaks to the service.
    customer_token, service_token
        Mint a login token for a customer, and one for the order system (scope `events:write`).
    titles
        Item id -> title.
    bought
        Customer id -> item ids, newest first.
    """

    client: httpx.Client
    customer_token: Callable[[str], str]
    service_token: Callable[[], str]
    titles: Mapping[str, str]
    bought: Mapping[str, Sequence[str]]

    def call(self, method: str, path: str, token: str, **more: Any) -> dict[str, Any]:
        """Make one request; anything but success ends the tour with the answer's own words."""
        answer = self.client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)
        if answer.is_error:
            raise ServingError(f"{method} {path} answered {answer.status_code}: {answer.text}; see the service's log")
        body: dict[str, Any] = answer.json()
        return body

    def suggestions(self, customer: str, surface: str = "home") -> dict[str, Any]:
        """Ask for a list as the customer's own page would."""
        path = f"/v1/me/recommendations?surface={surface}&n={LIST_LENGTH}"
        return self.call("GET", path, self.customer_token(customer))


def walk(shop: Shop, cast: Cast, console: Console) -> None:
    """Show the four things the product promises, each checked as it is shown.

    Raises
    ------
    ServingError
        An answer is not what the promise says.
    """
    _with_consent(shop, cast.consenting, console)
    _without_record(shop, cast.without_record, console)
    _withdrawal(shop, cast.withdrawing, console)
    _purchase(shop, cast.buying, console)


def _with_consent(shop: Shop, customer: str, console: Console) -> None:
    console.rule("1. A household that allowed suggestions")
    answer = shop.suggestions(customer, "discover")
    _expect(answer, "personalised", "ok")
    table = Table("bought last", "suggested now (new to them)", "because they bought", box=None, pad_edge=False)
    bought = [shop.titles.get(item, item) for item in shop.bought[customer][:LIST_LENGTH]]
    for row, item in enumerate(answer["items"]):
        because = ", ".join(shop.titles.get(reason, reason) for reason in item.get("because") or ())
        table.add_row(bought[row] if row < len(bought) else "", shop.titles.get(item["item_id"], ""), because)
    console.print(table)
    _say_basis(answer, console)


def _without_record(shop: Shop, customer: str, console: Console) -> None:
    console.rule("2. A household that was never asked")
    answer = shop.suggestions(customer)
    _expect(answer, "non_personalised", "no_consent")
    _print_list("popular with those who allow training", answer, shop, console)
    console.print("What it bought was not read. No record means no.")
    _say_basis(answer, console)


def _withdrawal(shop: Shop, customer: str, console: Console) -> None:
    console.rule("3. A household that changes its mind")
    before = shop.suggestions(customer)
    _expect(before, "personalised", "ok")
    _print_list("before", before, shop, console)
    shop.call("DELETE", "/v1/me/consents/personalise_onsite", shop.customer_token(customer))
    console.print("[bold]DELETE /v1/me/consents/personalise_onsite[/bold]  - one call, no body, no questions")
    after = shop.suggestions(customer)
    _expect(after, "non_personalised", "withdrawn")
    _print_list("the very next answer", after, shop, console)
    _say_basis(after, console)


def _purchase(shop: Shop, customer: str, console: Console) -> None:
    console.rule("4. A household that buys something")
    before = shop.suggestions(customer, "discover")
    _expect(before, "personalised", "ok")
    _print_list("before", before, shop, console)
    item = before["items"][0]["item_id"]
    event = {"customer_id": customer, "event_id": f"tour-{before['decision_id']}", "item_id": item, "kind": "purchase"}
    shop.call("POST", "/v1/events", shop.service_token(), json={"events": [event]})
    console.print(f"[bold]POST /v1/events[/bold]  - the order system reports a purchase: {shop.titles.get(item, item)}")
    after = shop.suggestions(customer, "discover")
    _expect(after, "personalised", "ok")
    _print_list("the very next answer, without a refit", after, shop, console)
    if [entry["item_id"] for entry in after["items"]] == [entry["item_id"] for entry in before["items"]]:
        raise ServingError("the list did not move after a purchase; the event was not read by the next answer")


def _print_list(title: str, answer: Mapping[str, Any], shop: Shop, console: Console) -> None:
    names = (shop.titles.get(entry["item_id"], entry["item_id"]) for entry in answer["items"])
    console.print(f"[dim]{title}:[/dim] " + " [dim]|[/dim] ".join(names))


def _say_basis(answer: Mapping[str, Any], console: Console) -> None:
    console.print(
        f"[dim]basis {answer['basis']}, reason {answer['reason']}, model version {answer['model_version']}[/dim]"
    )


def _expect(answer: Mapping[str, Any], basis: str, reason: str) -> None:
    if (answer["basis"], answer["reason"]) != (basis, reason):
        raise ServingError(
            f"the service answered basis {answer['basis']}, reason {answer['reason']} where the demo expects "
            f"{basis}, {reason}; see the service's log"
        )
    if not answer["items"]:
        raise ServingError(f"the service answered an empty list with reason {reason}; see the service's log")
