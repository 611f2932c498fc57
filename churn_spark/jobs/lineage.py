"""OpenLineage events of a run, where the environment asks for them; no fault of theirs is one of the run's.

The client reads where they go from OPENLINEAGE_URL or the other variables that its own documents name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from churn_spark.settings.sections import Config

log = logging.getLogger(__name__)


def emit(record: Mapping[str, Any], config: Config) -> None:
    """Tell what the record says now: START of one that is running, else COMPLETE, FAIL or ABORT."""
    if not any(name.startswith("OPENLINEAGE_") for name in os.environ):
        return
    try:
        from churn_spark.jobs.lineage_events import send

        send(record, config)
    except ModuleNotFoundError:
        log.warning("OpenLineage is not installed: pip install 'churn-spark[lineage]'")
    except Exception as problem:  # whatever a transport raises
        log.warning("the run's OpenLineage event was not sent: %s", type(problem).__name__)
