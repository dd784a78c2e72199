"""The four models beside each other, and which of them is promoted."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from considerate.evaluation.preparation import Prepared
from considerate.tracking.registry import RegisteredVersion
from considerate.tracking.training import Trained

JUDGED_BY = ("val/repeat/ndcg_at_10", "val/new/ndcg_at_10")


def print_comparison(prepared: Prepared, models: Sequence[Path], trained: Sequence[Trained], console: Console) -> None:
    """Print one row per model: ndcg@10 for both goals with its interval, share of products ever shown, fit time."""
    consent = prepared.dataset.consent
    console.print(
        f"Trained on {consent.customers_kept:,} of {consent.customers_total:,} households; judged on the 28 days "
        "before the last 28 (the development part; 95 % intervals), over the whole catalogue."
    )
    table = Table(title_justify="left")
    for heading in ("model", "ndcg@10 repeat", "ndcg@10 new", "products shown (new)", "fit"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for path, run in zip(models, trained, strict=True):
        figures = {figure.name: figure for figure in run.figures}
        cells = [
            f"{figures[name].value:.3f} [dim]{figures[name].low:.3f}-{figures[name].high:.3f}[/dim]"
            for name in JUDGED_BY
        ]
        shown = figures["val/new/coverage_at_10"].value
        table.add_row(path.stem, *cells, f"{shown:.1%}", f"{run.facts['fit_seconds']:.1f} s")
    console.print(table)


def best(trained: Sequence[Trained]) -> RegisteredVersion:
    """Choose the version with the highest mean of the two figures, on the development part."""

    def merit(run: Trained) -> float:
        return sum(figure.value for figure in run.figures if figure.name in JUDGED_BY)

    champion = max(trained, key=merit).version
    assert champion is not None, "every model of the demo is registered"  # noqa: S101 - narrows the type
    return champion
