"""The Databricks bundle: each target as the platform's own models read it, and what it refers to is there."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job
from databricks.bundles.schemas import Schema
from databricks.bundles.secret_scopes import SecretScope
from databricks.bundles.volumes import Volume
from helpers import ROOT

from churn_spark.cli import _parser, main
from churn_spark.jobs.task_values import set_task_values, task_values
from churn_spark.settings.layers import load_config

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUNDLE = yaml.safe_load((ROOT / "databricks.yml").read_text())
MODELS = {"jobs": Job, "schemas": Schema, "volumes": Volume, "secret_scopes": SecretScope}
TARGETS = sorted(BUNDLE["targets"])
RECORD = {"run_id": "r", "model_id": "m-1", "promoted": False, "rows": {"scored": 5}}


def merged(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return base | {k: merged(base[k], v) if k in base else v for k, v in over.items()}


def resolved(value: Any, variables: Mapping[str, Any]) -> Any:
    """With every `${var.x}` in place; the platform's own references stay."""
    if isinstance(value, dict):
        return {k: resolved(v, variables) for k, v in value.items()}
    if isinstance(value, list):
        return [resolved(v, variables) for v in value]
    if not isinstance(value, str):
        return value
    if whole := re.fullmatch(r"\$\{var\.(\w+)\}", value):
        return variables[whole[1]]
    return re.sub(r"\$\{var\.(\w+)\}", lambda m: str(variables[m[1]]), value)


def resources(target: str) -> dict[str, dict[str, Any]]:
    """What a target deploys, by kind and name."""
    chosen = BUNDLE["targets"][target]
    variables = {k: v["default"] for k, v in BUNDLE["variables"].items()} | chosen.get("variables", {})
    found: Any = {}
    parts = [path for pattern in BUNDLE["include"] for path in sorted(ROOT.glob(pattern))]
    assert len(parts) == 2
    for part in parts:
        found = merged(found, yaml.safe_load(part.read_text())["resources"])
    result: dict[str, dict[str, Any]] = resolved(merged(found, chosen.get("resources", {})), variables)
    return result


