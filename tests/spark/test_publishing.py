"""Publishing: a partition of several tables is replaced as a unit, and whatever is killed or fails on the way, the
last good version is read and the next run gives the new one."""

import os
import shutil
import signal
import threading

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn_spark.errors import ConfigError, InputError, ResourceError
from churn_spark.spark import publishing, storage, versions
from churn_spark.spark.manifests import damaged, damaged_partitions, gone, write_manifest
from churn_spark.spark.publishing import abandon, live_version, publish, recover, rollback, stage
from churn_spark.spark.tables import Tables

DAY, OTHER = "day=2026-01-01", "day=2026-01-02"
NAMES = ("reasons", "scores")
CHANGES = ("move", "exchange", "remove", "write_text")


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out")


@pytest.fixture(params=["exchanged", "renamed"])
def way(request, monkeypatch):
    """On file systems that can let two folders change places, and on those that cannot."""
    if request.param == "renamed":
        monkeypatch.setattr(storage, "exchange", lambda one, other: False)
    return request.param


def of(out, run_id, **settings):
    return Tables(out, out, f"{out}/_runs/{run_id}/work", run_id, **settings)


def staged(tables, n, *, partition=DAY):
    """What `stage` leaves, without Spark: two rows in two files for each table."""
    for name in NAMES:
        place = storage.local(f"{versions.staged(tables)}/{name}/{partition}")
        place.mkdir(parents=True)
        for number, key in enumerate("ab"):
            rows = pa.table({"id": [key], "n": [n]})
            pq.write_table(rows, place / f"{tables.run_id}-{number:05d}.parquet")
        write_manifest(f"{versions.staged(tables)}/_manifests/{name}/{partition}.json", str(place))


def put(tables, n, *, partition=DAY):
    staged(tables, n, partition=partition)
    publish(tables, None, NAMES, partition=partition)


def seen(out, name="scores"):
    """What a DuckDB reader gets: {day: values}."""
    files = f"read_parquet('{out}/{name}/*/*.parquet', hive_partitioning = true)"
    found = duckdb.sql(f"SELECT CAST(day AS varchar), list(n ORDER BY id) FROM {files} GROUP BY day")
    return dict(found.fetchall())


def rows(spark, *values):
    return spark.createDataFrame(list(values), "id string, n int")


def put_rows(spark, tables, n, *, partition=DAY, names=NAMES):
    stage(tables, {name: rows(spark, ("a", n), ("b", n)) for name in names}, partition=partition)
    publish(tables, spark, names, partition=partition)


def test_publish_replaces_one_date_in_both_tables_and_keeps_the_old_version(out, way):
    put(of(out, "r1"), 1)
    put(of(out, "r2"), 2, partition=OTHER)
    put(of(out, "r3"), 3)
    for name in NAMES:
        assert seen(out, name) == {"2026-01-01": [3, 3], "2026-01-02": [2, 2]}
        assert storage.names(f"{out}/_versions/{name}/{DAY}") == ["r1"]
    assert storage.names(out) == ["_manifests", "_staged", "_versions", "reasons", "scores"]
    assert storage.names(f"{out}/scores/{DAY}") == ["r3-00000.parquet", "r3-00001.parquet"]


def test_staged_rows_are_seen_by_nobody_and_read_back_for_a_check(spark, out):
    put_rows(spark, of(out, "r1"), 1)
    written = stage(of(out, "r2"), {"scores": rows(spark, ("a", 2))}, partition=DAY)
    assert [tuple(r) for r in written["scores"].collect()] == [("a", 2)]
    assert [r.n for r in of(out, "").read(spark, "scores").collect()] == [1, 1]
    failing = rows(spark, ("b", 2)).selectExpr("id", "CAST(raise_error('boom') AS int) AS n")
    with pytest.raises(Exception, match="boom"):
        stage(of(out, "r3"), {"scores": failing}, partition=DAY)
    assert seen(out) == {"2026-01-01": [1, 1]}


