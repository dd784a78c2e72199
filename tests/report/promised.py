"""What the report promises to try: every behaviour and every attack that the product holds itself to."""

BEHAVIOURS = (
    *(str(number) for number in range(1, 15)),
    *(str(number) for number in range(16, 23)),
    *(str(number) for number in range(25, 42)),
    "43",
)
"""Numbers of the behaviours. Those that are missing belong to what is not built: campaigns, stated preferences in
lists, and the deletion of single models."""

BESIDE = (
    "24 pinned",
    "25 apart",
    "27 strict",
    "36 time",
    "39 cache",
    "check",
    "kill",
    "races",
    "restore",
    "slow",
    "unknown",
)
"""Further promises, by name."""

ATTACKS = {
    1: "35",
    2: "35",
    3: "35",
    4: "attack 4",
    5: "34",
    6: "37",
    7: "28",
    8: "attack 8",
    9: "races",
    10: "12",
    13: "6",
    14: "restore",
    20: "20",
    21: "attack 21",
    22: "39 cache",
    23: "33",
    24: "attack 24",
    25: "attack 25",
    27: "17",
    28: "16",
    29: "16",
}
"""Number of an attack and the row that tries it."""

PROMISED = frozenset((*BEHAVIOURS, *BESIDE, *ATTACKS.values()))
"""Numbers of the rows that the report must have, no more and no fewer."""
