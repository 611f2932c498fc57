"""What a person reads about a model: `report.html`, verdict first, in one file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from churn_spark.evaluation.findings import Finding
from churn_spark.evaluation.measures import find, on_test
from churn_spark.evaluation.words import amount, interval, number, percent, plain, signed
from churn_spark.model.policy import BANDS
from churn_spark.report import figures
from churn_spark.report.facts import THOUSAND, Facts, contacted_share
from churn_spark.report.model_card import write_model_card
from churn_spark.report.page import PAGE, STYLE
from churn_spark.report.takeaways import takeaway
from churn_spark.report.verdict import CROSS_SECTION, Answer, answers, headline

__all__ = ["Facts", "Finding", "write_model_card", "write_report"]

SHARES = ("capture_", "brier_skill", "base_rate", "mean_probability", "precision", "recall", "ece",
          "mpc_share", "empc_share")  # fmt: skip
COUNTS = ("true_positive", "false_positive", "true_negative", "false_negative")
MONEY = ("profit", "mpc", "empc")
RULE_LABELS = {
    "malformed_row": "cannot be split into fields",
    "duplicate_key": "the key appears more than once",
}
FINDING_WORDS = {"fail": "Leak", "warn": "Look at it", "ok": "Checked"}


def write_report(folder: Path, metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Path:
    """Write <folder>/report.html and return it.

    `metrics` and `curves` are tables of `metrics.evaluate` and `metrics.curves`, all splits together. The
    file needs no network and runs no script, and everything that came from data is escaped.
    """
    verdict = headline(metrics, facts)
    sections = (_money, _ranking, _probabilities, _drivers, _groups, _leaks, _data, _making)
    page = PAGE.substitute(
        title=_text(f"Churn model {facts.model_id}"),
        style=STYLE,
        model_id=_text(facts.model_id),
        date=f"{facts.created_at.day} {facts.created_at:%B %Y}",
        state=verdict.state,
        short=_text(verdict.short),
        headline=_text(verdict.question),
        evidence=_text(verdict.evidence),
        keys=_keys(metrics),
        answers="".join(map(_answer, answers(metrics, facts))),
        sections="".join(section(metrics, curves, facts) for section in sections),
        footer=_footer(facts),
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8", errors="replace")
    return path


# -- verdict --------------------------------------------------------------------------------------------


def _keys(metrics: pd.DataFrame) -> str:
    profit, share = on_test(metrics, "profit").times(THOUSAND), contacted_share(metrics)
    lift, earned = on_test(metrics, "lift_10"), f"earned per {THOUSAND:,} customers"
    keys = [
        (amount(profit.value), f"{earned}<br>95%: {interval(profit, amount)}", profit.known),
        (f"{number(lift.value, digits=1)}×", "as many leavers in the riskiest 10%", lift.known),
        (percent(share), "of customers reach the threshold", math.isfinite(share)),
    ]
    shown = "".join(f"<div><dd>{value}</dd><dt>{label}</dt></div>" for value, label, known in keys if known)
    return f'<dl class="keys">{shown}</dl>' if shown else ""


def _answer(answer: Answer) -> str:
    return (
        f'<div class="card {answer.state}"><h3>{_text(answer.question)}</h3>'
        f'<p class="mark {answer.state}">{_text(answer.short)}</p><p>{_text(answer.evidence)}</p></div>'
    )


# -- sections: each returns its HTML, or nothing where there are no numbers -------------------------------


def _money(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    policy = facts.policy
    terms = {
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
    terms["Risk bands"] = ", ".join(f"{band.replace('_', ' ')} from {percent(cut)}" for band, cut in starts)
    settings = _card("The campaign this counts on", "As in the settings.", _pairs(terms))
    return _section(
        "What it is worth", _figure("profit", metrics, curves, facts), _confusion(metrics), settings
    )


def _confusion(metrics: pd.DataFrame) -> str:
    counts = [on_test(metrics, m) for m in COUNTS]
    n = counts[0].n
    if not n or not counts[0].known:
        return ""
    tp, fp, tn, fn = (f"{THOUSAND * c.value / n:.0f}" for c in counts)
    boxes = (
        f'<div class="four"><div class="good"><b>{tp}</b>contacted, would have left</div>'
        f"<div><b>{fp}</b>contacted, would have stayed</div>"
        f'<div class="miss"><b>{fn}</b>left without a contact</div>'
        f"<div><b>{tn}</b>stayed, not contacted</div></div>"
    )
    return _card(f"Of {THOUSAND:,} customers", "What happens at this threshold.", boxes)


def _ranking(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    names = ("gains", "pr_curve", "roc_curve", "comparison")
    return _section("Does it find the right customers?", *_figures(names, metrics, curves, facts))


def _probabilities(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    names = ("calibration", "score_distribution")
    return _section("Can the percentages be believed?", *_figures(names, metrics, curves, facts))


def _drivers(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    return _section(
        "What sets those who leave apart",
        *_figures(("feature_importance", "dependence"), metrics, curves, facts),
        _phrases(facts.phrases, 1),
        _phrases(facts.phrases, -1),
        _examples(facts.examples),
        _reasons(facts.reasons_sample),
    )


def _phrases(table: pd.DataFrame, sign: int) -> str:
    rows = table[table["effect"] * sign > 0] if len(table) else table
    if rows.empty:
        return ""
    rows = rows.reindex(rows["effect"].abs().sort_values(ascending=False, kind="stable").index).head(8)
    longest, tone = rows["effect"].abs().max(), "up" if sign > 0 else "down"
    body = [
        (
            _text(row["phrase"], limit=60),
            f'<span class="bar {tone}" style="width:{6 + 70 * abs(row["effect"]) / longest:.0f}px"></span>',
            f"{row['n_churned']:,}",
            f"{row['n_stayed']:,}",
        )
        for row in rows.to_dict("records")
    ]
    title = "Words of those who leave" if sign > 0 else "Words of those who stay"
    return _card(title, "", _table(("In the notes", "", "left", "stayed"), body, numbers=2))


def _examples(table: pd.DataFrame) -> str:
    quotes = []
    for row in table.head(6).to_dict("records"):
        raises = row["direction"] == "up"
        effect = f"{'raises' if raises else 'lowers'} the risk, {signed(row['effect'], digits=2)}"
        quotes.append(_quote(raises, _text(row["summary"], limit=280), effect))
    return _quotes("Notes that moved a score", "Shortened, and personal data removed.", quotes)


def _reasons(table: pd.DataFrame) -> str:
    quotes = []
    for row in table.head(4).to_dict("records"):
        texts = (row.get(f"reason_{rank}_text") for rank in (1, 2, 3))
        reasons = "<br>".join(_text(text, limit=140) for text in texts if isinstance(text, str) and text)
        band = str(row.get("risk_band") or "").replace("_", " ")
        risk = f"<b>{percent(float(row['churn_probability']))}</b> {_text(band)}"
        quotes.append(_quote("high" in band, risk, reasons))
    return _quotes("What an agent sees", "A risk, and the three reasons for it.", quotes)


def _quote(raises: bool, main: str, below: str) -> str:
    return f'<li class="{"up" if raises else "down"}">{main}<small>{below}</small></li>'


def _quotes(title: str, line: str, quotes: Sequence[str]) -> str:
    return _card(title, line, f'<ul class="quotes">{"".join(quotes)}</ul>') if quotes else ""


def _groups(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    names = ("slices", "backtest")
    return _section("Does it work for everybody, and over time?", *_figures(names, metrics, curves, facts))


def _leaks(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    if facts.findings is None:
        return ""
    nothing = Finding("ok", "", "no column, name or phrase gives away who left")
    worst_first = sorted(facts.findings or (nothing,), key=lambda f: list(FINDING_WORDS).index(f.severity))
    items = "".join(
        f'<li class="{f.severity}"><p class="mark {f.severity}">{FINDING_WORDS[f.severity]}</p>'
        f"<span>{_text(f.message)}{_words(f.phrases)} "
        f'<span class="small">{_text(f.name.replace("_", " "))}</span></span></li>'
        for f in worst_first
    )
    card = f'<div class="card"><ul class="findings">{items}</ul></div>'
    return _section("Is anything giving the answer away?", card)


def _words(phrases: Sequence[str]) -> str:
    return "".join(f" “{_text(phrase, limit=60)}”" for phrase in phrases)


def _data(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    cards = (_rows(facts), _rejects(facts.rejects_by_rule), _splits(metrics, facts), _notes(facts.text))
    return _section("What it learnt from", *cards)


def _rows(facts: Facts) -> str:
    rows = facts.rows
    if not rows.get("in"):
        return ""
    kinds = ("valid", "duplicates", "rejected")
    bar = "".join(f'<i style="flex:{rows[k]}"></i>' for k in kinds if rows.get(k))
    words = {"in": "Read", "valid": "Used", "rejected": "Rejected, kept with the reason",
             "duplicates": "Identical duplicates", "censored": "Too recent to know"}  # fmt: skip
    counts = {word: f"{rows[key]:,}" for key, word in words.items() if key in rows}
    used = percent(rows.get("valid", 0) / rows["in"], digits=1)
    return _card("Rows", f"{used} of the table could be used.",
                 f'<div class="flow" aria-hidden="true">{bar}</div>{_pairs(counts)}')  # fmt: skip


def _rejects(by_rule: Mapping[str, int]) -> str:
    if not by_rule:
        return ""
    most_first = sorted(by_rule.items(), key=lambda item: (-item[1], item[0]))[:12]
    rows = [(_rule(key), f"{n:,}") for key, n in most_first]
    return _card("Why rows were rejected", "", _table(("Rule", "rows"), rows, numbers=1))


def _rule(key: str) -> str:
    """`age:above_max` in words: the column as it is, the rule without underscores."""
    column, colon, rule = key.rpartition(":")
    return _text(RULE_LABELS.get(key, f"{column}{colon and ': '}{rule.replace('_', ' ')}"), limit=80)


def _splits(metrics: pd.DataFrame, facts: Facts) -> str:
    if not facts.split_rows:
        return ""
    rows = []
    for name, n in facts.split_rows.items():
        rate = find(metrics, split=name, slice="all", metric="base_rate").value
        rows.append((_text(name), f"{n:,}", percent(rate, digits=1)))
    how = {"hash": "Drawn by a hash of the id: the same customers every time.",
           "time": "By date: it was tested on later snapshots than it learnt from.",
           "group_time": "By date, and no customer on two sides."}  # fmt: skip
    table = _table(("", "rows", "left"), rows, numbers=2)
    return _card("Learnt and tested on", how.get(facts.split_mode, ""), table)


def _notes(text: Mapping[str, int]) -> str:
    if not text.get("notes"):
        return ""
    words = {"notes": "With a note", "distinct": "Different notes", "cache_hits": "Known from earlier runs",
             "computed": "Computed in this run", "passthrough": "Short enough as they are",
             "summarized": "Summarised", "redacted": "With personal data, removed",
             "truncated": "Longer than the model reads", "failed": "Failed"}  # fmt: skip
    shown = {word: f"{text[key]:,}" for key, word in words.items() if key in text}
    saved = 1 - text.get("computed", 0) / text["notes"]
    return _card("Notes", f"{percent(saved)} cost nothing: repeated, or known already.", _pairs(shown))


def _making(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
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
    settings = dict(_flat(facts.parameters))
    return _section(
        "How it was made",
        _figure("learning_curve", metrics, curves, facts),
        _card("This run", "", _pairs({key: value for key, value in made.items() if value})),
        _card("Settings of the training", "", _pairs(settings)) if settings else "",
        _all_metrics(metrics),
    )


def _all_metrics(metrics: pd.DataFrame) -> str:
    whole = metrics[metrics["slice"] == "all"]
    if whole.empty:
        return ""
    others = [s for s in ("validation", "train") if s in set(whole["split"])]
    rows = []
    for metric in dict.fromkeys(whole["metric"]):
        show = _shown(metric)
        test = on_test(metrics, metric)
        rest = [show(find(whole, split=s, metric=metric).value) for s in others]
        rows.append((_text(metric), show(test.value), interval(test, show) if test.known else "–", *rest))
    table = _table(("Metric", "test", "95% interval", *others), rows, numbers=2 + len(others))
    return _card("Every metric", f"Money per customer. Test: {on_test(metrics, 'roc_auc').n:,} rows.", table)


def _footer(facts: Facts) -> str:
    basis = f"{CROSS_SECTION} " if facts.label_basis == "cross_section" else ""
    return _text(
        f"{basis}Intervals are 95% bootstrap intervals over customers. The same numbers are in churn_metrics "
        f"and churn_curves under run {facts.run_id}; limits and intended use are in MODEL_CARD.md."
    )


# -- pieces of HTML ---------------------------------------------------------------------------------------


def _text(value: object, *, limit: int = 0) -> str:
    """The only way data gets into the page."""
    return escape(plain(value, limit=limit))


def _section(title: str, *cards: str) -> str:
    body = "".join(cards)
    return f'<section class="part"><h2>{title}</h2><div class="grid">{body}</div></section>' if body else ""


def _card(title: str, line: str, body: str) -> str:
    return f'<div class="card"><h3>{title}</h3>{f"<p>{_text(line)}</p>" if line else ""}{body}</div>'


def _figures(names: Iterable[str], metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> list[str]:
    return [_figure(name, metrics, curves, facts) for name in names]


def _figure(name: str, metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    svg = figures.render(name, metrics, curves, facts, form="svg").decode()
    if not svg:
        return ""
    title, line = figures.PLATES[name].title, takeaway(name, metrics, curves, facts)
    named = svg.replace("<svg", f'<svg role="img" aria-label="{_text(f"{title}. {line}")}"', 1)
    return _card(title, line, f"<figure>{named}</figure>")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int) -> str:
    """A table of finished cells; the last `numbers` columns are set as numbers."""
    first = len(head) - numbers

    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if i >= first else ''}>{cell}</{tag}>" for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line('td', cells)}</tr>" for cells in rows)
    return f"<table><thead><tr>{line('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def _pairs(values: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th scope=row>{_text(k)}</th><td>{_text(v)}</td></tr>" for k, v in values.items())
    return f"<table class=pairs><tbody>{rows}</tbody></table>"


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
