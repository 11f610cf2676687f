"""The form of the operation cases: what an SDK is given, and whether its answer is as expected.

See `core/outcrop/cases/README.md`.
"""

import datetime
import json
import re


def bytes_of(value):
    """Bytes as a case writes them."""
    if "$text" in value:
        return value["$text"].encode("utf-8")
    return json.dumps(value["$json"], ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def sent(shape, value):
    """A request's value as boto3 takes it."""
    kind = shape.type_name
    if kind == "blob" and isinstance(value, dict):
        return bytes_of(value)
    if kind == "timestamp" and isinstance(value, dict):
        return datetime.datetime.fromisoformat(value["$time"].replace("Z", "+00:00"))
    if kind == "structure" and isinstance(value, dict) and not shape.is_document_type:
        members = shape.members
        return {n: sent(members[n], v) if n in members else v for n, v in value.items()}
    if kind == "list" and isinstance(value, list):
        return [sent(shape.member, item) for item in value]
    if kind == "map" and isinstance(value, dict):
        return {name: sent(shape.value, item) for name, item in value.items()}
    return value


def shown(value):
    """An answer's value as a case writes it."""
    if hasattr(value, "read"):
        value = value.read()
    if isinstance(value, bytes):
        try:
            return {"$json": json.loads(value)}
        except ValueError:
            return {"$text": value.decode("utf-8", "replace")}
    if isinstance(value, datetime.datetime):
        utc = value.astimezone(datetime.timezone.utc)
        return utc.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {name: shown(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


def filled(value, kept):
    """A value whose `${NAME}` are what was kept."""
    if isinstance(value, str):
        for name, known in kept.items():
            if value == f"${{{name}}}":
                return known
            text = known if isinstance(known, str) else json.dumps(known)
            value = value.replace(f"${{{name}}}", text)
        return value
    if isinstance(value, dict):
        return {name: filled(item, kept) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, kept) for item in value]
    return value


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_time(value):
    try:
        return bool(datetime.datetime.fromisoformat(value.replace("Z", "+00:00")))
    except (AttributeError, ValueError):
        return False


WORDS = {
    "$any": lambda value: True,
    "$string": lambda value: isinstance(value, str),
    "$number": _is_number,
    "$integer": lambda value: _is_number(value) and not isinstance(value, float),
    "$object": lambda value: isinstance(value, dict),
    "$array": lambda value: isinstance(value, list),
    "$time": _is_time,
}
ABSENT = object()


def differs(expected, found, at, kept):
    """What differs, with its place; None where all is as expected."""
    if expected == "$absent":
        return None if found is ABSENT else f"{at}: expected nothing, got {found!r}"
    if found is ABSENT:
        return f"{at}: expected {expected!r}, got nothing"
    wrong = f"{at}: expected {expected!r}, got {found!r}"
    if isinstance(expected, str) and expected.startswith("$as "):
        kept[expected[4:]] = found
        return None
    if isinstance(expected, str) and expected.startswith("$match: "):
        fits = isinstance(found, str) and re.search(expected[8:], found)
        return None if fits else wrong
    if isinstance(expected, str) and expected.startswith("$"):
        return None if WORDS[expected](found) else wrong
    if isinstance(expected, dict) and "$contains" in expected:
        for wanted in expected["$contains"]:
            if all(differs(wanted, item, at, kept) for item in found):
                return f"{at}: {wanted!r} is not in {found!r}"
        return None
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return wrong
        problems = (
            differs(wanted, found.get(name, ABSENT), f"{at}.{name}", kept)
            for name, wanted in expected.items()
        )
        return next(filter(None, problems), None)
    if isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            return wrong
        pairs = enumerate(zip(expected, found))
        problems = (differs(one, other, f"{at}[{n}]", kept) for n, (one, other) in pairs)
        return next(filter(None, problems), None)
    is_same = expected == found and isinstance(expected, bool) == isinstance(found, bool)
    return None if is_same else wrong


def events_differ(expected, found, kept, at=0):
    """What differs in a stream, `$more` standing for any number of events."""
    if not expected:
        return f"events[{at}]: expected the end, got {found[0]!r}" if found else None
    first, rest = expected[0], expected[1:]
    if first == "$more":
        problem = None
        for skipped in range(len(found) + 1):
            tried = dict(kept)
            problem = events_differ(rest, found[skipped:], tried, at + skipped)
            if problem is None:
                kept.update(tried)
                return None
        return problem
    if not found:
        return f"events[{at}]: expected {first!r}, got the end"
    problem = differs(first, found[0], f"events[{at}]", kept)
    return problem or events_differ(rest, found[1:], kept, at + 1)
