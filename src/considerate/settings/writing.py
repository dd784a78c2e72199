"""Writing a TOML file that reads back as the values it was made from."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(values: Mapping[str, Any], comment: Sequence[str] = ()) -> str:
    """Give the text of a TOML file.

    Parameters
    ----------
    values
        Strings, numbers, truths, lists and tables of them; None is left out, since TOML has none. A table at the top
        gets a heading of its own, and so does one in it that holds tables; any other stands in one line.
    comment
        Lines above it all.

    Examples
    --------
    >>> print(toml_text({"algorithm": "als", "params": {"factors": 64, "weighting": {"kinds": {"view": 0.1}}}}), end="")
    algorithm = "als"
    <BLANKLINE>
    [params]
    factors = 64
    <BLANKLINE>
    [params.weighting]
    kinds = { view = 0.1 }
    """
    blocks = ["\n".join(f"# {line}" for line in comment)] if comment else []
    blocks.append(_lines({name: value for name, value in values.items() if not isinstance(value, Mapping)}))
    for name, table in values.items():
        if isinstance(table, Mapping):
            deep = {key: inner for key, inner in table.items() if _holds_tables(inner)}
            flat = {key: inner for key, inner in table.items() if key not in deep}
            if flat or not deep:
                blocks.append(f"[{_key(name)}]\n{_lines(flat)}".rstrip())
            blocks += [f"[{_key(name)}.{_key(key)}]\n{_lines(inner)}" for key, inner in deep.items()]
    head = 1 if comment else 0
    return "\n".join(blocks[: head + 1]) + "\n" + "".join(f"\n{block}\n" for block in blocks[head + 1 :])


def _holds_tables(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(inner, Mapping) for inner in value.values())


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(f"{_key(name)} = {toml_value(value)}" for name, value in table.items() if value is not None)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else toml_value(name)


def toml_value(value: object) -> str:
    """Give one value as TOML writes it; a table in one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(name)} = {toml_value(one)}" for name, one in value.items() if one is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(one) for one in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(float(value))  # NumPy's float64 would name its type
    return json.dumps(value)
