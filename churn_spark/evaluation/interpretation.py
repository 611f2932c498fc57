"""What moves the scores: columns by gain and contribution, values, phrases, notes, and what an agent reads."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from churn_spark.evaluation.findings import SHARED_BY
from churn_spark.evaluation.phrases import count_phrases
from churn_spark.model.model import ChurnModel
from churn_spark.model.sample import Sample
from churn_spark.notes import redaction

MOST_ROWS = 5_000
SHOWN_COLUMNS = 6
BINS = 12
FEWEST = 10  # customers behind a point
EXAMPLES = 3  # in each direction
TOPICS = 4  # phrases of a note
UNSAID = "…"
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
LEVELS = (1.0, 0.97, 0.6, 0.2)  # quantiles of the probability whose reasons are shown


def interpret(model: ChurnModel, rows: Sample, *, quotes: bool = False) -> dict[str, pd.DataFrame]:
    """Explain the scores of at most 5,000 test rows by TreeSHAP contributions (Lundberg et al. 2018).

    Returns the tables importance, dependence, examples and reasons_sample of `Insights`. Without `quotes` no note is
    in them: examples name the phrases of the note that at least 20 customers share.
    """
    test = rows.of("test")
    every = -(-len(test.frame) // MOST_ROWS)
    test = test.where(np.arange(len(test.frame)) % every == 0)
    templates = model.manifest.get("templates", {})
    said = {name: texts if quotes else _topics(texts, test.label) for name, texts in test.summaries.items()}
    scored, told = model.score(
        test.frame,
        test.vectors,
        summaries={name: texts.tolist() for name, texts in said.items()},
        templates=templates,
    )
    assert told is not None
    effects = pd.DataFrame(told.effects[:, :-1].astype(np.float64), columns=list(told.groups))
    importance = importance_table(model, effects)
    texts = {t.name for t in model.spec.texts}
    columns = [s for s in importance["source"] if s in test.frame and s not in texts][:SHOWN_COLUMNS]
    return {
        "importance": importance,
        "dependence": _concat([_dependence(model, test, column, effects[column]) for column in columns]),
        "examples": _concat([_examples(said[t], effects[t]) for t in sorted(texts)]),
        "reasons_sample": _reasons(pd.DataFrame(scored)),
    }


def importance_table(model: ChurnModel, effects: pd.DataFrame) -> pd.DataFrame:
    """By source column: its share of the trees' gain, and its mean absolute contribution in log-odds."""
    by_input = model.booster.get_score(importance_type="total_gain")
    gains = dict.fromkeys(effects.columns, 0.0)
    names = model.booster.feature_names or [f"f{i}" for i in range(len(model.spec.names))]
    for name, source in zip(names, model.spec.sources, strict=True):
        gains[source] += float(np.sum(by_input.get(name, 0.0)))
    total = sum(gains.values()) or 1.0
    table = pd.DataFrame(
        {
            "source": list(gains),
            "gain": [gain / total for gain in gains.values()],
            "contribution": effects.abs().mean().to_numpy(),
        }
    )
    return table.sort_values("contribution", ascending=False, ignore_index=True)


def _dependence(model: ChurnModel, rows: Sample, column: str, effect: pd.Series) -> pd.DataFrame:
    """The mean effect by value: of each category, or of numbers in bins of equally many customers."""
    values = rows.frame[column]
    if any(c.name == column for c in model.spec.categorical):
        table = pd.DataFrame({"group": values.astype("string").fillna("missing"), "effect": effect})
        points = table.groupby("group").agg(effect=("effect", "mean"), n=("effect", "size"))
        points["value"] = points.index
    else:
        number = values.astype("float64").to_numpy(na_value=np.nan)
        bins = pd.qcut(number, BINS, labels=False, duplicates="drop")
        table = pd.DataFrame({"group": bins, "value": number, "effect": effect})
        points = table.groupby("group").agg(
            value=("value", "median"), effect=("effect", "mean"), n=("effect", "size")
        )
    points = points[points["n"] >= FEWEST]
    return points.assign(column=column)[["column", "value", "effect", "n"]]


def _topics(summaries: npt.NDArray[np.object_], label: npt.NDArray[np.float64]) -> npt.NDArray[np.object_]:
    """The longest phrases of each summary that at least 20 share, UNSAID where there is none, None without a note."""
    counts = count_phrases([summary or "" for summary in summaries], label)
    shared = counts.loc[counts["n_churned"] + counts["n_stayed"] >= SHARED_BY, "phrase"]
    longest_first = sorted(shared, key=lambda phrase: (-len(phrase.split()), phrase))
    topics = np.full(len(summaries), None, object)
    topics[:] = [summary and _named(summary, longest_first) for summary in summaries]
    return topics


def _named(summary: str, phrases: Sequence[str]) -> str:
    """The first phrases that stand in a summary, none of them within another."""
    words = " ".join(WORD.findall(summary.lower()))
    named: list[str] = []
    for phrase in phrases:
        if len(named) < TOPICS and _within(phrase, words) and not any(_within(phrase, n) for n in named):
            named.append(phrase)
    return ", ".join(named) or UNSAID


def _within(phrase: str, words: str) -> bool:
    return f" {phrase} " in f" {words} "


def _examples(summaries: npt.NDArray[np.object_], effect: pd.Series) -> pd.DataFrame:
    """The summaries that raise the risk most, and those that lower it most."""
    table = pd.DataFrame({"summary": summaries, "effect": effect}).dropna().query("summary != @UNSAID")
    table = table.sort_values(["effect", "summary"]).drop_duplicates("summary")
    up, down = table[table["effect"] > 0].tail(EXAMPLES)[::-1], table[table["effect"] < 0].head(EXAMPLES)
    found = pd.concat([up, down])
    plain = [redaction.redact(summary)[0] for summary in found["summary"]]
    direction = np.where(found["effect"] > 0, "up", "down")
    return found.assign(summary=plain, direction=direction)[["direction", "summary", "effect"]]


def _reasons(scored: pd.DataFrame) -> pd.DataFrame:
    """What an agent would read of a few customers, from the riskiest to a safe one; without their ids."""
    order = scored["churn_probability"].sort_values(kind="stable").index
    places = dict.fromkeys(round(level * (len(order) - 1)) for level in LEVELS)
    texts = [f"reason_{rank}_text" for rank in (1, 2, 3)]
    table = scored.loc[order[list(places)], ["churn_probability", "risk_band", *texts]]
    redacted = {c: [t and redaction.redact(t)[0] for t in table[c]] for c in texts}
    return table.assign(**redacted).reset_index(drop=True)


def _concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([pd.DataFrame(), *(t for t in tables if len(t))], ignore_index=True)
