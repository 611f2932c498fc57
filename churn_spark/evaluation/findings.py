"""What the leak audit, the ablations and the interpretation have to say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pandas as pd

Severity = Literal["fail", "warn", "ask", "ok"]

SHARED_BY = 20  # customers: words that fewer of them use could tell of a person


class Finding(NamedTuple):
    """One thing the leak audit has to say; `column` is empty where no single column is meant.

    `message` holds no value of the table; `phrases` are words of notes, for the report only.
    """

    severity: Severity
    name: str
    message: str
    column: str = ""
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Insights:
    """What the leak audit, the ablations and the interpretation found; texts are redacted.

    `findings`: None where there was no audit, () where it found nothing. `comparison`: variant, metric,
    value, ci_low, ci_high, n, for `base rate`, `table only`, `text only`, `champion`, `without calibration`
    and others. `differences`: baseline (a variant), metric, value, ci_low, ci_high, by how much this model
    exceeds it on the same rows (`metrics.compare`); without them the verdict sets two intervals against each
    other, which is more cautious. `importance`: source, gain (share), contribution (mean absolute log-odds).
    `dependence`: column, value, effect (log-odds), n. `phrases`: phrase, effect (above 0: customers leave),
    n_churned, n_stayed. `examples`: direction (up, down), summary, effect. `reasons_sample`:
    churn_probability, risk_band, reason_1_text to reason_3_text.
    """

    findings: tuple[Finding, ...] | None = None
    comparison: pd.DataFrame = field(default_factory=pd.DataFrame)
    differences: pd.DataFrame = field(default_factory=pd.DataFrame)
    importance: pd.DataFrame = field(default_factory=pd.DataFrame)
    dependence: pd.DataFrame = field(default_factory=pd.DataFrame)
    phrases: pd.DataFrame = field(default_factory=pd.DataFrame)
    examples: pd.DataFrame = field(default_factory=pd.DataFrame)
    reasons_sample: pd.DataFrame = field(default_factory=pd.DataFrame)