def test_the_first_file_outlives_a_replacement_so_that_readers_of_other_dates_find_the_columns(spark, out):
    put_rows(spark, of(out, "r1"), 1)
    place = storage.local(f"{out}/scores/{DAY}")
    listed = sorted(place.glob("*.parquet"))  # as an engine does before it opens the first
    put_rows(spark, of(out, "r2"), 2)
    columns = pq.read_table(listed[0], partitioning=None)
    assert (columns.column_names, columns.num_rows) == (["id", "n"], 0)
    assert not any(file.exists() for file in listed[1:])
    assert seen(out) == {"2026-01-01": [2, 2]}


def test_no_rows_leave_an_empty_partition_and_fewer_columns_are_still_read(spark, out):
    put_rows(spark, of(out, "r1"), 1)
    grown = rows(spark, ("a", 2)).selectExpr("*", "'x' AS extra")
    for run_id, frame, day in (("r2", grown, OTHER), ("r3", grown.limit(0), "day=2026-01-03")):
        stage(of(out, run_id), {"scores": frame}, partition=day)
        publish(of(out, run_id), spark, ["scores"], partition=day)
    read = of(out, "").read(spark, "scores")
    assert [tuple(r) for r in read.orderBy("day", "id").select("n", "extra").collect()] == [
        (1, None), (1, None), (2, "x")]  # fmt: skip


def break_at(monkeypatch, nth, action):
    """Let `action` take the place of the nth change to the file system."""
    made = []

    def counted(change):
        def changed(*args):
            made.append(change)
            return action() if len(made) == nth + 1 else change(*args)

        return changed

    for name in CHANGES:
        monkeypatch.setattr(storage, name, counted(getattr(storage, name)))


def was_killed(work, nth, monkeypatch):
    """Do the work in a process of its own, which kills itself at the nth change; False where it came to its end."""
    child = os.fork()
    if not child:
        break_at(monkeypatch, nth, lambda: os.kill(os.getpid(), signal.SIGKILL))
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


@pytest.mark.slow
def test_a_publish_killed_at_any_change_is_completed_by_the_next_run(out, way, monkeypatch):
    put(of(out, "r00"), 0)
    put(of(out, "r00b"), 0, partition=OTHER)
    for new in range(1, 40):
        old, run = seen(out)["2026-01-01"], of(out, f"r{new:02}")
        staged(run, new)
        killed = was_killed(lambda run=run: publish(run, None, NAMES, partition=DAY), new - 1, monkeypatch)
        for name in NAMES:
            found = seen(out, name).get("2026-01-01", "absent")
            assert found in (old, [new, new]) or (way == "renamed" and found == "absent")
        shutil.rmtree(storage.local(run.work), ignore_errors=True)  # as the next run clears up before
        recover(of(out, ""), None)
        now = seen(out)["2026-01-01"]
        assert seen(out, "reasons")["2026-01-01"] == now
        assert now == (old if new == 1 else [new, new])  # the journal is the first change
        if not killed:
            break
    assert new > 6
    assert not killed
    assert not [n for n in storage.names(f"{out}/_versions/scores/{DAY}") if not n.startswith("r")]


@pytest.mark.slow
def test_a_publish_that_fails_at_any_change_is_undone(out, way, monkeypatch):
    put(of(out, "r00"), 0)
    run = of(out, "r01")

    def fail():
        raise OSError("disk full")

    for nth in range(40):
        storage.remove(versions.staged(run))
        staged(run, 1)
        with monkeypatch.context() as patch:
            break_at(patch, nth, fail)
            try:
                publish(run, None, NAMES, partition=DAY)
            except OSError:
                pass
            else:
                break
        assert seen(out) == seen(out, "reasons") == {"2026-01-01": [0, 0]}
        assert not storage.exists(f"{out}/{publishing.JOURNAL}")
    assert nth > 6
    assert seen(out) == seen(out, "reasons") == {"2026-01-01": [1, 1]}


