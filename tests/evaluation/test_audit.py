"""The leak audit: finds what is planted and leaves a clean table alone."""

import numpy as np
import pandas as pd
import pytest

from churn_spark.contract.columns import Column, Contract
from churn_spark.evaluation import audit
from churn_spark.evaluation.audit import Overlap
from churn_spark.evaluation.findings import Finding
from churn_spark.evaluation.phrases import count_phrases, separating_phrases
from churn_spark.sample.customers import customers
from churn_spark.settings.sections import Leakage

RNG = np.random.default_rng(0)
LABEL = RNG.integers(0, 2, 2000)
NOISE = RNG.normal(size=2000)


def found(**columns: object) -> list[tuple[str, str]]:
    frame = pd.DataFrame(columns)
    aucs = audit.single_column_aucs(frame, LABEL, columns=list(frame))
    return [(f.severity, f.column) for f in audit.column_findings(aucs, Leakage())]


def test_audit_finds_a_copy_of_the_label_as_number_or_word() -> None:
    assert found(copy=LABEL) == [("fail", "copy")]
    assert found(state=np.where(LABEL, "gone", "here")) == [("fail", "state")]
    assert found(inverse=1 - LABEL) == [("fail", "inverse")]
    assert found(code=np.where(LABEL, 2, RNG.choice([1, 3], 2000))) == [("fail", "code")]


def test_audit_finds_a_value_that_only_exists_for_churners() -> None:
    last_day = np.where(LABEL, RNG.integers(1, 30, 2000), np.nan)
    assert found(last_day=last_day) == [("fail", "last_day")]


def test_audit_warns_of_a_column_that_is_95_percent_the_label() -> None:
    flipped = np.where(RNG.random(2000) < 0.05, 1 - LABEL, LABEL)
    assert found(nearly=flipped, honest=np.where(RNG.random(2000) < 0.3, 1 - LABEL, LABEL)) == [
        ("warn", "nearly")
    ]


def test_audit_leaves_honest_columns_alone() -> None:
    unique = [f"v{i}" for i in range(2000)]
    constant = np.zeros(2000)
    assert found(noise=NOISE, unique=unique, constant=constant, empty=np.full(2000, np.nan)) == []


@pytest.mark.parametrize(
    "name",
    ["cancel_date", "closed_at", "churn_reason", "CancelDate", "exit_reason", "is_churned", "account_closed",
     "cancellation_fee", "left_on", "date_closed", "final_invoice", "reason_for_leaving", "exit_interview",
     "deactivated_at", "unsubscribe_date", "winback_offer", "customer_status_closed",
     "lost_customer", "days_since_cancellation", "policy_closed"],
)  # fmt: skip
def test_audit_warns_of_names_after_the_event(name: str) -> None:
    assert [f.column for f in audit.name_findings([Column(name=name, role="passthrough")])] == [name]


@pytest.mark.parametrize(
    "name",
    ["months_left", "tickets_closed", "packets_lost", "contract_end_date", "tenure", "reasonable", "exits",
     "contact_reason", "cancelled_orders_count", "num_cancellations", "previous_churn", "flights_cancelled",
     "days_left", "free_cancellation", "call_reason", "closing_balance", "lost_packets"],
)  # fmt: skip
def test_audit_accepts_names_of_things_known_before(name: str) -> None:
    assert audit.name_findings([Column(name=name, role="numeric")]) == []


def test_name_findings_look_at_the_raw_name_and_skip_declared_dates() -> None:
    renamed = Column(name="day", role="passthrough", source="cancelDate", type="date")
    assert [f.column for f in audit.name_findings([renamed])] == ["day"]
    assert audit.name_findings([renamed], known=["day"]) == []


def test_a_column_far_above_all_others_is_asked_about() -> None:
    aucs = {"visits": 0.85, "age": 0.7}
    assert [(f.severity, f.column) for f in audit.column_findings(aucs, Leakage())] == [("ask", "visits")]
    assert audit.column_findings({"visits": 0.85, "age": 0.8}, Leakage()) == []
    assert audit.column_findings({"visits": 0.78, "age": 0.6}, Leakage()) == []


def test_missing_values_that_tell_are_asked_about() -> None:
    label = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    frame = pd.DataFrame({"survey": [1.0, 2, 3, None, *[None] * 4], "age": [1.0, None] * 4})
    found = audit.missing_findings(frame, label, columns=["survey", "age"])
    assert [(f.severity, f.column) for f in found] == [("ask", "survey")]
    assert audit.missing_findings(frame, np.ones(8), columns=["survey"]) == []


# -- notes ----------------------------------------------------------------------------------------------


def notes(seed: int) -> pd.DataFrame:
    table = customers(0, 1000, seed=seed)
    return table[table["ticket_notes"].notna()]


def test_audit_finds_notes_that_tell_the_answer_and_hides_it_from_the_message() -> None:
    table = notes(1)
    told = [
        f"{n} Account closed." if y and i % 2 else n
        for i, (n, y) in enumerate(zip(table["ticket_notes"], table["churn"], strict=True))
    ]
    counts = count_phrases(told, table["churn"])
    (finding,) = audit.phrase_findings("notes", counts, table["churn"])
    assert finding.phrases[0] == "account closed"
    assert "closed" not in finding.message
    assert finding.column == "notes"


