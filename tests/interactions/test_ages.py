"""Ages of the customer table: read at their lowest, or refused."""

from datetime import UTC, datetime

import pytest

from considerate.errors import DataError
from considerate.interactions.ages import ages_of_labels, ages_of_years

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("17", 17),
        ("age 17", 17),
        ("18 yrs", 18),
        ("18yrs", 18),
        ("13-17", 13),
        ("13 \N{EN DASH} 17", 13),
        ("Ages 13 to 17 years", 13),
        ("16-24", 16),
        ("65+", 65),
        ("65 +", 65),
        ("16 years and over", 16),
        ("18 and older", 18),
        ("18 and above", 18),
        ("18 and up", 18),
        ("18 years old", 18),
        ("18 or older", 18),
        ("65 & over", 65),
        ("65 plus", 65),
        ("over 65", 65),
        (">=18", 18),
        ("u13", 0),
        ("13_15", 13),
        ("16_17", 16),
        ("adult", 18),
        ("Adult", 18),
    ],
)
def test_a_label_counts_from_its_lower_end(label: str, expected: int) -> None:
    assert ages_of_labels([label]) == [expected]


@pytest.mark.parametrize(
    "label",
    ["Under 18", "<18", "< 18", "below 18", "up to 18", "U18", "u18", "u 18", "less than 18", "Younger than 18 years"],
)
def test_a_label_without_a_lower_end_is_of_the_youngest(label: str) -> None:
    assert ages_of_labels([label]) == [0]


@pytest.mark.parametrize(
    ("label", "expected"),
    [("minor", 0), ("Child", 0), ("children", 0), ("kid", 0), ("teen", 13), ("Teenager", 13)],
)
def test_a_word_for_children_is_of_the_youngest_that_it_allows(label: str, expected: int) -> None:
    assert ages_of_labels([label]) == [expected]


@pytest.mark.parametrize(
    "label",
    [
        "unknown",
        "Age unknown",
        "None",
        "None/Unknown",
        "n/a",
        "NA",
        "NaN",
        "not stated",
        "Prefer not to say",
        "NULL",
        "-",
        "\N{EN DASH}",
        "?",
        "",
        None,
    ],
)
def test_an_unknown_age_is_none(label: str | None) -> None:
    assert ages_of_labels([label]) == [None]


@pytest.mark.parametrize(
    "label",
    [
        "unter 18",
        "moins de 18",
        "bis 18",
        "max 18",
        "U-18",
        ">12",
        "pupil 19",
        "grade 18",
        "34-25",
        "121",
        "2012",
        "2012-05-03",
        "-1",
        "years",
        "1 8",
        "\uff11\uff18",
        "18\u0660",
    ],
)
def test_a_label_that_is_not_surely_understood_is_refused(label: str) -> None:
    with pytest.raises(
        DataError, match=r"customers\.columns\.age_band: .* \(1\), customers concerned: 1; must be an age"
    ):
        ages_of_labels(["25-34", label])


def test_a_refusal_names_three_labels_the_rule_and_the_next_step() -> None:
    labels = ["bis 18", "bis 18", "bis 18", "old", "young", "young", "x" * 50, "25-34", None]
    with pytest.raises(DataError) as refused:
        ages_of_labels(labels)
    assert str(refused.value) == (
        "customers.columns.age_band: 'bis 18' (3), 'young' (2), 'old' (1) and 1 more, customers concerned: 7; "
        "must be an age such as 17, 13-17, 65+ or under 18, one of u13, 13_15, 16_17, adult, minor, child, children, "
        "kid, teen, teenager, unknown, or empty; correct the table, leave such an age empty there, map another column "
        "to age_band, or leave the rows out by customers.where"
    )


def test_a_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(DataError, match=f"'{'x' * 40}' "):
        ages_of_labels(["x" * 50])


@pytest.mark.parametrize(
    ("year", "expected"),
    [
        ("2007", 18),
        ("2007.0", 18),
        ("2026", -1),
        ("1900", 125),
        ("nan", None),
        ("0", None),
        ("NULL", None),
        ("", None),
        (None, None),
    ],
)
def test_a_birthday_counts_as_yet_to_come(year: str | None, expected: int | None) -> None:
    assert ages_of_years([year], AT) == [expected]


@pytest.mark.parametrize(
    "year",
    ["2012-05-03", "2012.6", "12", "99", "1899", "2027", "00", "-2012", "2e3", "unknown", "\u0661\u0669\u0669\u0660"],
)
def test_a_birth_year_that_is_no_year_is_refused(year: str) -> None:
    message = (
        rf"customers\.columns\.birth_year: '{year}' \(2\), customers concerned: 2; "
        r"must be a year of four digits from 1900 to 2026, or empty; correct the table"
    )
    with pytest.raises(DataError, match=message):
        ages_of_years(["1990", year, year], AT)