def failing_then_killed(run, fails_at, dies_at, monkeypatch):
    """A publish whose change number `fails_at` fails, and which is killed `dies_at` changes into its undoing."""
    child = os.fork()
    if not child:
        made = []

        def counted(change):
            def changed(*args):
                made.append(change)
                if len(made) == fails_at + 1:
                    raise OSError("disk full")
                if len(made) == fails_at + 2 + dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*args)

            return changed

        for name in CHANGES:
            monkeypatch.setattr(storage, name, counted(getattr(storage, name)))
        try:
            publish(run, None, NAMES, partition=DAY)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("new_date", [False, True])
def test_an_undo_killed_at_any_change_is_completed_by_the_next_run(out, way, monkeypatch, new_date):
    before = [0, 0] if not new_date else None
    if not new_date:
        put(of(out, "r00"), 0)
    killed = 0
    for fails_at in range(new_date, 40, 2):
        for dies_at in range(40):
            run = of(out, "r01")
            storage.remove(versions.staged(run))
            staged(run, 1)
            ended = failing_then_killed(run, fails_at, dies_at, monkeypatch)
            if ended == 0:
                break
            killed += ended == -signal.SIGKILL
            recover(of(out, ""), None)
            live = {name: seen(out, name).get("2026-01-01") if storage.exists(f"{out}/{name}/{DAY}") else None
                    for name in NAMES}  # fmt: skip
            assert live["scores"] == live["reasons"]
            assert live["scores"] in (before, [1, 1])
            assert not [*damaged(of(out, ""), None, "scores")]
            assert not storage.exists(f"{out}/{publishing.JOURNAL}")
            if live["scores"] == [1, 1]:  # the undo had not begun: begin again from the state before
                shutil.rmtree(out)
                if not new_date:
                    put(of(out, "r00"), 0)
            if ended == 1:
                break
        if ended == 0:
            break
    assert killed > 10
    assert ended == 0


@pytest.mark.parametrize("dies_at", range(1, 6))
def test_a_damaged_journal_is_told_and_the_publish_can_be_given_up(out, way, monkeypatch, dies_at):
    put(of(out, "r00"), 0)
    put(of(out, "r00b"), 0, partition=OTHER)
    run = of(out, "r01")
    staged(run, 1)
    assert was_killed(lambda: publish(run, None, NAMES, partition=DAY), dies_at, monkeypatch)
    journal = storage.local(f"{out}/{publishing.JOURNAL}")
    journal.write_text(journal.read_text().replace("2026-01-01", "2026-01-02"))
    with pytest.raises(ResourceError, match=r"journal of a publish is damaged.*recover --abandon"):
        recover(of(out, ""), None)
    abandon(of(out, ""), None, NAMES)
    assert seen(out) == seen(out, "reasons") == {"2026-01-01": [0, 0], "2026-01-02": [0, 0]}
    recover(of(out, ""), None)
    put(of(out, "r02"), 2)
    assert seen(out) == seen(out, "reasons") == {"2026-01-01": [2, 2], "2026-01-02": [0, 0]}


def test_a_publish_that_cannot_be_completed_says_so_and_can_be_given_up(out, monkeypatch):
    put(of(out, "r00"), 0)
    run = of(out, "r01")
    staged(run, 1)
    assert was_killed(lambda: publish(run, None, NAMES, partition=DAY), 4, monkeypatch)
    storage.remove(f"{out}/_versions/scores")
    storage.remove(versions.staged(run))
    with pytest.raises(ResourceError, match=r"publish of run r01.*cannot be completed.*recover --abandon"):
        recover(of(out, ""), None)
    assert abandon(of(out, ""), None, NAMES) == [DAY]
    recover(of(out, ""), None)
    assert seen(out) == seen(out, "reasons") == {"2026-01-01": [0, 0]}


