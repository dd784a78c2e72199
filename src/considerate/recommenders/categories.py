"""Categories of items: a path names every level above it, and a product may stand in several."""

from collections.abc import Sequence

SEPARATOR = " > "
ALSO = "|"


def categories_of(path: str) -> tuple[str, ...]:
    """Give every category that a path names, widest first.

    >>> categories_of("GROCERY > SOUP > CANNED")
    ('GROCERY', 'GROCERY > SOUP', 'GROCERY > SOUP > CANNED')
    >>> categories_of("Comedy|Drama"), categories_of("")
    (('Comedy', 'Drama'), ())
    """
    found: list[str] = []
    for one in path.split(ALSO):
        levels = [level.strip() for level in one.split(SEPARATOR) if level.strip()]
        found += [SEPARATOR.join(levels[: depth + 1]) for depth in range(len(levels))]
    return tuple(dict.fromkeys(found))


def members_of(paths: Sequence[str]) -> dict[str, list[int]]:
    """Give each category, in sorted order, the places in `paths` that are in it."""
    members: dict[str, list[int]] = {}
    for place, path in enumerate(paths):
        for category in categories_of(path):
            members.setdefault(category, []).append(place)
    return {category: members[category] for category in sorted(members)}
