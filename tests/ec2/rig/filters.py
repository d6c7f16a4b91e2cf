"""Filters and pages of Describe calls, over replies in the API's own shape."""

from __future__ import annotations

import base64
import fnmatch
from typing import Any, Dict, Iterable, List, Optional

from .errors import ApiError


def chosen(items: Iterable[Dict[str, Any]], wanted: Any, fields: Dict[str, str]) -> List[Dict[str, Any]]:
    """Those that pass all filters. `fields` says which field (a dotted path) each filter looks at."""
    found = list(items)
    for one in wanted or []:
        name, values = one.get("Name"), one.get("Values") or []
        found = [item for item in found if _passes(item, name, values, fields)]
        if name not in fields and not name.startswith("tag:") and name not in ("tag-key", "tag-value"):
            raise ApiError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return found


def _passes(item: Dict[str, Any], name: str, values: List[str], fields: Dict[str, str]) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in item.get("Tags") or []}
    if name.startswith("tag:"):
        key = name[len("tag:") :]
        actual = [tags[key]] if key in tags else []
    elif name in ("tag-key", "tag-value"):
        actual = list(tags if name == "tag-key" else tags.values())
    elif name in fields:
        actual = list(_values(item, fields[name].split(".")))
    else:
        return False
    return any(fnmatch.fnmatchcase(have, _escaped(want)) for have in actual for want in values)


def _escaped(pattern: str) -> str:
    return pattern.replace("[", "[[]")


def _values(item: Any, path: List[str]) -> Iterable[str]:
    if isinstance(item, list):
        for one in item:
            yield from _values(one, path)
    elif not path:
        if isinstance(item, bool):
            yield str(item).lower()
        elif item is not None:
            yield str(item)
    elif isinstance(item, dict):
        yield from _values(item.get(path[0]), path[1:])


def page(
    key: str, items: List[Any], parameters: Dict[str, Any], most: Optional[int] = None
) -> Dict[str, Any]:
    """One page of them, and the token of the next when there is one."""
    size = int(parameters.get("MaxResults") or 0) or most or len(items) or 1
    size = min(size, most or size)
    token = parameters.get("NextToken")
    try:
        start = int(base64.b64decode(token)) if token else 0
    except ValueError:
        raise ApiError("InvalidNextToken", f"The token '{token}' is invalid") from None
    reply = {key: items[start : start + size]}
    if start + size < len(items):
        reply["NextToken"] = base64.b64encode(str(start + size).encode()).decode()
    return reply
