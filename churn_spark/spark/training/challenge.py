"""The champion and a new model on the same test rows, each with its own columns, vectors and calibrator."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pyspark.sql import DataFrame

from churn_spark.contract.columns import embedding_column, status_column, summary_column
from churn_spark.errors import ChurnError, ResourceError
from churn_spark.evaluation import metrics
from churn_spark.evaluation.gates import Challenge
from churn_spark.model.model import ChurnModel
from churn_spark.notes import prepare as notes
from churn_spark.settings.notes import Text
from churn_spark.settings.sections import Config, Split
from churn_spark.spark.notes.cache import Cache
from churn_spark.spark.notes.counts import TextCounts
from churn_spark.spark.notes.stage import with_texts
from churn_spark.spark.training.evaluate import collect_pairs, with_margin
from churn_spark.spark.training.registry import check_columns, load_model, read_pointer

MORE_ROWS = 1.1  # times the champion's: without dates, the only sign of newer rows


def challenge(
    df: DataFrame, model: ChurnModel, *, config: Config, cache: Cache, folder: str
) -> Challenge | None:
    """Measure the champion and `model` on the test rows of `df`, prepared rows with `split`.

    None where there is no champion, or where it is this very model. Where the champion reads notes with other
    text settings, the test notes are prepared once more with its own: from the cache, where they are known.
    A champion that cannot be loaded, or needs a column that is not here, gives a Challenge that says so. `folder` is
    scratch space for notes prepared anew.
    """
    name = read_pointer(config.models_path).get("model_id")
    if name in (None, model.model_id):
        return None
    contract, test = config.contract, df.where("split = 'test'")
    assert contract.label is not None
    try:
        champion = load_model(config.models_path, "champion")
        check_columns(config, champion)
        theirs = _as_it_reads(test, champion, ours=model.text, cache=cache, folder=folder)
    except ChurnError as problem:
        return Challenge(str(name), note=problem.what)
    keep = (*contract.key, contract.label.name)
    new = with_margin(test, model, name="new", keep=keep)
    old = with_margin(theirs, champion, name="old", keep=contract.key)
    pairs = collect_pairs(new.join(old, list(contract.key)), contract)
    return compare(pairs, model, champion, split=config.split)


def compare(pairs: pd.DataFrame, model: ChurnModel, champion: ChurnModel, *, split: Split) -> Challenge:
    """Compare two models by the margins `new` and `old` of rows with label, customer and weight."""
    label = pairs["label"].to_numpy(float)
    drawn: dict[str, Any] = {name: pairs[name].to_numpy() for name in ("customer", "weight")}
    new, old = model.calibrator.apply(pairs["new"]), champion.calibrator.apply(pairs["old"])
    measured = metrics.evaluate(label, old, policy=model.policy, split="test", **drawn)
    differences = metrics.compare(label, new, baseline=old, policy=model.policy, **drawn)
    return Challenge(
        champion.model_id,
        measured.assign(variant="champion"),
        differences.assign(baseline="champion", n=len(label)),
        metrics.agreement(new, old, weight=drawn["weight"]),
        "" if _unseen(champion, split) else "it may have learnt from some of these rows, which favours it",
        _is_newer(model, champion),
    )


def _as_it_reads(df: DataFrame, champion: ChurnModel, *, ours: Text, cache: Cache, folder: str) -> DataFrame:
    """The rows with their notes as the champion reads them."""
    theirs = champion.text
    texts = [c.name for c in champion.contract.texts]
    kinds = {"summary": notes.summary_identity, "embedding": notes.embedding_identity}
    if all(identity(ours.of(t)) == identity(theirs.of(t)) for t in texts for identity in kinds.values()):
        return df
    for what, identity in kinds.items():
        if any(identity(theirs.of(t)) != champion.manifest[what][t] for t in texts):
            raise ResourceError(f"its {what} model is not the one installed here")
    mine = [part(t) for t in texts for part in (summary_column, status_column, embedding_column)]
    return with_texts(
        df.drop(*mine),
        texts,
        text=theirs,
        cache=cache,
        work=folder,
        counts=TextCounts(),
        several=champion.contract.history.notes,
    ).joined()


def _is_newer(model: ChurnModel, champion: ChurnModel) -> bool:
    """Whether a model learned from a later snapshot; without snapshots, from a tenth more rows."""
    mine, theirs = (m.manifest.get("learned_until") for m in (model, champion))
    if mine and theirs:
        return bool(mine > theirs)
    rows, before = (m.manifest.get("rows", {}).get("valid", 0) for m in (model, champion))
    return bool(rows >= MORE_ROWS * before > 0)


def _unseen(champion: ChurnModel, split: Split) -> bool:
    """Whether the champion's split kept these test rows from it: the same rule, and no smaller a test share."""
    theirs, ours = champion.manifest["split"], split.model_dump(mode="json")
    return all(theirs.get(k) == ours[k] for k in ("mode", "seed", "group")) and bool(
        theirs["test"] >= ours["test"]
    )
