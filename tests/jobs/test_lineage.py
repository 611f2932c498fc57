"""OpenLineage events as a server on loopback receives them."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from churn_spark.errors import Cancelled, InputError
from churn_spark.jobs.run import Run
from churn_spark.settings.layers import load_config


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The events that were posted, while OPENLINEAGE_URL names the server."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_port}")
    yield events
    server.shutdown()
    thread.join()
    server.server_close()


def finished(folder: Path, job: str, problem: BaseException | None = None, **facts: Any) -> Run:
    run = Run(job, load_config(options={"output": str(folder / "out"), "raw": str(folder / "raw.csv")}))
    with run.locked():
        run.record |= facts
        run.record["rows"] |= {"in": 10, "valid": 9, "rejected": 1, "scored": 9}
    run.finish(problem)
    return run


def test_a_run_tells_its_start_and_what_it_read_and_wrote(
    tmp_path: Path, received: list[dict[str, Any]]
) -> None:
    finished(tmp_path, "score", model_id="m-1", score_date="2026-01-31")
    start, complete = received
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert complete["job"] | {"facets": {}} == {
        "namespace": "churn_spark",
        "name": "churn_spark.score",
        "facets": {},
    }
    tags = {tag["key"]: tag["value"] for tag in complete["run"]["facets"]["tags"]["tags"]}
    assert (tags["model_id"], tags["score_date"]) == ("m-1", "2026-01-31")
    [raw] = complete["inputs"]
    assert (raw["namespace"], raw["name"]) == ("file", str(tmp_path / "raw.csv"))
    assert raw["inputFacets"]["inputStatistics"]["rowCount"] == 10
    assert "ticket_notes" in {field["name"] for field in raw["facets"]["schema"]["fields"]}
    outputs = {Path(o["name"]).name: o for o in complete["outputs"]}
    assert set(outputs) == {"churn_scores", "churn_reasons", "churn_rejects"}
    assert outputs["churn_scores"]["outputFacets"]["outputStatistics"]["rowCount"] == 9
    columns = {f["name"]: f["type"] for f in outputs["churn_scores"]["facets"]["schema"]["fields"]}
    assert (columns["churn_probability"], columns["score_date"]) == ("double", "date")


@pytest.mark.parametrize(
    ("promoted", "tables"), [(True, {"churn_metrics", "churn_curves", "m-1"}), (False, {"m-1"})]
)
def test_training_tells_its_model(
    tmp_path: Path, received: list[dict[str, Any]], promoted: bool, tables: set[str]
) -> None:
    finished(tmp_path, "train", model_id="m-1", promoted=promoted)
    assert {Path(o["name"]).name for o in received[-1]["outputs"]} == tables | {"churn_rejects"}


@pytest.mark.parametrize(
    ("problem", "event"), [(InputError("a column is missing"), "FAIL"), (Cancelled(15), "ABORT")]
)
def test_a_run_that_fails_tells_why_and_no_outputs(
    tmp_path: Path, received: list[dict[str, Any]], problem: BaseException, event: str
) -> None:
    run = finished(tmp_path, "train", problem)
    assert [e["eventType"] for e in received] == ["START", event]
    assert received[-1]["run"]["facets"]["errorMessage"]["message"] == run.record["reason"]
    assert received[-1]["outputs"] == []


def test_nothing_is_sent_where_nobody_asks(
    tmp_path: Path, received: list[dict[str, Any]], monkeypatch
) -> None:
    monkeypatch.delenv("OPENLINEAGE_URL")
    assert finished(tmp_path, "train").record["exit_code"] == 0
    assert received == []


@pytest.mark.parametrize("case", ["no server", "no package"])
def test_events_that_cannot_be_sent_fail_no_run(tmp_path: Path, monkeypatch, caplog, case: str) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    if case == "no package":
        monkeypatch.delitem(sys.modules, "churn_spark.jobs.lineage_events", raising=False)
        monkeypatch.setitem(sys.modules, "openlineage.client", None)
    else:
        config = {"type": "http", "url": "http://127.0.0.1:9", "retry": {"total": 0}}
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(config))
    assert finished(tmp_path, "train").record["exit_code"] == 0
    assert ("was not sent" if case == "no server" else "churn-spark[lineage]") in caplog.text


def test_locations_are_named_by_openlineages_rules() -> None:
    from churn_spark.jobs.lineage_events import _named

    assert _named("s3a://bucket/out/churn_scores") == ("s3a://bucket", "out/churn_scores")
    assert _named("main.churn.churn_scores") == ("churn_spark", "main.churn.churn_scores")