def flipped(path, at=100):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: flipped(folder / "r1-00000.parquet"), "is not what was written"),
        (lambda folder: (folder / "r1-00001.parquet").unlink(), "1 of its 2 files are missing"),
        (lambda folder: [p.unlink() for p in folder.iterdir()], "its data files are gone"),
        (lambda folder: shutil.copy(folder / "r1-00000.parquet", folder / "more.parquet"), "added later"),
        (lambda folder: flipped(folder.parents[1] / f"_manifests/scores/{DAY}/r1.json", 30), "manifest is damaged"),
        (lambda folder: (folder.parents[1] / f"_manifests/scores/{DAY}/r1.json").unlink(), "manifest is missing"),
    ],
)  # fmt: skip
def test_damage_to_a_published_date_is_told_and_rollback_or_a_new_run_mends_it(out, damage, words):
    put(of(out, "r0"), 0)
    put(of(out, "r1"), 1)
    put(of(out, "r2"), 2, partition=OTHER)
    assert not [*damaged(of(out, ""), None, "scores")]
    damage(storage.local(f"{out}/scores/{DAY}"))
    told = [*damaged(of(out, ""), None, "scores")]
    assert [(d.partition, words in d.what) for d in told] == [(DAY, True)]
    assert damaged_partitions(of(out, ""), None, NAMES) == {DAY}
    put(of(out, "r3"), 3)
    assert not [*damaged(of(out, ""), None, "scores")]
    assert seen(out) == seen(out, "reasons") == {"2026-01-01": [3, 3], "2026-01-02": [2, 2]}


def test_a_date_that_was_removed_is_told(out):
    put(of(out, "r1"), 1)
    shutil.rmtree(f"{out}/scores/{DAY}")
    assert [(d.partition, "it is gone" in d.what) for d in gone(of(out, ""), None, "scores")] == [(DAY, True)]
    assert not [*gone(of(out, ""), None, "reasons")]


def test_a_damaged_version_is_not_put_back(out):
    put(of(out, "r0"), 0)
    put(of(out, "r1"), 1)
    flipped(storage.local(f"{out}/_versions/reasons/{DAY}/r0/r0-00000.parquet"))
    with pytest.raises(ResourceError, match=r"version r0 of reasons.*damaged.*is not what was written"):
        rollback(of(out, ""), None, NAMES, partition=DAY)
    assert seen(out) == {"2026-01-01": [1, 1]}


def test_a_folder_that_something_else_wrote_is_replaced_and_kept(out):
    for name in NAMES:
        place = storage.local(f"{out}/{name}/{DAY}")
        place.mkdir(parents=True)
        pq.write_table(pa.table({"id": ["a"], "n": [9]}), place / "part-0.snappy.parquet")
    assert live_version(of(out, ""), None, "scores", DAY) == versions.UNNAMED
    assert not [*damaged(of(out, ""), None, "scores")]
    put(of(out, "r1"), 1)
    assert rollback(of(out, ""), None, NAMES, partition=DAY) == versions.UNNAMED
    assert seen(out) == {"2026-01-01": [9]}


def test_a_new_date_that_fails_is_withdrawn(out, monkeypatch):
    put(of(out, "r1"), 1)
    move = storage.move

    def failing(source, target):
        if target.endswith(f"/scores/{OTHER}"):
            raise OSError("disk full")
        move(source, target)

    monkeypatch.setattr(storage, "move", failing)
    with pytest.raises(OSError, match="disk full"):
        put(of(out, "r2"), 2, partition=OTHER)
    assert seen(out) == seen(out, "reasons") == {"2026-01-01": [1, 1]}


def test_rollback_goes_back_and_forth_among_the_kept_versions(out, way):
    for n in (1, 2, 3, 4):
        put(of(out, f"r{n}", keep=2), n)
    tables = of(out, "")
    assert rollback(tables, None, NAMES, partition=DAY) == "r3"
    assert seen(out) == seen(out, "reasons") == {"2026-01-01": [3, 3]}
    assert rollback(tables, None, NAMES, partition=DAY) == "r2"
    assert seen(out) == {"2026-01-01": [2, 2]}
    with pytest.raises(InputError, match=r"r3, r4"):
        rollback(tables, None, NAMES, partition=DAY)
    assert rollback(tables, None, NAMES, partition=DAY, to="r4") == "r4"
    assert seen(out) == seen(out, "reasons") == {"2026-01-01": [4, 4]}


