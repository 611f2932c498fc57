"""The sentence that moved a score most, by leaving each out."""

import numpy as np
import pytest

from churn_spark.model.policy import Policy
from churn_spark.model.quotes import cut_off, left_out, telling_sentences


def test_left_out_takes_away_one_sentence_at_a_time() -> None:
    assert left_out("Slow line. No refund. Bye.") == {
        "Slow line.": "No refund. Bye.", "No refund.": "Slow line. Bye.", "Bye.": "Slow line. No refund.",
    }  # fmt: skip
    assert left_out("Only one.") == left_out(None) == {}


def test_telling_sentences_picks_what_moved_the_score_most() -> None:
    summaries = ["Slow line. No refund.", "Fine. Thanks.", "One only.", None, "Odd. Lost.", "Hi. Bye."]
    wanted = np.array([True, False, True, True, True, True])
    moved = {"Hi.": 0.01, "Bye.": -0.2}  # no effect of its own
    moved |= {"No refund.": 0.1, "Slow line.": 0.7, "Lost.": np.nan, "Odd.": 0.2}  # by what remains
    told = telling_sentences(summaries, wanted, lambda rows, parts: np.array([moved[p] for p in parts]))
    assert told == ["No refund.", "Fine. Thanks.", "One only.", None, "Odd. Lost.", "Hi. Bye."]


@pytest.mark.parametrize(("band", "cut"), [("low", 0), ("high", 0.5), ("very_high", 0.75), ("none", np.inf)])
def test_cut_off_is_where_a_band_begins(band: str, cut: float) -> None:
    assert cut_off(Policy(bands=(0.25, 0.5, 0.75)), band) == cut
