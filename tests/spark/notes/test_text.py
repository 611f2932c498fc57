"""The text stage: every distinct text computed once, whatever happens to runs, files and neighbours."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from helpers import ROOT

from churn_spark.errors import InputError, ResourceError
from churn_spark.notes import embedders
from churn_spark.notes import prepare as notes
from churn_spark.settings.notes import Text
from churn_spark.spark import storage
from churn_spark.spark.notes import resolver
from churn_spark.spark.notes.cache import COLUMNS, Cache, CacheMap, described
from churn_spark.spark.notes.counts import TextCounts
from churn_spark.spark.notes.pricing import price_texts
from churn_spark.spark.notes.stage import with_texts

NOTES = [
    "Charged twice, and nobody called back.",
    "CHARGED twice,  and nobody called back.",
    "Mail jane@example.com about the outage.",
    "Charged twice, and nobody called back.",
    "n/a",
    None,
]
TEXT = Text(chunk_tokens=50)


def table(spark, texts=NOTES, partitions=2):
    rows = pa.table({"id": [f"c{n:03d}" for n in range(len(texts))], "note": texts})
    return spark.createDataFrame(rows).repartition(partitions, "id")


def run(spark, folder, *, run_id="r1", text=TEXT, texts=NOTES, partitions=2):
    """The stage's rows, by id, and its counts."""
    cache = Cache(str(folder / "cache"), run_id)
    counts, rows = TextCounts(), table(spark, texts, partitions)
    df = with_texts(rows, ["note"], text=text, cache=cache, work=str(folder / run_id), counts=counts)
    return df.joined().toPandas().sort_values("id").reset_index(drop=True), counts


