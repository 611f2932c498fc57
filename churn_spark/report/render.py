"""How a template becomes a file: every value is put on one line and escaped, whatever it came from."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from html import escape

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from churn_spark.evaluation.words import plain


def render_html(name: str, **values: object) -> str:
    """Fill a template of HTML."""
    return _environment(_on_one_line).get_template(name).render(values)


def render_markdown(name: str, **values: object) -> str:
    """Fill a template of Markdown: no markup of HTML or Markdown in a value has an effect."""
    return _environment(_without_markup).get_template(name).render(values)


def source(name: str) -> Markup:
    """A file beside the templates, as it is."""
    environment = _environment(_on_one_line)
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


@cache
def _environment(finalize: Callable[[object], object]) -> Environment:
    environment = Environment(
        loader=PackageLoader("churn_spark.report"),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shorten"] = lambda text, limit: plain(text, limit=limit)
    return environment


def _on_one_line(value: object) -> object:
    return value if isinstance(value, Markup) else plain(value)


def _without_markup(value: object) -> object:
    if isinstance(value, Markup):
        return value
    return Markup(re.sub(r"([\\`*|\[\]])", r"\\\1", escape(plain(value), quote=False)))
