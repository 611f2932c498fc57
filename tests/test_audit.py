"""The leak audit: finds what is planted and leaves a clean table alone."""

import numpy as np
import pandas as pd

from churn_spark.audit import audit_columns, single_column_aucs

RNG = np.random.default_rng(0)
LABEL = RNG.integers(0, 2, 2000)


def found(**columns: object) -> list[tuple[str, str]]:
    frame = pd.DataFrame(columns)
    aucs = single_column_aucs(frame, LABEL, columns=list(frame))
    return [
        (f.severity, f.column)
        for f in audit_columns(aucs, max_auc=0.995, allow=("known",), names=list(frame))
    ]


def test_audit_finds_a_copy_of_the_label_as_number_or_word() -> None:
    assert found(copy=LABEL) == [("fail", "copy")]
    assert found(state=np.where(LABEL, "gone", "here")) == [("fail", "state")]
    assert found(inverse=1 - LABEL) == [("fail", "inverse")]


def test_audit_finds_a_value_that_only_exists_for_churners() -> None:
    last_day = np.where(LABEL, RNG.integers(1, 30, 2000), np.nan)
    assert ("fail", "last_day") in found(last_day=last_day)


def test_audit_warns_of_names_after_the_event() -> None:
    noise = RNG.normal(size=2000)
    assert found(cancel_date=noise, closed_at=noise, churn_reason=noise) == [
        ("warn", "cancel_date"), ("warn", "closed_at"), ("warn", "churn_reason"),
    ]  # fmt: skip


def test_audit_leaves_honest_and_allowed_columns_alone() -> None:
    unique = [f"v{i}" for i in range(2000)]
    assert found(noise=RNG.normal(size=2000), unique=unique, reasonable=RNG.normal(size=2000)) == []
    assert found(known=LABEL) == []
