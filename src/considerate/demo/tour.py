"""A walk over the running service, as the shop's page would call it: every step is real HTTP."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from considerate.errors import ServingError

LIST_LENGTH = 8
CALLS_AFTER_WITHDRAWAL = 200


def wide_console() -> Console:
    """Give a console as wide as the terminal, and 140 characters wide where the output goes into a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who appears in the tour, by shop id.

    Attributes
    ----------
    consenting, withdrawing, buying
        Households that allowed everything.
    unasked
        All households without any record.
    """

    consenting: str
    withdrawing: str
    buying: str
    unasked: tuple[str, ...]


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

    def call(
        self, method: str, path: str, token: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> dict[str, Any]:
        """Make one request; anything but success ends the tour with the answer's own words."""
        answer = self.client.request(
            method, path, headers={"Authorization": f"Bearer {token}", **(headers or {})}, **more
        )
        if answer.is_error:
            raise ServingError(f"{method} {path} answered {answer.status_code}: {answer.text}; see the service's log")
        body: dict[str, Any] = answer.json()
        return body

    def suggestions(self, customer: str, surface: str = "home") -> dict[str, Any]:
        """Ask for a list as the customer's own page would."""
        path = f"/v1/me/recommendations?surface={surface}&n={LIST_LENGTH}"
        return self.call("GET", path, self.customer_token(customer))

    def personalised(self, customers: Iterable[str]) -> int:
        """Ask once for each of `customers`, over a new connection each, so that every worker answers some.

        Returns
        -------
            How many of the answers were personalised.
        """
        path = f"/v1/me/recommendations?n={LIST_LENGTH}"
        once = {"Connection": "close"}
        answers = (self.call("GET", path, self.customer_token(customer), headers=once) for customer in customers)
        return sum(answer["basis"] == "personalised" for answer in answers)

    def history_reads(self) -> int:
        """How often the service has read a history out of the store, over all workers, by its own count."""
        lines = self.client.get("/metrics").text.splitlines()
        return int(sum(float(line.split()[-1]) for line in lines if line.startswith("considerate_history_reads_total")))


def walk(shop: Shop, cast: Cast, console: Console) -> None:
    """Show the four things the product promises, each checked as it is shown.

    Raises
    ------
    ServingError
        An answer is not what the promise says.
    """
    _with_consent(shop, cast.consenting, console)
    _without_record(shop, cast.unasked, console)
    _withdrawal(shop, cast.withdrawing, console)
    _purchase(shop, cast.buying, console)


def say_addresses(home: Path, url: str, mlflow_url: str, cast: Cast, console: Console) -> None:
    """Say where the servers are, and how to ask for a list oneself."""
    console.print(f"The service: {url}/openapi.json   the experiment in MLflow: {mlflow_url}", soft_wrap=True)
    console.print("Ask for a list yourself, in another terminal; here as a household that agreed:")
    token = f"CONSIDERATE_HOME={home} .venv/bin/considerate token --customer {cast.consenting}"
    path = "/v1/me/recommendations?surface=discover"
    console.print(f'  curl -H "Authorization: Bearer $({token})" "{url}{path}"', soft_wrap=True, markup=False)
    console.print("Both keep running; Ctrl-C stops them.")


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


def _without_record(shop: Shop, unasked: Sequence[str], console: Console) -> None:
    console.rule("2. Households that were never asked")
    reads = shop.history_reads()
    answer = shop.suggestions(unasked[0])
    _expect(answer, "non_personalised", "no_consent")
    _print_list("popular with those who allow training", answer, shop, console)
    _say_basis(answer, console)
    personalised, reads = shop.personalised(unasked), shop.history_reads() - reads
    console.print(
        f"All {len(unasked)} of them asked for a list: {personalised} personalised answers, {reads} reads of a "
        "history. No record means no."
    )
    if personalised or reads:
        raise ServingError(f"{personalised} personalised answers and {reads} reads without consent; both must be 0")


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
    personalised = shop.personalised([customer] * CALLS_AFTER_WITHDRAWAL)
    console.print(f"{CALLS_AFTER_WITHDRAWAL} more calls over both workers: {personalised} personalised answers.")
    if personalised:
        raise ServingError(f"{personalised} personalised answers after a withdrawal; there must be none")


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