@pytest.mark.parametrize(("customers", "named"), [(19, ()), (20, ("account closed",))])
def test_audit_names_only_phrases_that_20_customers_share(customers: int, named: tuple[str, ...]) -> None:
    counts = pd.DataFrame({"phrase": ["account closed"], "n_churned": [customers], "n_stayed": [0]})
    (finding,) = audit.phrase_findings("notes", counts, np.arange(400) < 40)
    assert finding.phrases == named


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_audit_leaves_honest_notes_alone(seed: int) -> None:
    table = notes(seed)
    counts = count_phrases(table["ticket_notes"].tolist(), table["churn"])
    assert len(counts) > 100
    assert audit.phrase_findings("notes", counts, table["churn"]) == []


def test_separating_phrases_say_who_uses_them() -> None:
    texts = ["very happy with it, ref 77123", "asked about the bill"] * 30 + [
        "double billing, wrote to [EMAIL]"
    ] * 30
    label = [0, 0] * 30 + [1] * 30
    table = separating_phrases(count_phrases(texts, label), label)
    effects = dict(zip(table["phrase"], table["effect"], strict=True))
    assert effects["double billing"] > 1
    assert min(effects.values()) < -1
    assert not any("email" in p or any(map(str.isdigit, p)) for p in effects)


def test_phrases_survive_notes_that_are_all_alike() -> None:
    counts = count_phrases(["the same words"] * 30, [0, 1, 0] * 10)
    assert separating_phrases(counts, [0, 1, 0] * 10).empty
    assert count_phrases(["rare words"], [1]).empty


@pytest.mark.parametrize(
    ("overlap", "suspicious"),
    [
        (
            Overlap(distinct=400, shared=80, pairs=78, agreement=0.65, expected=0.66),
            True,
        ),  # unique notes twice
        (
            Overlap(distinct=400, shared=80, pairs=10, agreement=0.97, expected=0.66),
            True,
        ),  # always one outcome
        (Overlap(distinct=40, shared=38, pairs=1, agreement=0.7, expected=0.66), False),  # canned notes
        (Overlap(distinct=400, shared=9, pairs=9, agreement=1.0, expected=0.66), False),  # chance
        (Overlap(distinct=0, shared=0, pairs=0, agreement=0.0, expected=0.0), False),
    ],
)
def test_repeated_notes_are_suspicious_where_canned_notes_do_not_explain_them(
    overlap: Overlap, suspicious: bool
) -> None:
    assert bool(audit.repeated_note_findings("notes", overlap)) == suspicious


DATED = pd.DataFrame(
    {
        "as_of": pd.to_datetime(["2025-01-31"] * 3).date,
        "written": pd.to_datetime(["2025-01-30", "2025-01-31", "2025-02-02"]).date,
        "left_on": pd.to_datetime(["2025-02-20", None, "2025-02-02"]).date,
    }
)
AS_OF = Column(name="as_of", role="snapshot")


def test_note_dates_after_the_snapshot_or_the_departure_are_found() -> None:
    leakage = Leakage(note_date="written", churn_date="left_on")
    messages = [f.message for f in audit.note_date_findings(DATED, [1, 0, 1], leakage, snapshot=AS_OF)]
    assert ["1 of 3" in messages[0], "1 of 2" in messages[1]] == [True, True]


def test_note_dates_before_are_fine_and_need_a_setting() -> None:
    leakage = Leakage(note_date="written", churn_date="left_on")
    early = DATED.iloc[:2]
    assert audit.note_date_findings(early, [1, 0], leakage, snapshot=AS_OF) == []
    assert audit.note_date_findings(DATED, [1, 0, 1], Leakage(), snapshot=AS_OF) == []


# -- customers and judgement ----------------------------------------------------------------------------


def test_twins_are_found_by_equal_outcomes() -> None:
    same = Overlap(distinct=200, shared=40, pairs=40, agreement=1.0, expected=0.6)
    alike = same._replace(agreement=0.7)
    assert [f.name for f in audit.twin_findings(same)] == ["same_customers_on_both_sides"]
    assert audit.twin_findings(alike) == audit.twin_findings(same._replace(shared=5)) == []


def test_panel_customers_on_both_sides_are_said_but_are_no_alarm() -> None:
    (said,) = audit.panel_findings(30, 40)
    assert said.severity == "ok"
    assert "75%" in said.message
    assert audit.fatal([said], Leakage(action="fail")) == audit.panel_findings(0, 40) == []


def test_findings_are_allowed_by_column_raw_name_or_kind() -> None:
    contract = Contract((Column(name="day", role="passthrough", source="CANCEL_DT"),))
    finding = Finding("warn", "named_after_the_event", "", "day")
    for allow in ("day", "CANCEL_DT", "named_after_the_event"):
        assert audit.not_allowed([finding], contract, allow=[allow]) == []
    assert audit.not_allowed([finding], contract, allow=["other"]) == [finding]


def test_only_the_label_itself_ends_a_run_unless_everything_shall() -> None:
    findings = [Finding("warn", "a", ""), Finding("fail", "b", ""), Finding("ok", "c", "")]
    assert [f.name for f in audit.fatal(findings, Leakage())] == ["b"]
    assert [f.name for f in audit.fatal(findings, Leakage(action="fail"))] == ["a", "b"]
