"""YAML as people mean it: words stay words.

Only `true`, `false`, `null` and plain numbers are read as such. `yes`, `NO`, `on`, `010` and `2026-01-31` are text, and
so is every key and all that stands below `allowed`, `missing` and their like. No aliases (nothing to blow up), no tags
(nothing to execute), no repeated keys (nothing lost silently), and a size that is read at once.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from churn_spark.errors import ConfigError

MAX_CHARS = 1_000_000
WORDS = ("allowed", "missing", "true_values", "false_values", "positive")  # lists of what stands in a table
QUOTED = ("'", '"', "|", ">")
CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}
WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
DECIMAL = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse(text: str, *, where: str, key: str = "") -> Any:
    """Read one YAML document, or the value of `key`. Raises ConfigError, which names the line but no value."""
    if len(text) > MAX_CHARS:
        raise ConfigError(
            f"{len(text):,} characters of settings, at most {MAX_CHARS:,} are read",
            where=where,
            fix="declare only the columns that are used; others need no line",
        )
    try:
        node = yaml.compose(text, Loader=_Loader)
        return None if node is None else _Reader().value(node, is_word=key in WORDS and not _is_null(node))
    except (yaml.YAMLError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        reason = getattr(problem, "problem", None) or str(problem).splitlines()[0]
        place = f"{where}, line {mark.line + 1}" if mark else where
        raise ConfigError(f"not a plain YAML file: {reason}", where=place) from None


class _Reader:
    """Turns nodes into values; a node that is met again was named by an alias."""

    def __init__(self) -> None:
        self.met: set[int] = set()

    def value(self, node: yaml.Node, *, is_word: bool = False) -> Any:
        if id(node) in self.met:
            raise _problem("aliases (*name) are not accepted", node)
        self.met.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode):
            _check_tag(node, "seq")
            return [self.value(item, is_word=is_word) for item in node.value]
        assert isinstance(node, yaml.ScalarNode)
        _check_tag(node, "str", "int", "float", "bool", "null", "timestamp", "value", "merge")
        return _scalar(node, is_word=is_word)

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        _check_tag(node, "map")
        tree: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _problem("a key must be a word", key)
            if key.value in tree:
                raise _problem("a key stands twice", key)
            tree[key.value] = self.value(value, is_word=key.value in WORDS and not _is_null(value))
        return tree


def _scalar(node: yaml.ScalarNode, *, is_word: bool) -> Any:
    text: str = node.value
    if is_word or node.style in QUOTED:
        return text
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if DECIMAL.fullmatch(text) else text


def _is_null(node: yaml.Node) -> bool:
    return node.tag.endswith(":null") and isinstance(node, yaml.ScalarNode)


def _check_tag(node: yaml.Node, *names: str) -> None:
    if node.tag.removeprefix("tag:yaml.org,2002:") not in names:
        raise _problem("tags (!name) are not accepted", node)


def _problem(words: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=words, problem_mark=node.start_mark)
