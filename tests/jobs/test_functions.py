"""The public pandas UDFs: on anyone's DataFrame and in SQL what the jobs compute, bit for bit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers import ROOT, real_table

from churn_spark import ChurnModel, load_config
from churn_spark.cli import main
from churn_spark.functions import churn_probability, embed, register, summarize
from churn_spark.notes import precision
from churn_spark.notes import prepare as notes
from churn_spark.settings.notes import NoteSettings

NOTES = [
    "Charged twice; write to jane@example.com.",
    "n/a",
    None,
    "Charged twice; write to jane@example.com.",
]


def table(spark, **columns):
    return spark.createDataFrame(pa.table(columns)).coalesce(1)


def test_a_note_becomes_what_a_service_makes_of_it(spark) -> None:
    df = table(spark, note=NOTES).select(
        summarize()("note").alias("summary"), embed()("note").alias("vector")
    )
    expected, vectors = notes.prepare(NOTES, precision.suited(NoteSettings()))
    rows = df.toArrow().to_pydict()
    assert rows["summary"] == [result.summary for result in expected]
    assert rows["summary"][0] == "Charged twice; write to [EMAIL]."
    assert [v is None for v in rows["vector"]] == [False, True, True, False]
    np.testing.assert_array_equal(np.array(rows["vector"][0], np.float32), vectors[0])


def test_sql_says_what_the_jobs_published(spark, raw: Path, output: Path) -> None:
    """Summary and probability of every customer, from the raw CSV by Spark's own reader."""
    register(spark, str(output / "models"))
    spark.read.csv(str(raw), header=True, escape='"', multiLine=True).createOrReplaceTempView("raw_customers")
    answers = spark.sql(
        "SELECT customer_id, churn_summarize(ticket_notes) AS ticket_summary,"
        " churn_probability(struct(*)) AS churn_probability FROM raw_customers"
    )
    assert_published(answers.toPandas(), output, day="2026-01-31")


def test_columns_are_found_by_name_and_missed_aloud(spark, output: Path) -> None:
    model = ChurnModel.load(output / "models")
    df = table(
        spark, AGE=[50], tenure=[10], spend_rate=[100.0], plan_type=["monthly"], ticket_notes=["Too dear."]
    )
    score = churn_probability(model)
    record = {"customer_id": "c", **{k.lower(): v for k, v in df.first().asDict().items()}}
    answer = df.selectExpr("struct(*) AS customer").select(score("customer")).first()[0]
    assert answer == model.predict([record])[0]["churn_probability"]
    with pytest.raises(Exception, match="lacks columns that the model reads: plan_type, tenure"):
        df.selectExpr("struct(AGE, spend_rate, ticket_notes) AS customer").select(score("customer")).first()


def test_an_error_in_a_worker_quotes_no_value(spark) -> None:
    df = table(spark, note=["her secret"])
    too_few_dimensions = NoteSettings.model_validate({"embedder": {"name": "openai", "model": "unheard-of"}})
    with pytest.raises(Exception, match="length of unheard-of's vectors is not known") as caught:
        df.select(embed(too_few_dimensions)("note")).first()
    assert "her secret" not in str(caught.value)


@pytest.mark.slow
def test_telco_equals_the_job_bit_for_bit(spark, tmp_path: Path) -> None:
    raw, layer = real_table("telco_feedback.csv"), ROOT / "conf/examples/telco.yaml"
    place = [
        "-q",
        "--config",
        str(layer),
        "--raw",
        str(raw),
        "--output",
        str(tmp_path),
        "--set",
        "leakage=warn",
    ]
    assert main(["train", *place, "--set", "promotion.rule=always", "--set", "training.n_estimators=60"]) == 0
    assert main(["score", *place, "--score-date", "2026-01-31"]) == 0
    register(spark, str(tmp_path / "models"))
    spark.read.csv(str(raw), header=True, escape='"', multiLine=True).createOrReplaceTempView("telco")
    answers = spark.sql(
        "SELECT customerID AS customer_id, churn_summarize(CustomerFeedback) AS ticket_summary,"
        " churn_embed(CustomerFeedback) AS vector, churn_probability(struct(*)) AS churn_probability FROM telco"
    ).toPandas()
    assert len(answers) == 7032
    assert_published(answers, tmp_path, day="2026-01-31")
    assert_cached(answers, tmp_path, load_config([str(layer)]).text.of("customer_feedback"))


def assert_published(answers: pd.DataFrame, output: Path, *, day: str) -> None:
    """Of every published customer that stands once in the raw table."""
    columns = ["customer_id", "churn_probability", "ticket_summary"]
    published = pd.read_parquet(output / "churn_scores" / f"score_date={day}", columns=columns)
    once = answers[columns].drop_duplicates("customer_id", keep=False)
    both = [frame.set_index("customer_id").sort_index() for frame in (once, published)]
    common = both[0].index.intersection(both[1].index)
    assert len(common) > 0.98 * len(published)
    pd.testing.assert_frame_equal(both[0].loc[common], both[1].loc[common], check_exact=True)


def assert_cached(answers: pd.DataFrame, output: Path, settings: NoteSettings) -> None:
    """Each vector is the one in the text cache."""
    cached = pd.read_parquet(output / "churn_notes/kind=embedding").set_index("key")["embedding"]
    noted = answers[answers["ticket_summary"].notna()]
    keys = [notes.folded_hash(summary, settings) for summary in noted["ticket_summary"]]
    assert len(keys) > 1000
    assert [np.asarray(v, np.float32).tobytes() for v in noted["vector"]] == cached[keys].tolist()
