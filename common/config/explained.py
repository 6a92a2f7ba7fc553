"""`--mode=config`: every setting of an experiment with its value and its meaning, as Python.

A meaning is written once, where the setting's default is: in a comment behind it or above it, or
in its class' docstring, under "Attributes:".
"""

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache

from ml_collections import ConfigDict

from common.config.tasks import declared_of, find_task, is_task
from common.program.settings import Section, flatten

_WIDTH = 100
_ATTRIBUTE = re.compile(r"^  (\w+(?:, \w+)*): (.+(?:\n    .+)*)", re.MULTILINE)


def explained(config: ConfigDict) -> str:
    """Returns lines such as `config.seed = 0`, each setting's meaning in a comment."""
    values, told = dict(flatten(config)), meanings(config)
    ordered = dict.fromkeys((*(name for name in told if name in values), *values))
    sections: dict[str, list[str]] = {}
    for name in ordered:
        section = name.rpartition(".")[0]
        head = [*_commented(told[section]), ""] if told.get(section) else []
        line = _line(f"config.{name} = {values[name]!r}", told.get(name, ""))
        sections.setdefault(section, head).append(line)
    tops = [section.partition(".")[0] for section in sections]
    together = sorted(sections, key=lambda section: tops.index(section.partition(".")[0]))
    return "\n\n".join("\n".join(sections[section]) for section in together)


def meanings(config: ConfigDict) -> dict[str, str]:
    """Returns the meanings of a config's sections and settings by name, in their order."""
    task = config.get("task", "")
    declared = declared_of(task)
    found = dict(_of_section(declared.settings(), "")) if declared else {}
    for name, part in config.items():
        if isinstance(part, ConfigDict) and "task" in part:  # a study has configs of runs
            found |= {f"{name}.{inner}": text for inner, text in meanings(part).items()}
    classes = getattr(find_task(task), "network_classes", None) if is_task(task) else None
    for section, kind in (classes(config.model.name) if classes else {}).items():
        found |= {f"{section}.{name}": text for name, text in meanings_of(kind).items() if text}
    return found


@cache
def meanings_of(kind: type) -> Mapping[str, str]:
    """Returns the meaning of each field of a class by its name, "" where none is written."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if "__annotations__" not in vars(each):
            continue
        comments, told = _in_comments(each), _in_docstring(each)
        for name in (*comments, *told):
            found[name] = comments.get(name) or told.get(name) or found.get(name, "")
    return found


def _of_section(settings: Section, prefix: str) -> Iterator[tuple[str, str]]:
    """Yields names and meanings of settings, and of the sections among them."""
    kind: type = type(settings)
    for name, meaning in meanings_of(kind).items():
        value = getattr(settings, name, None)
        if not isinstance(value, Section):
            yield f"{prefix}{name}", meaning
            continue
        what = (inspect.getdoc(type(value)) or "").split("\n\n")[0]
        yield f"{prefix}{name}", "\n".join(filter(None, (" ".join(what.split()), meaning)))
        yield from _of_section(value, f"{prefix}{name}.")


def _in_docstring(kind: type) -> Mapping[str, str]:
    """Returns what a docstring says under "Attributes:"."""
    _, _, attributes = inspect.cleandoc(vars(kind).get("__doc__") or "").partition("Attributes:\n")
    return {
        name: " ".join(text.split())
        for names, text in _ATTRIBUTE.findall(attributes)
        for name in names.split(", ")
    }


def _in_comments(kind: type) -> dict[str, str]:
    """Returns the comments of a class' fields, and of the entries of dictionaries in them."""
    source = textwrap.dedent(inspect.getsource(kind))
    behind, above = _comments(source)
    body = ast.parse(source).body[0]
    found = {}
    for field in body.body if isinstance(body, ast.ClassDef) else ():
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        line, last = field.lineno, field.end_lineno or field.lineno
        lines = [behind.get(line, "") for line in dict.fromkeys((field.lineno, last))]
        while (line := line - 1) in above:
            lines.insert(0, above[line])
        found[field.target.id] = " ".join(filter(None, lines))
        for entries in (node for node in ast.walk(field) if isinstance(node, ast.Dict)):
            for key, value in zip(entries.keys, entries.values, strict=True):
                if isinstance(key, ast.Constant):
                    found[str(key.value)] = behind.get(value.end_lineno or 0, "")
    return found


def _comments(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """Returns the comments behind code, and those on lines of their own, by line."""
    behind: dict[int, str] = {}
    above: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = token.line.lstrip().startswith("#")
            (above if alone else behind)[token.start[0]] = token.string.lstrip("# ")
    return behind, above


def _line(code: str, meaning: str) -> str:
    """Returns a line of code with its comment behind it, or above it where that is too long."""
    if not meaning:
        return code
    line = f"{code}  # {meaning}"
    return line if len(line) <= _WIDTH else "\n".join((*_commented(meaning), code))


def _commented(text: str) -> list[str]:
    lines = (line for part in text.splitlines() for line in textwrap.wrap(part, _WIDTH - 2))
    return [f"# {line}" for line in lines]