def equal(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    pd.testing.assert_frame_equal(one, other)
    return True


def numbers(vectors) -> np.ndarray:
    return np.stack([np.frombuffer(v, np.float32) for v in vectors])


@pytest.fixture(scope="module")
def filled(spark, tmp_path_factory):
    """A folder whose cache one run has filled, and what that run gave."""
    folder = tmp_path_factory.mktemp("text")
    rows, counts = run(spark, folder)
    return folder, rows, counts


def test_with_texts_gives_what_a_service_gives(filled):
    _, rows, counts = filled
    prepared, vectors = notes.prepare(NOTES, TEXT.of("note"))
    assert list(rows["note__status"]) == [p.status for p in prepared]
    assert list(rows["note__summary"]) == [p.summary for p in prepared]
    for found, expected in zip(rows["note__embedding"], vectors, strict=True):
        if found is None:
            assert np.isnan(expected).all()
        else:
            np.testing.assert_array_equal(np.frombuffer(found, np.float32), expected)
    assert (counts.notes, counts.distinct, counts.redacted, counts.failed) == (4, 3, 1, 0)
    assert (counts.summaries_computed, counts.embeddings_computed) == (
        3,
        2,
    )  # capitals are all one to a vector
    assert counts.padding == 1.0


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_vectors_do_not_depend_on_partitions_chunks_or_cache(spark, filled, tmp_path, precision):
    """The real model, in other partitions, chunks and a fresh cache, and in this process: the same bits."""
    usual = Text.model_validate({"embedder": {"precision": precision}})
    text = usual.model_copy(update={"chunk_tokens": 200})
    texts = [f"{note} {'Once more. ' * n}" for n, note in enumerate(NOTES[:3] * 4)]
    one, _ = run(spark, tmp_path, run_id="chunked", text=text, texts=texts, partitions=1)
    again, _ = run(spark, tmp_path, run_id="cached", text=text, texts=texts, partitions=4)
    whole, _ = run(spark, tmp_path / "other", text=usual, texts=texts[::-1], partitions=3)
    assert equal(one, again)
    _, vectors = notes.prepare(texts, usual.of("note"))
    np.testing.assert_array_equal(numbers(one["note__embedding"]), vectors)
    np.testing.assert_array_equal(numbers(whole["note__embedding"])[::-1], vectors)


def test_a_warm_run_starts_no_python_worker(spark, filled, monkeypatch, tmp_path):
    folder, rows, _ = filled
    monkeypatch.setattr(spark.sparkContext, "pythonExec", "/nowhere/python")
    warm, counts = run(spark, folder, run_id="r2")
    assert equal(warm, rows)
    assert (counts.computed, counts.cache_hits, counts.tokens) == (0, 3, 0)
    with pytest.raises(Exception, match="nowhere"):
        run(spark, tmp_path)


def test_each_distinct_text_is_computed_once(spark, filled):
    folder, _, _ = filled
    cache = Cache(str(folder / "cache"), "r")
    texts = {stored.kind: stored.stored(spark).count() for stored, _ in cache.maps()}
    assert texts == {"note": 3, "summary": 3, "embedding": 2}


def test_the_cache_holds_no_raw_note(filled):
    folder, _, _ = filled
    files = [p for p in (folder / "cache").rglob("*") if p.is_file()]
    assert len(files) >= 3 + len(COLUMNS)
    assert not [p for p in files if b"jane@example.com" in p.read_bytes()]
    summaries = pd.read_parquet(folder / "cache/kind=summary")["summary"]
    assert summaries.str.contains("[EMAIL]", regex=False).any()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """One bit of the first page, which holds the column `key`."""
    content = bytearray(path.read_bytes())
    content[content.index(b"0") if b"0" in content[:200] else 60] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("kind", ["note", "embedding"])
@pytest.mark.parametrize("damage", [truncate, empty, flip, Path.unlink])
def test_a_damaged_cache_file_is_computed_again(spark, filled, tmp_path, damage, kind):
    folder, rows, _ = filled
    shutil.copytree(folder / "cache", tmp_path / "cache")
    files = sorted((tmp_path / "cache" / f"kind={kind}").rglob("*.parquet"))
    damage(next(path for path in files if len(pd.read_parquet(path))))
    again, counts = run(spark, tmp_path, run_id="r2")
    assert equal(again, rows)
    assert (counts.embeddings_computed > 0) == (kind == "embedding")
    assert len(list((tmp_path / "cache").glob("_damaged/*"))) == (damage in (truncate, flip))
    assert equal(run(spark, tmp_path, run_id="r3")[0], rows)


def test_the_first_committed_value_wins_and_compaction_keeps_it(spark, filled, tmp_path, monkeypatch):
    folder, _, _ = filled
    shutil.copytree(folder / "cache", tmp_path / "cache")
    cache = Cache(str(tmp_path / "cache"), "r2")
    stored = cache.map("embedding", notes.embedding_identity(TEXT))
    before = stored.first(spark).sort("key").collect()

    def add_other_values():
        keys = spark.createDataFrame(pa.table({"key": [r.key for r in before]}))
        other = keys.selectExpr("key", "unhex('0000803f') embedding", "0 tokens", "0 padded_tokens", "1 chunks",
                                "'ok' status", "string(null) error", "0 calls")  # fmt: skip
        stored.add(other, staging=cache.staging("later"))

    add_other_values()
    assert stored.stored(spark).count() == 2 * len(before)
    assert stored.first(spark).sort("key").collect() == before
    remove, removed = storage.remove, []

    def killed(path):
        removed.append(path)
        if len(removed) == 2:
            raise KeyboardInterrupt
        remove(path)

    monkeypatch.setattr(storage, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        stored.compact(spark, staging=cache.staging("c1"))
    monkeypatch.undo()
    assert stored.first(spark).sort("key").collect() == before
    assert stored.compact(spark, staging=cache.staging("c2")) > 1
    assert stored.stored(spark).drop("file").sort("key").collect() == before
    assert len(stored.files()) == 1
    number = stored.files()[0][:8]
    add_other_values()
    assert stored.files()[-1][:8] > number
    assert stored.first(spark).sort("key").collect() == before


def test_two_runs_at_once_lose_no_row(spark, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    texts = [f"{note} Nr. {'x' * n}" for n, note in enumerate(NOTES[:4] * 6)]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda r: run(spark, tmp_path, run_id=r, texts=texts)[0], ("r1", "r2")))
    assert equal(*both)
    rows, counts = run(spark, tmp_path, run_id="r3", texts=texts)
    assert equal(rows, both[0])
    assert (counts.computed, counts.failed) == (0, 0)


def test_compaction_beside_a_reader_makes_it_look_again(spark, filled, tmp_path, monkeypatch):
    """The reader has listed the files; then they are gone."""
    folder, rows, _ = filled
    shutil.copytree(folder / "cache", tmp_path / "cache")
    cache = Cache(str(tmp_path / "cache"), "c")
    stored = cache.map("summary", notes.summary_identity(TEXT))
    listed, compacted = CacheMap.first, []

    def first_then_compacted(self, session):
        frame = listed(self, session)
        if self.kind == "summary" and not compacted:
            compacted.append(0)
            stored.add(listed(stored, session), staging=cache.staging("again"))
            compacted.append(stored.compact(session, staging=cache.staging("c")))
        return frame

    monkeypatch.setattr(CacheMap, "first", first_then_compacted)
    again, counts = run(spark, tmp_path, run_id="r2")
    assert compacted[1] > 1
    assert equal(again, rows)
    assert counts.computed == 0


def test_described_says_what_an_identity_is_and_drop_removes_it(spark, filled, tmp_path):
    folder, _, _ = filled
    shutil.copytree(folder / "cache", tmp_path / "cache")
    cache = Cache(str(tmp_path / "cache"), "r2")
    lines = described(cache, spark)
    assert len(lines) == 3
    short = notes.short(notes.embedding_identity(TEXT))
    told = next(line for line in lines if short in line)
    assert "2 texts" in told
    assert "provider=sentence-transformers precision=float32" in told
    assert cache.drop(short) == 1
    assert len(described(cache, spark)) == 2
    with pytest.raises(InputError, match="no such identity"):
        cache.drop(short)


def test_price_texts_counts_what_any_map_lacks(spark, filled, tmp_path):
    folder, _, _ = filled
    warm, cold = Cache(str(folder / "cache"), "r"), Cache(str(tmp_path / "cache"), "r")
    prices = [price_texts(table(spark), ["note"], text=TEXT, cache=c)["uncached"] for c in (warm, cold)]
    assert prices == [0, 3]
    other = Text.model_validate({"embedder": {"name": "static"}})
    assert price_texts(table(spark), ["note"], text=other, cache=warm)["uncached"] == 3
    assert not (tmp_path / "cache").exists()


def test_int8_is_probed_on_the_runs_own_notes(spark, tmp_path, monkeypatch):
    text = Text.model_validate({"embedder": {"precision": "int8"}})
    _, counts = run(spark, tmp_path, text=text)
    assert counts.int8_cosine is not None
    assert 0.99 <= counts.int8_cosine < 1
    assert run(spark, tmp_path, run_id="r2", text=text)[1].int8_cosine is None  # nothing to embed


def test_int8_is_refused_where_it_is_too_far_from_float32(spark, tmp_path, monkeypatch):
    """The real model, and a bar that it cannot reach."""
    monkeypatch.setattr(embedders, "MIN_COSINE", 0.9999)
    assert (
        run(spark, tmp_path / "few", text=Text.model_validate({"embedder": {"precision": "int8"}}))[1].failed
        == 0
    )
    monkeypatch.setattr(resolver, "LEAST_PROBE", 1)
    cache, counts = Cache(str(tmp_path / "cache"), "r1"), TextCounts()
    text = Text.model_validate({"embedder": {"precision": "int8"}})
    with pytest.raises(ResourceError, match="set it to float32") as refused:
        with_texts(table(spark), ["note"], text=text, cache=cache, work=str(tmp_path / "w"), counts=counts)
    assert refused.value.exit_code == 23
    assert 0.99 <= counts.int8_cosine < 0.9999
    assert cache.map("embedding", notes.embedding_identity(text.of("note"))).files() == []


def test_more_failed_notes_than_allowed_end_the_run(spark, tmp_path):
    remote = {"base_url": "http://127.0.0.1:9/v1", "max_attempts": 1, "timeout_seconds": 1}
    text = Text.model_validate(
        {"summarizer": {"name": "openai", "model": "m", "min_chars": 0, "remote": remote}}
    )
    with pytest.raises(ResourceError, match=r"4 of 4 notes|endpoint"):
        run(spark, tmp_path, text=text)


def test_a_text_column_may_have_its_own_settings(spark, tmp_path):
    own = {"feedback": {"source": "note", "redact": False, "max_chars": 24}}
    text = Text.model_validate({**TEXT.model_dump(), "columns": own})
    df = spark.createDataFrame([("a", NOTES[0], NOTES[2])], "id string, note string, feedback string")
    cache = Cache(str(tmp_path / "cache"), "r")
    counts = TextCounts()
    row = (
        with_texts(df, ["note", "feedback"], text=text, cache=cache, work=str(tmp_path / "w"), counts=counts)
        .joined()
        .first()
    )
    assert (row["note__status"], row["feedback__status"]) == ("passthrough", "truncated")
    assert (row["note__summary"], row["feedback__summary"]) == (NOTES[0], "Mail jane@example.com")
    np.testing.assert_array_equal(
        np.frombuffer(row["feedback__embedding"], np.float32),
        notes.prepare([NOTES[2]], text.of("feedback"))[1][0],
    )


@pytest.mark.slow
def test_a_killed_run_loses_at_most_a_chunk(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests/benchmarks"))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    import soak_kill

    counted = soak_kill.soak(tmp_path, kills=1, rows=150, chunk_tokens=2000, seed=3)
    assert counted["kills"] > 0
    assert counted["equal"] == counted["results"] > 0
    assert counted["committed_twice"] == counted["left_behind"] == 0
    assert counted["calls_again"] <= counted["allowed"]


def test_drop_summaries_takes_out_what_is_like_a_pattern(spark, tmp_path):
    cache = Cache(str(tmp_path / "cache"), "r1")
    stored = cache.map("summary", {"name": "tiny"})
    rows = [("k1", "Slow internet.", "ok"), ("k2", "I'm SORRY, no.", "ok"), ("k3", "Sorry", "truncated")]
    df = spark.createDataFrame(rows, "key string, summary string, status string").selectExpr(
        "key", "'f' AS folded_id", "summary", "status", "cast(null AS string) AS error", "1 AS calls", "9 AS tokens",
        "cast(null AS int) AS padded_tokens", "cast(null AS int) AS chunks",
    )  # fmt: skip
    stored.add(df, staging=cache.staging("r1"))
    assert cache.drop_summaries(spark, status="ok", like="%sorry%") == 1
    assert sorted(row.key for row in stored.first(spark).collect()) == ["k1", "k3"]
    assert cache.drop_summaries(spark, status="truncated", like=None) == 1
    assert cache.drop_summaries(spark, status="failed", like=None) == 0
    assert [row.key for row in stored.first(spark).collect()] == ["k1"]
