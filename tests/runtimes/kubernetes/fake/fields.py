"""Server-side apply: who owns which field, and what comes of two who want the same one.

A field is the path to it: keys of mappings, and for the items of lists that have keys a tuple of those. Lists without
keys are one field. https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Object = dict[str, Any]
Path = tuple[Any, ...]

# By the name of the list, and where it stands in a Service.
_KEYS: Mapping[str, Sequence[str]] = {
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "protocol"),
    "hostnames": (),
}
_SERVICE_PORTS = ("port", "protocol")
# What names an object is nobody's.
_IDENTITY = frozenset(
    {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace"), ("metadata", "uid")}
)
_SERVERS_OWN = frozenset({("metadata", "resourceVersion")})


def keys_of(path: Path, item: Any) -> Sequence[str]:
    name = path[-1] if path else None
    if not isinstance(item, dict) or not isinstance(name, str):
        return ()
    if name == "ports" and "port" in item:
        return _SERVICE_PORTS
    return _KEYS.get(name, ())


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """All fields that an object sets."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value and (keys := keys_of(path, value[0])):
        for item in value:
            yield from leaves(item, (*path, tuple((key, item.get(key)) for key in keys)))
    elif path not in _IDENTITY | _SERVERS_OWN:
        yield path


def find(value: Any, path: Path) -> Any:
    """What stands at a path, None where nothing does."""
    for step in path:
        if isinstance(step, tuple):
            value = next((each for each in value or () if all(each.get(key) == known for key, known in step)), None)
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def merge(live: Object, applied: Object) -> Object:
    """`applied` over `live`: mappings and lists with keys item by item, everything else as a whole."""
    return _merged(copy.deepcopy(live), applied, ())  # type: ignore[no-any-return]  # an object over an object is one


def _merged(live: Any, applied: Any, path: Path) -> Any:
    if isinstance(applied, dict) and isinstance(live, dict):
        for key, value in applied.items():
            live[key] = _merged(live.get(key), value, (*path, key))
        return live
    if isinstance(applied, list) and applied and (keys := keys_of(path, applied[0])):
        known = {tuple(each.get(key) for key in keys): each for each in live or ()}
        for item in applied:
            key = tuple(item.get(each) for each in keys)
            known[key] = _merged(known.get(key, {}), item, (*path, key))
        return list(known.values())
    return copy.deepcopy(applied)


def remove(value: Any, path: Path) -> None:
    """Take a field away, and what was only there for it."""
    *before, last = path
    holder = find(value, tuple(before))
    if isinstance(last, tuple) and isinstance(holder, list):
        holder[:] = [each for each in holder if not all(each.get(key) == known for key, known in last)]
    elif isinstance(holder, dict):
        holder.pop(last, None)
    if before and not find(value, tuple(before)):
        remove(value, tuple(before))


def items_of(paths: set[Path]) -> set[Path]:
    """The items of lists with keys in which these fields lie."""
    return {path[: index + 1] for path in paths for index, step in enumerate(path) if isinstance(step, tuple)}


class Owners:
    """Who owns which fields of one object: by manager and by how it writes, "Apply" or "Update"."""

    def __init__(self) -> None:
        self.sets: dict[tuple[str, str], set[Path]] = {}

    def conflicts(self, live: Object, applied: Object, manager: str) -> dict[str, list[Path]]:
        """The fields that others own and that this would change, by the name of the other."""
        found: dict[str, list[Path]] = {}
        for (other, _), owned in self.sets.items():
            if other != manager:
                wanted = [path for path in leaves(applied) if path in owned]
                changed = [path for path in wanted if find(live, path) != find(applied, path)]
                if changed:
                    found.setdefault(other, []).extend(changed)
        return found

    def apply(self, live: Object, applied: Object, manager: str) -> Object:
        """What the object becomes; takes over from others what it changes, gives up what it does not set any more."""
        wanted = set(leaves(applied))
        former = self.sets.get((manager, "Apply"), set())
        for key, owned in self.sets.items():
            if key != (manager, "Apply"):
                taken = {path for path in wanted & owned if find(live, path) != find(applied, path)}
                owned.difference_update(taken)
        self.sets[manager, "Apply"] = wanted
        result = merge(live, applied)
        others = set().union(*(owned for key, owned in self.sets.items() if key != (manager, "Apply")))
        gone = former - wanted - others
        for path in sorted(items_of(gone) - items_of(wanted | others), key=len) + sorted(gone, key=len, reverse=True):
            remove(result, path)
        return result

    def update(self, before: Object, after: Object, manager: str) -> None:
        """Someone wrote the object in another way than by apply: what changed is theirs now."""
        changed = {path for path in leaves(after) if find(before, path) != find(after, path)}
        for owned in self.sets.values():
            owned.difference_update(changed)
        self.sets.setdefault((manager, "Update"), set()).update(changed)
