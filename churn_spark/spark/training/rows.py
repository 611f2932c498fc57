"""What the leak audit and the report look at: bounded rows in this process, and counts over the whole table.

Settings are chosen on the learning rows among them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.arrays import vectors_matrix
from churn_spark.contract.columns import Contract, embedding_column, summary_column
from churn_spark.evaluation.audit import Overlap
from churn_spark.model.sample import Sample
from churn_spark.notes import redaction
from churn_spark.spark.notes.resolver import is_blank

# Up to so many learning rows are all here: settings are chosen on them, and a booster for each fold is published.
# Beyond, settings are chosen on so many, and one booster learns from all rows: five gain 0.001 of ROC-AUC there.
MOST_ROWS = {"learn": 50_000, "test": 10_000}
NOTE_CHARS = 2_000
SHARES = 1_000_000
WORDS_THAT_DIFFER = 5  # shorter notes are the same by nature


def collect_rows(df: DataFrame, contract: Contract, *, keep: Sequence[str] = ()) -> Sample:
    """Bring at most about 60,000 split rows here, customers chosen by hash, sorted by key; see `Sample`.

    `df` has the contract's columns, those of `with_texts`, and `split`; `keep` names further columns to bring.
    Notes are redacted and cut.
    """
    assert contract.label is not None
    texts = [t.name for t in contract.texts]
    columns = [*(c.name for c in contract.role("numeric", "categorical")), *keep]
    counts = {
        r["split"]: r["count"] for r in df.where("split is not null").groupBy("split").count().collect()
    }
    place = F.pmod(F.xxhash64(F.lit("inspect"), contract.id.name), F.lit(SHARES))
    shares = {name: min(SHARES, SHARES * MOST_ROWS[name] // rows) for name, rows in counts.items()}
    share = F.create_map(*[F.lit(x) for pair in shares.items() for x in pair])
    chosen = df.where(place < share[F.col("split")]).select(
        *dict.fromkeys([*contract.key, "split", *columns]),
        F.col(contract.label.name).cast("int").alias("label"),
        *[F.substring(F.trim(t), 1, NOTE_CHARS + 1).alias(t) for t in texts],
        *[f(t) for t in texts for f in (summary_column, embedding_column)],
    )
    table = chosen.toArrow().sort_by([(k, "ascending") for k in contract.key])
    vectors = {}
    for name in texts:
        column = table.column(embedding_column(name))
        known, most = column.drop_null(), contract.history.notes.get(name, 1)
        if len(known):
            one = known[0].as_py() if most == 1 else known[0].as_py()[0]
            vectors[name] = vectors_matrix(column, len(one) // 4, most)
    summaries = {t: table.column(summary_column(t)).to_pandas().to_numpy(object) for t in texts}
    frame = table.select([*dict.fromkeys([*contract.key, "split", "label", *columns, *texts])]).to_pandas()
    frame = frame.assign(**{t: [_shown(note) for note in frame[t]] for t in texts})
    return Sample(frame, vectors, summaries, all(n <= MOST_ROWS[name] for name, n in counts.items()))


def _shown(note: str | None) -> str | None:
    """A note as it may be shown; None where there is nothing to read."""
    if note is None or redaction.is_blank(note):
        return None
    return redaction.redact(redaction.normalize(note, max_chars=NOTE_CHARS)[0])[0]


def note_overlap(df: DataFrame, contract: Contract, column: str) -> Overlap:
    """How many notes of five words and more stand among both test and learning rows, word for word."""
    long_enough = F.size(F.split(F.trim(column), r"\s+")) >= WORDS_THAT_DIFFER
    noted = df.where(~is_blank(F.col(column)) & long_enough)
    return _overlap(noted.withColumn("content", F.xxhash64(F.lower(F.trim(column)))), contract)


def row_overlap(df: DataFrame, contract: Contract) -> Overlap:
    """How many rows are the same in every numeric and categorical column among test and learning rows."""
    columns = [c.name for c in contract.role("numeric", "categorical")]
    values = [F.coalesce(F.col(c).cast("string"), F.lit("\0")) for c in columns]
    if not values:
        return Overlap(0, 0, 0, 0.0, 0.0)
    return _overlap(df.withColumn("content", F.xxhash64(*values)), contract)


def _overlap(df: DataFrame, contract: Contract) -> Overlap:
    """Compare the sides by `content`; in a panel without customers who are known to be on both."""
    assert contract.label is not None
    customer = contract.id.name
    rows = df.where("split in ('learn', 'test')").select(
        "content", customer, (F.col("split") == "test").cast("int").alias("test"),
        F.col(contract.label.name).cast("int").alias("label"),
    )  # fmt: skip
    if contract.snapshot:
        sides = rows.groupBy(customer).agg(F.count_distinct("test").alias("sides")).where("sides = 1")
        rows = rows.join(sides, customer, "left_semi")
    sides = rows.groupBy("content").agg(
        F.sum("test").alias("n_test"), F.sum(1 - F.col("test")).alias("n_learn"),
        F.avg(F.when(F.col("test") == 1, F.col("label"))).alias("p"),
        F.avg(F.when(F.col("test") == 0, F.col("label"))).alias("q"),
    )  # fmt: skip
    shared = (F.col("n_test") > 0) & (F.col("n_learn") > 0)
    p, q = F.col("p"), F.col("q")
    counted = sides.agg(
        F.count_if(F.col("n_test") > 0).alias("distinct"), F.count_if(shared).alias("shared"),
        F.count_if((F.col("n_test") == 1) & (F.col("n_learn") == 1)).alias("pairs"),
        F.avg(p * q + (1 - p) * (1 - q)).alias("agreement"),
        F.avg(F.when(shared, p)).alias("p"), F.avg(F.when(shared, q)).alias("q"),
    ).collect()[0]  # fmt: skip
    if not counted.shared:
        return Overlap(counted.distinct, 0, 0, 0.0, 0.0)
    by_chance = counted.p * counted.q + (1 - counted.p) * (1 - counted.q)
    return Overlap(counted.distinct, counted.shared, counted.pairs, counted.agreement, by_chance)


def customers_on_both_sides(df: DataFrame, contract: Contract) -> tuple[int, int]:
    """How many test customers also have learning rows, and how many test customers there are."""
    sides = df.where("split in ('learn', 'test')").groupBy(contract.id.name).agg(
        F.max((F.col("split") == "learn").cast("int")).alias("learn"),
        F.max((F.col("split") == "test").cast("int")).alias("test"),
    ).where("test = 1")  # fmt: skip
    counted = sides.agg(
        F.coalesce(F.sum("learn"), F.lit(0)).alias("both"), F.count("*").alias("test")
    ).collect()[0]
    return int(counted.both), int(counted.test)