def jobs(target: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from resources(target)["jobs"].items()


@pytest.mark.parametrize("target", TARGETS)
def test_the_platforms_models_read_every_resource(target: str) -> None:
    found = resources(target)
    assert set(found) == set(MODELS) - ({"secret_scopes"} if target == "dev" else set())
    for kind, named in found.items():
        for content in named.values():
            assert MODELS[kind].from_dict(content).as_dict()


def test_the_platforms_models_refuse_what_is_misspelled() -> None:
    job = resources("prod")["jobs"]["train"]
    with pytest.raises(ValueError, match="max_retry"):
        Job.from_dict({**job, "tasks": [{**job["tasks"][0], "max_retry": 1}]})
    with pytest.raises(ValueError, match="EQUALS"):
        Job.from_dict(
            {"tasks": [{"task_key": "x", "condition_task": {"left": "", "op": "EQUALS", "right": ""}}]}
        )


@pytest.mark.parametrize("target", TARGETS)
def test_every_reference_leads_to_a_resource(target: str) -> None:
    found = resources(target)
    references = re.findall(r"\$\{resources\.(\w+)\.(\w+)\.(\w+)\}", str(found))
    assert len(references) > 5
    for kind, name, field in references:
        assert field == "id" or field in found[kind][name]
    for _, job in jobs(target):
        clusters = {c["job_cluster_key"] for c in job.get("job_clusters", [])}
        environments = {e["environment_key"] for e in job.get("environments", [])}
        tasks = {t["task_key"] for t in job["tasks"]}
        given = {p["name"] for p in job.get("parameters", [])}
        assert set(re.findall(r"\{\{job\.parameters\.(\w+)\}\}", str(job["tasks"]))) <= given
        for task in job["tasks"]:
            assert {task[k] for k in ("job_cluster_key",) if k in task} <= clusters
            assert {task[k] for k in ("environment_key",) if k in task} <= environments
            assert {d["task_key"] for d in task.get("depends_on", [])} <= tasks


@pytest.mark.parametrize("target", TARGETS)
def test_every_task_is_a_command_of_this_wheel(target: str) -> None:
    wheels = [(name, t["python_wheel_task"]) for name, job in jobs(target) for t in job["tasks"]
              if "python_wheel_task" in t]  # fmt: skip
    assert len(wheels) == 3
    for name, task in wheels:
        assert task["package_name"] == PROJECT["name"].replace("-", "_")
        assert task["entry_point"] in PROJECT["scripts"]
        options = _parser().parse_args(
            [re.sub(r"\{\{.*?date.*?\}\}", "2026-01-31", p) for p in task["parameters"]]
        )
        assert task["parameters"][0] == name.removesuffix("_serverless")
        assert options.output.startswith("main.")
        assert options.models.startswith("/Volumes/main/")
        assert options.config == ["${workspace.file_path}/bundle/settings.yaml"]


def test_the_settings_layer_is_one() -> None:
    config = load_config([str(ROOT / "bundle/settings.yaml")])
    assert (config.tables.format, config.promotion.on_refusal) == ("delta", "ok")


def test_work_is_retried_limited_queued_and_told() -> None:
    for name, job in jobs("prod"):
        assert job["queue"]["enabled"]
        assert job["max_concurrent_runs"] == 1
        assert job["tags"]
        assert job["email_notifications"]["on_failure"]
        for task in job["tasks"]:
            if "python_wheel_task" in task:
                assert task["max_retries"] > 0, name
                assert task["timeout_seconds"] > 0, name


@pytest.mark.parametrize(("target", "workers"), [("dev", 0), ("prod", 2)])
def test_a_cluster_has_one_node_or_a_fixed_number(target: str, workers: int) -> None:
    for _, job in jobs(target):
        for cluster in (c["new_cluster"] for c in job.get("job_clusters", [])):
            assert cluster["num_workers"] == workers
            assert "autoscale" not in cluster
            assert ("spark.master" in cluster["spark_conf"]) == (workers == 0)
            assert "spark.scheduler.barrier.maxConcurrentTasksCheck.interval" in cluster["spark_conf"]


def test_nothing_starts_by_itself_in_dev_and_scoring_by_the_clock_or_by_its_table_in_prod() -> None:
    """A schedule that says nothing of pausing is paused by `mode: development`."""
    pauses = {t: {n: j[k].get("pause_status") for n, j in jobs(t) for k in ("schedule", "trigger") if k in j}
              for t in TARGETS}  # fmt: skip
    assert pauses["dev"] == {"train": None, "score": "PAUSED", "score_on_update": "PAUSED"}
    assert pauses["prod"] == {"train": None, "score": "UNPAUSED", "score_on_update": "PAUSED"}
    assert resources("prod")["jobs"]["score_on_update"]["trigger"]["table_update"]["table_names"] == [
        "main.crm.customers"
    ]


def test_the_condition_reads_a_value_that_training_sets() -> None:
    tasks = {t["task_key"]: t for t in resources("prod")["jobs"]["train"]["tasks"]}
    read = re.fullmatch(
        r"\{\{tasks\.(\w+)\.values\.(\w+)\}\}", tasks["is_promoted"]["condition_task"]["left"]
    )
    assert read
    assert "python_wheel_task" in tasks[read[1]]
    assert read[2] in task_values(RECORD)
    assert tasks["score"]["depends_on"] == [{"task_key": "is_promoted", "outcome": "true"}]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What `dbutils.jobs.taskValues.set(key=, value=)`, the one call of the platform that is made, was given."""
    values: dict[str, object] = {}

    class TaskValues:
        @staticmethod
        def set(key: str, value: object) -> None:
            values[key] = value

    class Jobs:
        taskValues = TaskValues  # noqa: N815

    runtime = ModuleType("databricks.sdk.runtime")
    runtime.dbutils = type("DBUtils", (), {"jobs": Jobs})  # type: ignore[attr-defined]
    for name in ("databricks", "databricks.sdk"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "databricks.sdk.runtime", runtime)
    return values


def test_set_task_values_tells_the_job(told: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    set_task_values(RECORD)
    assert told == {"run_id": "r", "model_id": "m-1", "promoted": False, "rows_scored": 5}


def test_set_task_values_does_nothing_elsewhere(
    told: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    set_task_values(RECORD)
    assert not told


def test_set_task_values_is_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    monkeypatch.setitem(sys.modules, "databricks.sdk", None)
    set_task_values(RECORD)
    assert "could not be told" in caplog.text


def test_a_job_tells_what_it_did(
    spark: object, raw: Path, tmp_path: Path, told: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    place = ["-q", "--raw", str(raw), "--output", str(tmp_path / "out"), "--set", "text.embedder.name=static"]
    assert main(["prepare", *place, "--limit", "20"]) == 0
    assert set(told) == {"run_id", "rows_scored"}