@pytest.mark.slow
def test_readers_of_other_dates_notice_no_publish(out, way):
    put(of(out, "r0"), 0)
    answers, done = [], threading.Event()
    query = f"""SELECT list(n ORDER BY id) FROM read_parquet('{out}/scores/*/*.parquet', hive_partitioning = true)
                WHERE day = '2026-01-01'"""

    def read():
        connection = duckdb.connect()
        while not done.is_set():
            try:
                answers.append(connection.sql(query).fetchall())
            except duckdb.Error as problem:
                answers.append(problem)

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(1, 500):
        put(of(out, f"r{n}"), n, partition=OTHER)
        put(of(out, f"new{n}"), n, partition=f"day={2027 + n}-01-01")
        if len(answers) > 20:
            break
    done.set()
    reader.join()
    assert len(answers) > 20
    assert [a for a in answers if a != [([0, 0],)]] == []


@pytest.fixture
def catalog(spark, tmp_path):
    """Makes the Tables of a run in a catalog schema."""
    spark.sql("CREATE DATABASE crm")
    yield lambda run_id: Tables("spark_catalog.crm", str(tmp_path / "s"), str(tmp_path / run_id), run_id)
    spark.sql("DROP DATABASE crm CASCADE")


def in_catalog(spark):
    found = spark.sql("SELECT day, n FROM spark_catalog.crm.scores WHERE id = 'a'").collect()
    return {str(r.day): r.n for r in found}


def test_rows_with_a_new_column_are_added_to_a_catalog_table(spark, catalog):
    for run_id, frame in (
        ("r1", rows(spark, ("a", 1))),
        ("r2", rows(spark, ("b", 2)).selectExpr("'x' extra", "*")),
    ):
        catalog(run_id).append(frame, "metrics")
    found = catalog("").read(spark, "metrics").orderBy("id").select("id", "n", "extra").collect()
    assert [tuple(r) for r in found] == [("a", 1, None), ("b", 2, "x")]


def test_a_catalog_partition_is_switched_by_its_location(spark, catalog):
    assert catalog("r1").read(spark, "scores") is None
    put_rows(spark, catalog("r1"), 1)
    put_rows(spark, catalog("r2"), 2, partition=OTHER)
    put_rows(spark, catalog("r3"), 3)
    assert in_catalog(spark) == {"2026-01-01": 3, "2026-01-02": 2}
    assert rollback(catalog(""), spark, NAMES, partition=DAY) == "r1"
    assert in_catalog(spark) == {"2026-01-01": 1, "2026-01-02": 2}
    grown = rows(spark, ("a", 5)).selectExpr("*", "1.5D AS extra")
    stage(catalog("r5"), {"scores": grown}, partition=OTHER)
    publish(catalog("r5"), spark, ["scores"], partition=OTHER)
    assert spark.table("spark_catalog.crm.scores").columns == ["id", "n", "extra", "day"]
    assert in_catalog(spark) == {"2026-01-01": 1, "2026-01-02": 5}
    catalog("r6").append(rows(spark, ("a", 1)), "rejects", partition="run_date=2026-01-01")
    assert catalog("r6").read(spark, "rejects").count() == 1


def test_a_catalog_publish_that_fails_is_undone(spark, catalog, monkeypatch):
    put_rows(spark, catalog("r1"), 1)
    switch = publishing._set_location

    def failing(tables, spark, table, partition, version):
        if (table, version) == ("scores", "r2"):
            raise OSError("metastore")
        switch(tables, spark, table, partition, version)

    monkeypatch.setattr(publishing, "_set_location", failing)
    for day in (DAY, OTHER):
        with pytest.raises(OSError, match="metastore"):
            put_rows(spark, catalog("r2"), 2, partition=day)
        for name in NAMES:
            read = spark.table(f"spark_catalog.crm.{name}").collect()
            assert {(str(r.day), r.n) for r in read} == {("2026-01-01", 1)}


@pytest.mark.parametrize("name", ["delta", "iceberg"])
def test_a_format_that_the_session_does_not_know_is_refused_early(spark, out, name):
    with pytest.raises(ConfigError, match=rf"does not know the table format {name}"):
        of(out, "r1", format=name).check(spark)
    of(out, "r1").check(spark)
