"""A run's record as an OpenLineage event: raw table in, published tables and model package out."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    InputDatasetFacet,
    OutputDatasetFacet,
    RunFacet,
    error_message_run,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
    tags_run,
)

from churn_spark.contract.published import Field, published
from churn_spark.settings.locations import is_table_name
from churn_spark.settings.sections import Config
from churn_spark.spark import storage
from churn_spark.spark.tables import Tables

NAMESPACE = "churn_spark"
STATES = {"running": RunState.START, "succeeded": RunState.COMPLETE, "cancelled": RunState.ABORT}
TAGS = ("run_id", "model_id", "promoted", "score_date", "code_version")


def send(record: Mapping[str, Any], config: Config) -> None:
    """Send the event of a record. Raises what the client raises."""
    OpenLineageClient().emit(event(record, config))


def event(record: Mapping[str, Any], config: Config) -> RunEvent:
    """The event that a record tells; of a run that is over, with what was read and written."""
    namespace = os.environ.get("OPENLINEAGE_NAMESPACE", NAMESPACE)
    return RunEvent(
        eventTime=record["finished_at"] or record["started_at"],
        eventType=STATES.get(record["status"], RunState.FAIL),
        run=Run(str(uuid.uuid5(uuid.NAMESPACE_URL, record["run_id"])), _run_facets(record)),
        job=Job(namespace, f"churn_spark.{record['job']}"),
        inputs=[_raw(record, config)],
        outputs=list(_outputs(record, config)) if record["status"] == "succeeded" else [],
        producer=f"https://pypi.org/project/churn-spark/{record['code_version']}",
    )


def _run_facets(record: Mapping[str, Any]) -> dict[str, RunFacet]:
    told = [tags_run.TagsRunFacetFields(key=name, value=str(record[name]), source="churn_spark")
            for name in TAGS if record.get(name) is not None]  # fmt: skip
    facets: dict[str, RunFacet] = {"tags": tags_run.TagsRunFacet(tags=told)}
    if record["reason"]:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(record["reason"], "PYTHON")
    return facets


def _raw(record: Mapping[str, Any], config: Config) -> InputDataset:
    columns = [Field(c.source or c.name, c.type or "", c.description or "") for c in config.contract.used]
    statistics: dict[str, InputDatasetFacet] = {}
    if rows := record["rows"]["in"]:
        statistics["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=rows
        )
    return InputDataset(*_named(config.raw), facets={"schema": _schema(columns)}, inputFacets=statistics)


def _outputs(record: Mapping[str, Any], config: Config) -> Iterable[OutputDataset]:
    """The tables that a run of this kind writes, with their columns, and rows where they were counted."""
    rows, promoted = record["rows"], record.get("promoted")
    written = {"churn_rejects": rows["rejected"] or None}
    if record["job"] == "score":
        written |= {"churn_scores": rows["scored"], "churn_reasons": 0}
    if promoted:
        written |= {"churn_metrics": 0, "churn_curves": 0}
    tables = Tables.of(config)
    for table in published(config.contract):
        if written.get(table.name) is not None:
            columns = [*table.fields, *table.partitions]
            yield OutputDataset(
                *_named(tables.location(table.name)), facets={"schema": _schema(columns)},
                outputFacets=_counted(written[table.name]),
            )  # fmt: skip
    if record["job"] == "train" and record["model_id"]:
        yield OutputDataset(*_named(storage.join(config.models_path, record["model_id"])))


def _counted(rows: int | None) -> dict[str, OutputDatasetFacet]:
    if not rows:
        return {}
    return {
        "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=rows)
    }


def _schema(columns: Iterable[Field]) -> schema_dataset.SchemaDatasetFacet:
    return schema_dataset.SchemaDatasetFacet(
        [schema_dataset.SchemaDatasetFacetFields(c.name, c.type or None, c.comment or None) for c in columns]
    )


def _named(location: str) -> tuple[str, str]:
    """A dataset's namespace and name, by OpenLineage's rules: a file's scheme and host, then its path."""
    if is_table_name(location):
        return NAMESPACE, location
    if storage.is_local(location):
        return "file", str(storage.local(location).resolve())
    scheme, _, rest = location.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}", path
