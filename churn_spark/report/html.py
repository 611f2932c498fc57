"""What a person reads about a model: `report.html`, verdict first, in one file.

The page is laid out in templates/report.html; here stands what is said in it. A part without numbers is empty, and an
empty part is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from churn_spark.evaluation.findings import SHARED_BY, Finding
from churn_spark.evaluation.measures import find, on_test
from churn_spark.evaluation.words import amount, interval, number, percent, plain, signed
from churn_spark.model.offers import Offer
from churn_spark.model.policy import BANDS, Policy
from churn_spark.notes.coverage import unread
from churn_spark.report import figures
from churn_spark.report.facts import THOUSAND, Facts, contacted_share
from churn_spark.report.model_card import write_model_card
from churn_spark.report.render import render_html, source
from churn_spark.report.takeaways import takeaway
from churn_spark.report.verdict import CROSS_SECTION, answers, headline, sentence

__all__ = ["Facts", "Finding", "write_model_card", "write_report"]

SHARES = ("capture_", "brier_skill", "base_rate", "mean_probability", "precision", "recall", "ece",
          "mpc_share", "empc_share")  # fmt: skip
COUNTS = ("true_positive", "false_positive", "true_negative", "false_negative")
MONEY = ("profit", "mpc", "empc")
RULE_LABELS = {
    "malformed_row": "cannot be split into fields",
    "duplicate_key": "the key appears more than once",
}
FINDING_WORDS = {"fail": "Leak", "warn": "Look at it", "ask": "Ask", "ok": "Checked"}
HOW_SPLIT = {
    "hash": "Drawn by a hash of the id: the same customers every time.",
    "time": "By date: it was tested on later snapshots than it learnt from.",
    "group_time": "By date, and no customer on two sides.",
}
ROW_WORDS = {"in": "Read", "valid": "Used", "rejected": "Rejected, kept with the reason",
             "duplicates": "Identical duplicates", "censored": "Too recent to know"}  # fmt: skip
NOTE_WORDS = {"notes": "With a note", "distinct": "Different notes", "cache_hits": "Known from earlier runs",
              "computed": "Computed in this run", "passthrough": "Short enough as they are",
              "summarized": "Summarized", "redacted": "With personal data, removed",
              "truncated": "Longer than the model reads", "failed": "Failed"}  # fmt: skip


def write_report(folder: Path, metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Path:
    """Write <folder>/report.html and return it.

    `metrics` and `curves` are tables of `metrics.evaluate` and `metrics.curves`, all splits together. The
    file needs no network and runs no script, and everything that came from data is escaped.
    """
    page = render_html(
        "report.html",
        facts=facts,
        style=source("report.css"),
        date=f"{facts.created_at.day} {facts.created_at:%B %Y}",
        verdict=headline(metrics, facts),
        keys=_keys(metrics),
        answers=answers(metrics, facts),
        figures={name: _figure(name, metrics, curves, facts) for name in figures.PLATES},
        basis=CROSS_SECTION if facts.label_basis == "cross_section" else "",
        **_money(metrics, facts.policy),
        **_drivers(facts),
        **_origins(metrics, facts),
        **_making(metrics, facts),
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8", errors="replace")
    return path


class Key(NamedTuple):
    """A number in large type beside the verdict."""

    value: str
    label: str
    below: str = ""


def _keys(metrics: pd.DataFrame) -> list[Key]:
    profit, share = on_test(metrics, "profit").times(THOUSAND), contacted_share(metrics)
    lift = on_test(metrics, "lift_10")
    keys = {
        Key(
            amount(profit.value), f"earned per {THOUSAND:,} customers", f"95%: {interval(profit, amount)}"
        ): profit.known,
        Key(f"{number(lift.value, digits=1)}×", "as many leavers in the riskiest 10%"): lift.known,
        Key(percent(share), "of customers reach the threshold"): math.isfinite(share),
    }
    return [key for key, known in keys.items() if known]


class Drawn(NamedTuple):
    """A figure for the page to color, and the sentence above it."""

    title: str
    line: str
    svg: Markup


def _figure(name: str, metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Drawn | None:
    svg = figures.render(name, metrics, curves, facts, form="svg").decode()
    if not svg:
        return None
    drawn = Markup(svg)
    return Drawn(figures.PLATES[name].title, takeaway(name, metrics, curves, facts), drawn)


# -- what it is worth -------------------------------------------------------------------------------------


def _money(metrics: pd.DataFrame, policy: Policy) -> dict[str, Any]:
    return {"confusion": _confusion(metrics), "campaign": _campaign(policy)}


def _confusion(metrics: pd.DataFrame) -> dict[str, str] | None:
    counts = [on_test(metrics, m) for m in COUNTS]
    n = counts[0].n
    if not n or not counts[0].known:
        return None
    boxes = zip(("caught", "in_vain", "spared", "missed"), counts, strict=True)
    return {"of": f"{THOUSAND:,}", **{name: f"{THOUSAND * c.value / n:.0f}" for name, c in boxes}}


def _campaign(policy: Policy) -> dict[str, str]:
    several = {f"Offer “{o.name}”": _terms(o) for o in policy.offers if o.name}
    terms = {
        **several,
        "Contacting a customer costs": _price(policy.contact_cost),
        "The offer costs": _price(policy.offer_cost),
        "A leaver accepts it with": percent(policy.accept_rate),
        "A customer kept is worth": _price(policy.customer_value),
        "Contacting pays from a risk of": percent(policy.break_even, digits=1),
        "Contacted from a risk of": percent(policy.threshold, digits=1),
    }
    if policy.capacity is not None:
        terms["Contacts possible per run"] = f"{policy.capacity:,}"
    if policy.holdout_share:
        terms["Never contacted, to measure the effect"] = percent(policy.holdout_share)
    starts = zip(BANDS[1:], policy.bands, strict=True)
    bands = ", ".join(f"{band.replace('_', ' ')} from {percent(cut)}" for band, cut in starts)
    return {**terms, "Risk bands": bands}


def _terms(offer: Offer) -> str:
    told = f"costs {_price(offer.cost.typical)}, accepted by {percent(offer.accept_rate.typical)}"
    return told + (f"; open by {', '.join(only.column for only in offer.who)}" if offer.who else "")


# -- what sets those who leave apart ----------------------------------------------------------------------


def _drivers(facts: Facts) -> dict[str, Any]:
    phrases = facts.phrases
    if len(phrases) and not facts.quotes:
        phrases = phrases[phrases["n_churned"] + phrases["n_stayed"] >= SHARED_BY]
    return {
        "leaver_words": _words(phrases, 1),
        "stayer_words": _words(phrases, -1),
        "examples": [_example(row) for row in facts.examples.head(6).to_dict("records")],
        "reasons": [_reason(row) for row in facts.reasons_sample.head(4).to_dict("records")],
    }


def _words(table: pd.DataFrame, sign: int) -> list[dict[str, str]]:
    rows = table[table["effect"] * sign > 0] if len(table) else table
    if rows.empty:
        return []
    rows = rows.reindex(rows["effect"].abs().sort_values(ascending=False, kind="stable").index).head(8)
    longest = rows["effect"].abs().max()
    return [
        {
            "phrase": row["phrase"],
            "tone": "up" if sign > 0 else "down",
            "width": f"{6 + 70 * abs(row['effect']) / longest:.0f}",
            "left": f"{row['n_churned']:,}",
            "stayed": f"{row['n_stayed']:,}",
        }
        for row in rows.to_dict("records")
    ]


def _example(row: Mapping[Any, Any]) -> dict[str, str]:
    raises = row["direction"] == "up"
    effect = f"{'raises' if raises else 'lowers'} the risk, {signed(row['effect'], digits=2)}"
    return {"tone": row["direction"], "summary": row["summary"], "effect": effect}


def _reason(row: Mapping[Any, Any]) -> dict[str, Any]:
    texts = (row.get(f"reason_{rank}_text") for rank in (1, 2, 3))
    band = str(row.get("risk_band") or "").replace("_", " ")
    return {
        "tone": "up" if "high" in band else "down",
        "risk": percent(float(row["churn_probability"])),
        "band": band,
        "texts": [text for text in texts if isinstance(text, str) and text],
    }


# -- what it learnt from ------------------------------------------------------------------------------------


def _origins(metrics: pd.DataFrame, facts: Facts) -> dict[str, Any]:
    return {
        "findings": _findings(facts.findings),
        "FINDING_WORDS": FINDING_WORDS,
        "rows": _rows(facts.rows),
        "rejects": _rejects(facts.rejects_by_rule),
        "splits": _splits(metrics, facts),
        "how_split": HOW_SPLIT.get(facts.split_mode, ""),
        "notes": _notes(facts.text),
    }


def _findings(findings: tuple[Finding, ...] | None) -> list[Finding]:
    if findings is None:
        return []
    nothing = Finding("ok", "", "no column, name or phrase gives away who left")
    return sorted(findings or (nothing,), key=lambda f: list(FINDING_WORDS).index(f.severity))


def _rows(rows: Mapping[str, int]) -> dict[str, Any] | None:
    if not rows.get("in"):
        return None
    return {
        "used": percent(rows.get("valid", 0) / rows["in"], digits=1),
        "flow": [rows[kind] for kind in ("valid", "duplicates", "rejected") if rows.get(kind)],
        "counts": {word: f"{rows[key]:,}" for key, word in ROW_WORDS.items() if key in rows},
    }


def _rejects(by_rule: Mapping[str, int]) -> list[tuple[str, str]]:
    most_first = sorted(by_rule.items(), key=lambda item: (-item[1], item[0]))[:12]
    return [(_rule(key), f"{n:,}") for key, n in most_first]


def _rule(key: str) -> str:
    """`age:above_max` in words: the column as it is, the rule without underscores."""
    column, colon, rule = key.rpartition(":")
    return plain(RULE_LABELS.get(key, f"{column}{colon and ': '}{rule.replace('_', ' ')}"), limit=80)


def _splits(metrics: pd.DataFrame, facts: Facts) -> list[tuple[str, str, str]]:
    def left(name: str) -> str:
        return percent(find(metrics, split=name, slice="all", metric="base_rate").value, digits=1)

    return [(name, f"{n:,}", left(name)) for name, n in facts.split_rows.items()]


def _notes(text: Mapping[str, Any]) -> dict[str, Any] | None:
    if not text.get("notes"):
        return None
    counts = {word: f"{text[key]:,}" for key, word in NOTE_WORDS.items() if key in text}
    saved = (
        f"{percent(1 - text.get('computed', 0) / text['notes'])} cost nothing: repeated, or known already."
    )
    unreadable = sentence(unread(text.get("coverage", {})))
    return {"lead": f"{saved} {unreadable}".rstrip(), "counts": counts}


# -- how it was made ----------------------------------------------------------------------------------------


def _making(metrics: pd.DataFrame, facts: Facts) -> dict[str, Any]:
    made = {
        "Input": plain(facts.input),
        "Run": plain(facts.run_id),
        "Label": facts.label_basis.replace("_", "-"),
        "Trees": "" if facts.n_trees is None else f"{facts.n_trees:,}",
        "Calibration": facts.calibrator,
        "Workers": "" if facts.num_workers is None else f"{facts.num_workers}",
        "Seconds": ", ".join(f"{step} {seconds:.1f}" for step, seconds in facts.seconds.items()),
        "Versions": ", ".join(f"{name} {version}" for name, version in facts.versions.items()),
    }
    return {
        "made": {key: value for key, value in made.items() if value},
        "parameters": dict(_flat(facts.parameters)),
        "all_metrics": _all_metrics(metrics),
    }


def _all_metrics(metrics: pd.DataFrame) -> dict[str, Any] | None:
    whole = metrics[metrics["slice"] == "all"]
    if whole.empty:
        return None
    others = [s for s in ("learn",) if s in set(whole["split"])]
    rows = []
    for metric in dict.fromkeys(whole["metric"]):
        show, test = _shown(metric), on_test(metrics, metric)
        rest = [show(find(whole, split=s, metric=metric).value) for s in others]
        rows.append((metric, show(test.value), interval(test, show) if test.known else "–", *rest))
    head = ("Metric", "test", "95% interval", *others)
    return {"n": f"{on_test(metrics, 'roc_auc').n:,}", "head": head, "rows": rows}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "none" if value is None else str(value)


def _shown(metric: str) -> Callable[[float], str]:
    """How a metric's values are written."""
    if metric in COUNTS:
        return lambda value: f"{value:,.0f}" if math.isfinite(value) else "–"
    if metric.startswith(SHARES):
        return lambda value: percent(value, digits=1)
    return lambda value: number(value, digits=2 if metric.startswith("lift") or metric in MONEY else 3)


def _price(value: float) -> str:
    """A price of the policy, with cents where it has them."""
    return f"{value:,.2f}".removesuffix(".00")
