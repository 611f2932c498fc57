"""Write the pages of docs/reference that come from the code: settings, commands, errors, tables.

python docs/make/reference.py           (make docs runs it; a test holds the committed pages equal)
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from churn_spark import errors as errors_module
from churn_spark.cli import _parser
from churn_spark.errors import ChurnError
from churn_spark.settings.sections import json_schema

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
MADE = "Made from the code by `make reference`; do not edit it here.\n"
KINDS = [
    kind for kind in vars(errors_module).values() if isinstance(kind, type) and issubclass(kind, ChurnError)
]
EXIT_CODES = {kind.__name__: kind.exit_code for kind in KINDS if kind is not ChurnError}


ABOUT_ERRORS = """A run that fails ends with at most three lines: `error:` what was seen, `where:` the file or setting,
`next:` what to do. In this list `…` stands for a name, a number or a place; never for a row's value.
"""
ABOUT_SETTINGS = """Later layers win: `conf/base.yaml`, `--config` files, variables such as
`CHURN_SPARK__TRAINING__MAX_DEPTH=4`, `--set training.max_depth=4`, named options. `churn-spark config show` prints the
merged settings, each with where it came from. The columns are described in [your own table](../tutorial.md).
"""


def pages() -> dict[str, str]:
    """Each page's name and text."""
    return {
        "settings.md": settings(),
        "commands.md": commands(),
        "errors.md": errors(),
        "tables.md": (ROOT / "conf/tables.md").read_text(),
    }


# -- settings -------------------------------------------------------------------------------------------


def settings() -> str:
    """Every setting of the JSON Schema with its default, and its comment in base.yaml."""
    said = comments((ROOT / "conf/base.yaml").read_text())
    schema = json_schema()
    parts = [f"# Settings\n\n{MADE}\n{ABOUT_SETTINGS}"]
    sections: dict[str, list[str]] = {}
    for path, node in leaves(schema, schema):
        section = path.split(".")[0] if "." in path else "input and output"
        line = f"| `{path}` | {type_of(node)} | {default_of(node)} | {said.get(path, '')} |"
        sections.setdefault(section, []).append(line)
    for section, lines in sections.items():
        parts.append(
            f"## {section}\n\n| setting | type | default | meaning |\n|---|---|---|---|\n"
            + "\n".join(lines)
            + "\n"
        )
    return "\n".join(parts)


def leaves(
    schema: dict[str, Any], node: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The settings below a node of the schema; the columns are each table's own and left out."""
    for name, child in node.get("properties", {}).items():
        place = f"{path}.{name}".lstrip(".")
        target = (
            child.get("$ref", "").rpartition("/")[2]
            or child.get("allOf", [{}])[0].get("$ref", "").rpartition("/")[2]
        )
        inner = schema.get("$defs", {}).get(target, child)
        if place == "columns":
            continue
        if "properties" in inner:
            yield from leaves(schema, inner, place)
        else:
            yield place, {**inner, **child}


def type_of(node: dict[str, Any]) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if "anyOf" in node:
        return " or ".join(type_of(kind) for kind in node["anyOf"])
    return str(node.get("type", "any"))


def default_of(node: dict[str, Any]) -> str:
    return f"`{json.dumps(node['default'])}`" if "default" in node else "–"


def comments(text: str) -> dict[str, str]:
    """The comment of each key of a YAML file, by dotted path.

    It stands behind the key and goes on below, at the right; or on lines of its own before the key.
    """
    said: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    last, before = "", ""
    for line in text.splitlines():
        if key := re.match(r"( *)(\w+):(?:[^#]*?)(?:\s# ?(.*))?$", line):
            indent = len(key[1])
            stack = [(depth, name) for depth, name in stack if depth < indent] + [(indent, key[2])]
            last = ".".join(name for _, name in stack)
            said[last], before = cell(f"{before} {key[3] or ''}"), ""
        elif more := re.match(r"( *)# ?(.*)$", line):
            if len(more[1]) >= 20:
                said[last] = f"{said[last]} {cell(more[2])}".strip()
            else:
                before = f"{before} {more[2]}".strip()
        elif not line.strip():
            before = ""
    return said


def cell(text: str) -> str:
    return text.strip().replace("|", "\\|").replace("<", "&lt;")


# -- commands -------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its options, and what an exit code means."""
    parser = _parser()
    known = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    helps = {choice.dest: choice.help for choice in known._choices_actions}
    parts = [f"# Commands and exit codes\n\n{MADE}"]
    for name, command in known.choices.items():
        rows = [option(action) for action in command._actions if action.help != argparse.SUPPRESS]
        table = "| option | meaning |\n|---|---|\n" + "\n".join(row for row in rows if row)
        parts.append(f"## churn-spark {name}\n\n{cell(helps.get(name) or '')}\n\n{table}\n")
    parts.append("""## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | not foreseen; the stack trace is in the run folder's `error.txt` |
| 2 | wrong arguments or settings |
| 20 | the input breaks the contract |
| 21 | a quality gate was not met, the champion stays |
| 23 | a resource failed after its retries |
| 24 | another run holds the lock |
| 130, 143 | Ctrl-C, SIGTERM: the run is recorded as cancelled |

Any code other than 0 leaves what was published as it was. Only rejected rows are added, and the package of a model that
a gate refused, for its report.
""")
    return "\n".join(parts)


def option(action: argparse.Action) -> str:
    if isinstance(action, argparse._HelpAction | argparse._VersionAction):
        return ""
    names = ", ".join(f"`{name}`" for name in action.option_strings if "_" not in name) or f"`{action.dest}`"
    choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
    return f"| {names} | {cell(action.help or '')}{cell(choices)} |"


# -- errors ---------------------------------------------------------------------------------------------


def errors() -> str:
    """Every message that ends a run, by exit code; `…` stands for what was seen."""
    messages: dict[int, set[tuple[str, str]]] = {}
    for file in sorted((ROOT / "churn_spark").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and (code := EXIT_CODES.get(ast.unparse(node.func))) and node.args:
                fix = next((k.value for k in node.keywords if k.arg == "fix"), None)
                text = spoken(node.args[0])
                if text.strip("…. "):
                    messages.setdefault(code, set()).add((text, spoken(fix) if fix else ""))
    parts = [f"# Errors\n\n{MADE}\n{ABOUT_ERRORS}"]
    for code, found in sorted(messages.items()):
        rows = "\n".join(f"| {cell(what)} | {cell(fix)} |" for what, fix in sorted(found))
        parts.append(f"## Exit code {code}\n\n| error | next |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def spoken(node: ast.expr) -> str:
    """A string expression's words, with `…` for what is filled in."""
    if isinstance(node, ast.Constant):
        return " ".join(str(node.value).split()) if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
        return " ".join("".join(parts).split())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return f"{spoken(node.left)} {spoken(node.right)}"
    return "…"


if __name__ == "__main__":
    for page, content in pages().items():
        (REFERENCE / page).write_text(content)
