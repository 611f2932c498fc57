"""Customer churn from tables and free text, on Apache Spark.

A raw customer table goes in, a scored table that a retention team can act on comes out. In between stand
five steps, each a pure DataFrame -> DataFrame function: validate, text, features, model, decide and publish.
What is learnt from data lives in one model package; what is expensive about text in one content-addressed
cache. The kernel (errors, config, columns, redaction, summarizers, embedders, features, model, ...) knows
nothing of Spark, so that a scored record is the same in a cluster job and in a service.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["ChurnModel", "__version__", "load_config"]

if TYPE_CHECKING:
    from churn_spark.model.model import ChurnModel
    from churn_spark.settings.layers import load_config


def __getattr__(name: str) -> Any:
    # Lazy, so that a Spark worker that only redacts text does not import xgboost.
    if name == "ChurnModel":
        from churn_spark.model.model import ChurnModel

        return ChurnModel
    if name == "load_config":
        from churn_spark.settings.layers import load_config

        return load_config
    raise AttributeError(f"module 'churn_spark' has no attribute {name!r}")
