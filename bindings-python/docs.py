"""Writes the reference of the Python package from its docstrings and types.

python bindings-python/docs.py docs/python.md
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path

import outcrop
from outcrop.aws.face import AwsFace
from outcrop.customization import CustomizationFace
from outcrop.endpoints import EndpointsFace

HEAD = """# Python reference

Written from the docstrings by `make docs`; do not edit. Every method that may wait has a twin whose
name begins with `a` and that is awaited; the twin of `sync` is `async_`. In the signatures, `Path`
stands for a `str` or an `os.PathLike`, and `Messages` for a `str` or a list of messages.
"""


def as_code(doc: str) -> str:
    """Cross references as code."""
    return re.sub(r":\w+:`([^`]+)`", r"`\1`", doc)


def text(doc: str | None) -> str:
    """A docstring as Markdown: cross references as code, sections as lists."""
    doc = as_code(inspect.cleandoc(doc or ""))
    lines, section = [], False
    for line in doc.splitlines():
        if line in ("Args:", "Raises:"):
            lines += ["", f"**{line[:-1]}**", ""]
            section = True
        elif section and re.match(r"    \w+: ", line):
            name, _, rest = line.strip().partition(": ")
            lines.append(f"- `{name}`: {rest}")
        elif section and line.startswith("        "):
            lines.append("  " + line.strip())
        else:
            section = section and not line
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def signature(name: str, function: object) -> str:
    """A call, one parameter a line where it is long."""
    value = inspect.signature(function)  # type: ignore[arg-type]
    parts: list[str] = []
    for parameter in value.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        if parameter.default is not parameter.empty and "<factory>" in default:
            default = " = ..."
        parts.append(f"{parameter.name}: {parameter.annotation}{default}")
    shown = not inspect.isclass(function) and value.return_annotation is not value.empty
    returns = f" -> {value.return_annotation}" if shown else ""
    line = f"{name}({', '.join(parts)}){returns}"
    if len(line) <= 88:
        return line
    body = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{body}){returns}"


def field_docs(kind: type) -> dict[str, str]:
    """The `#:` comments above the fields of a class."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    for line in inspect.getsource(kind).splitlines():
        line = line.strip()
        if line.startswith("#:"):
            waiting.append(line[2:].strip())
        elif waiting:
            match = re.match(r"(\w+)\s*[:=]", line)
            if match:
                found[match.group(1)] = as_code(" ".join(waiting))
            waiting = []
    return found


def members(kind: type) -> list[str]:
    """A class's fields, properties and methods as Markdown."""
    out: list[str] = []
    docs = field_docs(kind)
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            out.append(f"- `{field.name}: {field.type}`. {docs.get(field.name, '')}")
    elif docs:
        out += [f"- `{name}`. {doc}" for name, doc in docs.items()]
    all_faces = (AwsFace, CustomizationFace, EndpointsFace)
    faces = [face for face in all_faces if issubclass(kind, face)]
    own = {name: value for face in [*faces, kind] for name, value in vars(face).items()}
    for name, value in own.items():
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            returns = inspect.signature(value.fget).return_annotation  # type: ignore[arg-type]
            out.append(f"- `{name}: {returns}`. {text(value.__doc__)}")
    for name, value in own.items():
        if name.startswith("_") or not inspect.isfunction(value):
            continue
        prefix = "await " if inspect.iscoroutinefunction(value) else ""
        shown = f"```python\n{prefix}{signature(name, value)}\n```"
        out.append(f"\n### {kind.__name__}.{name}\n\n{shown}\n\n{text(value.__doc__)}")
    return out


def page(kind: type) -> str:
    """One class."""
    lines = [f"## {kind.__name__}", ""]
    if kind.__init__ is not object.__init__ and kind.__name__ in ("Session", "Document"):
        lines += ["```python", signature(f"outcrop.{kind.__name__}", kind), "```", ""]
    lines += [text(kind.__doc__), "", *members(kind)]
    return "\n".join(lines)


def reference() -> str:
    """The whole reference."""
    first = ["Session", "Model", "KnowledgeBase", "Agent", "Stream"]
    rest = [n for n in outcrop.__all__ if inspect.isclass(getattr(outcrop, n)) and n not in first]
    pages = [page(getattr(outcrop, name)) for name in first + rest if name != "OutcropError"]
    functions = [n for n in outcrop.__all__ if inspect.isfunction(getattr(outcrop, n))]
    pages.append("## Functions\n")
    for name in functions:
        value = getattr(outcrop, name)
        shown = signature(f"outcrop.{name}", value)
        pages.append(f"### outcrop.{name}\n\n```python\n{shown}\n```\n\n{text(value.__doc__)}")
    errors = [f"## Errors\n\n{text(outcrop.errors.__doc__)}\n", page(outcrop.OutcropError)]
    table = ["\n| error | HTTP | retry | when |", "| --- | --- | --- | --- |"]
    for name in outcrop.errors.__all__:
        kind = getattr(outcrop.errors, name)
        if kind is not outcrop.OutcropError:
            retry = "yes" if kind.retryable else "no"
            when = text(kind.__doc__)
            table.append(f"| `outcrop.errors.{name}` | {kind.http_status} | {retry} | {when} |")
    return "\n\n".join([HEAD, *pages, *errors]) + "\n" + "\n".join(table) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/python.md")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(reference(), encoding="utf-8")
    print(f"wrote {target}")
