"""A trained model and the one scoring function: `score` serves Spark, `predict` serves a process without it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xgboost as xgb

from churn_spark.arrays import Columns, Matrix, arrow_array
from churn_spark.contract.columns import Contract
from churn_spark.contract.folds import FOLDS, fold_of
from churn_spark.contract.history import APART, TICKETS
from churn_spark.contract.rules import Problem, check_record
from churn_spark.errors import InputError, ResourceError
from churn_spark.history.records import Past, records_history
from churn_spark.model import contributions, reasons, told
from churn_spark.model import policy as decisions
from churn_spark.model import quotes as quoting
from churn_spark.model.calibration import Calibrator
from churn_spark.model.features import FeatureSpec, TextInputs, TextVector, assemble, matrix_of
from churn_spark.model.package import RETRAIN, content_id, package_folder, read_package, write_package
from churn_spark.model.policy import Policy
from churn_spark.model.reasons import Reasons
from churn_spark.model.records import NOT_A_RECORD, as_records, row_status
from churn_spark.model.scorer import ByFold, OneBooster, Scorer
from churn_spark.model.trees import part_of
from churn_spark.notes import prepare as notes
from churn_spark.settings.notes import Text

REASON_FIELDS = tuple(f"reason_{rank}{part}" for rank in (1, 2, 3) for part in ("", "_effect", "_text"))
RECORD_FIELDS = (
    "churn_probability", "churn_score_raw", "churn_prediction", "threshold", "risk_band", "expected_value",
    "value_at_risk", "offer", "recommended", "in_holdout", *REASON_FIELDS,
)  # fmt: skip
OF_TRAINING = ("label_basis", "horizon_days", "currency")  # the same for all that a model scores


class Scored(NamedTuple):
    """The outcome of scoring: RECORD_FIELDS by name, and all reasons where they were asked for."""

    table: dict[str, Any]
    reasons: Reasons | None


@dataclass(frozen=True)
class ChurnModel:
    """Everything learnt from one training run, ready to score."""

    model_id: str
    booster: xgb.Booster
    spec: FeatureSpec
    calibrator: Calibrator
    policy: Policy
    contract: Contract
    text: Text
    manifest: Mapping[str, Any]
    unseen: bool = False  # each customer by the booster that did not see them

    # -- scoring ----------------------------------------------------------------------------------------

    def score(
        self,
        frame: Columns,
        vectors: Mapping[str, Matrix | TextInputs],
        *,
        summaries: Mapping[str, Sequence[str | None]],
        top: int = 3,
        templates: Mapping[str, str] | None = None,
        embed: quoting.Embed | None = None,
        quote_from: str = "none",
    ) -> Scored:
        """Score typed rows.

        `frame` holds the id, numeric and categorical columns: a DataFrame, an Arrow batch or a dict of lists.
        `vectors` holds per text column a float32 matrix, rows of NaN where there is no text, or the model inputs
        made of it; `summaries` the text to quote: from the risk band `quote_from` on only the sentence that moved the
        score most, where `embed` gives the vectors of what remains without it (see `quoting`).

        Returns the columns RECORD_FIELDS, one value per row, in order (probabilities in [0, 1], effects in
        log-odds, money in the policy's unit; `recommended` knows nothing of capacity), and every column's
        reason, unless `top`, the number of reasons to name, is 0. Raises ResourceError where the reasons of a
        row do not add up to its score.
        """
        matrix = assemble(self.spec, frame, vectors=vectors)
        trees = self._scorer(frame)
        margin = trees.margin(matrix)
        scored = self._decided(frame, margin)
        if top == 0:
            return Scored({**scored, **{name: [None] * len(matrix) for name in REASON_FIELDS}}, None)
        groups, effects = trees.effects(matrix)
        contributions.check_sums(effects, margin)
        quotes = self._quotes(  # the baseline is the last effect, of no group
            matrix, trees, margin, effects=dict(zip(groups, effects.T, strict=False)), vectors=vectors,
            summaries=summaries, embed=embed,
            risky=scored["churn_probability"] >= quoting.cut_off(self.policy, quote_from),
        )  # fmt: skip
        words = reasons.in_words(
            effects, groups, self._values_to_tell(frame), quotes=quotes, templates=templates or {},
            wording=self._wording, subjects=told.history_in_words(frame, self.contract, wording=self._wording),
            raising_first=scored["recommended"],
        )  # fmt: skip
        for rank in (1, 2, 3):
            parts = words.top(rank if rank <= top else len(groups) + 1)
            scored |= zip((f"reason_{rank}{part}" for part in ("", "_effect", "_text")), parts, strict=True)
        return Scored(scored, words)

    def _quotes(
        self,
        matrix: Matrix,
        trees: Scorer,
        margin: Matrix,
        *,
        effects: Mapping[str, Matrix],
        vectors: Mapping[str, Matrix | TextInputs],
        summaries: Mapping[str, Sequence[str | None]],
        embed: quoting.Embed | None,
        risky: npt.NDArray[np.bool_],
    ) -> dict[str, Sequence[str | None]]:
        """What to quote of each row's texts; of `risky` ones only the sentence that moved the score most."""
        quotes = dict(summaries)
        for text in (t for t in self.spec.texts if t.notes > 1 and t.name in summaries):
            quotes[text.name] = quoting.telling_notes(
                text, summaries[text.name], matrix_of(vectors[text.name]), effects[text.name]
            )
        if embed is None:
            return quotes
        for text in self.quoted_texts:
            sign = np.sign(effects[text.name])
            moves = quoting.moves_of(text, self.spec, matrix, trees, sign=sign, margin=margin, embed=embed)
            quotes[text.name] = quoting.telling_sentences(summaries[text.name], risky & (sign != 0), moves)
        return quotes

    def _decided(self, frame: Columns, margin: Matrix) -> dict[str, Any]:
        """The columns of RECORD_FIELDS that follow from the log-odds: probability, band, money, recommendation."""
        probability = self.calibrator.apply(margin)
        offer, terms = self.policy.offered(frame, probability)
        expected = terms.expected(probability)
        ids = arrow_array(frame[self.contract.id.name], pa.string()).to_pylist()
        held = decisions.in_holdout(ids, share=self.policy.holdout_share)
        return {
            "churn_probability": probability,
            "churn_score_raw": margin,
            "churn_prediction": probability >= self.policy.threshold,
            "threshold": np.full(len(margin), self.policy.threshold),
            "risk_band": decisions.risk_band(probability, self.policy),
            "expected_value": expected,
            "value_at_risk": probability * self.policy.values(frame, len(margin)),
            "offer": self._offers_made[offer],
            "recommended": (expected > 0) & ~held,
            "in_holdout": held,
        }

    def _values_to_tell(self, frame: Columns) -> dict[str, Any]:
        """What a reason says of each source that is no text."""
        texts, history = {text.name for text in self.spec.texts}, told.values_of(self.contract.history)
        return {s: frame[history.get(s, s)] for s in dict.fromkeys(self.spec.sources) if s not in texts}

    @property
    def quoted_texts(self) -> tuple[TextVector, ...]:
        """The text columns whose summary is what the model read, so that its sentences can be left out."""
        return tuple(t for t in self.spec.texts if t.notes == 1 and self.text.of(t.name).source == "summary")

    @property
    def undated_texts(self) -> list[str]:
        """The text columns whose notes no date says to lie before the snapshot."""
        return [t.name for t in self.spec.texts if t.notes == 1 or self.contract.snapshot is None]

    @cached_property
    def _wording(self) -> dict[str, reasons.Wording]:
        typical, flags = self.manifest.get("typical", {}), self.manifest.get("flags", ())
        return {
            c.name: reasons.Wording(c.description, c.unit, typical.get(c.name), c.name in flags)
            for c in (*self.contract.columns, *self.contract.derived)
        }

    def margin(self, matrix: Matrix) -> Matrix:
        """The booster's raw log-odds, float32 of shape (n,), for model inputs as `assemble` makes them."""
        return self._all_trees.margin(matrix)

    def effects(self, matrix: Matrix) -> tuple[tuple[str, ...], Matrix]:
        """Contributions by source column and the baseline, which add up to the margin; see `contributions`."""
        return self._all_trees.effects(matrix)

    @property
    def tables(self) -> contributions.Tables | None:
        """The trees laid out for `effects`; None where they are too deep for that."""
        return self._all_trees.tables

    @cached_property
    def _all_trees(self) -> OneBooster:
        return OneBooster(self.booster, self.spec)

    @cached_property
    def _fold_trees(self) -> tuple[OneBooster, ...]:
        return tuple(OneBooster(part_of(self.booster, k, parts=FOLDS), self.spec) for k in range(FOLDS))

    def _scorer(self, frame: Columns) -> Scorer:
        """The trees that score each row: with `unseen` those that did not see its customer."""
        if not self.unseen:
            return self._all_trees
        columns = (arrow_array(frame[name], pa.string()) for name in reversed(self.contract.unit))
        units = pc.coalesce(*columns).to_pylist()
        folds = [fold_of(unit, seed=self.manifest["split"]["seed"]) for unit in units]
        return ByFold(self._fold_trees, np.array(folds, np.int64))

    def lay_out(self) -> None:
        """Lay out the trees for `effects` now, and so in this process only."""
        for trees in self._fold_trees if self.unseen else (self._all_trees,):
            trees.tables  # noqa: B018 - it is kept

    def scoring_unseen(self, wanted: bool) -> ChurnModel:
        """The model that scores each customer by the booster that did not see them; with False, by all boosters.

        Raises InputError where it is one booster, which saw them all.
        """
        if wanted and (self.manifest.get("boosters") != FOLDS or "unseen" not in self.manifest):
            raise InputError(
                "the model has one booster, or is from before folds could be told, so every customer was seen by it",
                where="scoring.unseen",
                fix="train with scoring.unseen: true, or leave it false",
            )
        return replace(self, unseen=wanted)

    @cached_property
    def _offers_made(self) -> npt.NDArray[np.object_]:
        """The offers by name; last, for those whom none is open to, and without names, None."""
        return np.array([*(offer.name or None for offer in self.policy.offers), None], object)

    def at_base_rate(self, target: float | None) -> ChurnModel:
        """The model for a population whose share of churners is `target`; itself where that is None.

        Probabilities, bands and a threshold set by capacity move; ranks and reasons stay.
        """
        if target is None:
            return self
        rates = {"trained": self.manifest["base_rate"], "target": target}
        policy = decisions.moved_policy(self.policy, **rates)
        return replace(self, calibrator=self.calibrator.moved(**rates), policy=policy)

    # -- records ----------------------------------------------------------------------------------------

    def predict(
        self,
        records: Sequence[Mapping[str, Any]],
        *,
        history: Iterable[Mapping[str, Any]] | None = None,
        tickets: Iterable[Mapping[str, Any]] | None = None,
        events: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
        as_of: dt.date | None = None,
    ) -> list[dict[str, Any]]:
        """Score raw records (the raw columns by name) in this process; no Spark, no JVM.

        Returns one dict per record, in order, with the id and the fields of `churn_scores` that make sense
        for a record. A bad value makes it `degraded`; a record without a usable id is `unscorable`, with
        `status_detail` saying why. Raises nothing for the batch. Words follow the settings of the training run.

        A model that reads history needs it: `history` holds the customers' earlier rows (raw columns, with the
        snapshot date), `tickets` and `events` the raw rows of each table of events; rows of other customers do no
        harm. What is not given at all makes a record `degraded`. Records are looked at on the day of their
        snapshot, or `as_of` (today, UTC) where they name none.
        """
        past = Past(history, {**(events or {}), **({} if tickets is None else {TICKETS: tickets})})
        checked = [self._checked(record) for record in records]
        answers = [self._unscorable(r, problems) for r, (_, problems) in zip(records, checked, strict=True)]
        usable = [i for i, (values, _) in enumerate(checked) if values.get(self.contract.id.name) is not None]
        day = as_of or dt.datetime.now(dt.UTC).date()
        scored = self._scored_records([checked[i][0] for i in usable], past, day) if usable else []
        absent = past.missing(self.contract)
        for i, fields in zip(usable, scored, strict=True):
            status, detail = row_status([*checked[i][1], *absent])
            answers[i] = {**fields, "score_status": status, "status_detail": detail, **self._lineage}
        return answers

    def _checked(self, record: Any) -> tuple[dict[str, Any], list[Problem]]:
        """A record against the contract; it needs no label, and need not name the day of its snapshot."""
        if not isinstance(record, Mapping):
            return {}, [NOT_A_RECORD]
        return check_record(
            record,
            [c for c in self.contract.used
             if c.role not in ("label", "snapshot") or (c.role == "snapshot" and c.name in record)],
        )  # fmt: skip

    def _scored_records(
        self, rows: Sequence[Mapping[str, Any]], past: Past, as_of: dt.date
    ) -> list[dict[str, Any]]:
        """The id, RECORD_FIELDS and the first text's summary and status of checked records with a usable id."""
        read = [c.name for c in self.contract.used if c.role not in ("label", "snapshot")]
        frame: dict[str, Any] = {name: [row[name] for row in rows] for name in read}
        if self.contract.snapshot:
            name = self.contract.snapshot.name
            frame[name] = [row.get(name) or as_of for row in rows]
        if self.contract.history:
            frame |= records_history(rows, self.contract, past, as_of=as_of)
        several = self.contract.history.notes
        prepared = {
            c.name: notes.prepare_several(frame[c.name], self.text.of(c.name), several.get(c.name, 1))
            for c in self.contract.texts
        }
        table = self.score(
            frame,
            {name: vectors for name, (_, vectors) in prepared.items()},
            summaries={name: [n.summary for n in found] for name, (found, _) in prepared.items()},
            templates=self.manifest.get("templates", {}),
            quote_from=self.manifest.get("quote_from", "none"),
            embed=lambda column, rows, parts: notes.vectors(parts, self.text.of(column)),
        ).table
        key = self.contract.id.name
        table = {key: frame[key], **table}
        for first, _ in list(prepared.values())[:1]:
            newest = [n.summary and n.summary.partition(APART)[0] for n in first]
            table |= {"ticket_summary": newest, "text_status": [n.status for n in first]}
        return as_records(table)

    def _unscorable(self, record: Any, problems: Sequence[Problem]) -> dict[str, Any]:
        key = self.contract.id.name
        raw = record.get(key) if isinstance(record, Mapping) else None
        return {
            key: raw,
            **dict.fromkeys(RECORD_FIELDS),
            "score_status": "unscorable",
            "status_detail": "; ".join(p.message for p in problems),
            **self._lineage,
        }

    @property
    def _lineage(self) -> dict[str, Any]:
        of_training = {name: self.manifest.get(name) for name in OF_TRAINING}
        return {**of_training, "model_id": self.model_id}

    # -- packages ---------------------------------------------------------------------------------------

    def identified(self) -> ChurnModel:
        """The model under the id of what it learnt."""
        return replace(self, model_id=content_id(self._trees, self._document()))

    def save(self, folder: Path) -> None:
        """Write the model into an existing folder, as `package` describes it, under the id of what it learnt."""
        write_package(folder, self._trees, self._document())

    @classmethod
    def load(cls, path: str | Path) -> ChurnModel:
        """Load a package folder, or the champion of a folder of packages.

        Everything in it is checked. Raises InputError where there is no model, ResourceError where a file is
        missing or changed.
        """
        folder = package_folder(Path(path))
        manifest = read_package(folder)
        booster = xgb.Booster(model_file=str(folder / "model.json"))
        booster.set_param({"nthread": 1})
        spec = FeatureSpec.from_dict(manifest["features"])
        if booster.num_features() != len(spec.names) or booster.feature_types != spec.types:
            raise ResourceError(
                "model.json and manifest.json name different features", where=str(folder), fix=RETRAIN
            )
        return cls(
            model_id=manifest["model_id"],
            booster=booster,
            spec=spec,
            calibrator=Calibrator.from_dict(manifest["calibrator"]),
            policy=Policy.from_dict(
                {"value_column": manifest.get("customer_value_column"), **manifest["policy"]}
            ),
            contract=Contract.from_dict(manifest),
            text=Text.model_validate(manifest["text"]),
            manifest=manifest,
            unseen=manifest.get("unseen", False),
        )

    @property
    def _trees(self) -> bytes:
        return bytes(self.booster.save_raw("json"))

    def _document(self) -> dict[str, Any]:
        """What was learnt, and the manifest's lines about the run, JSON-ready."""
        document = {
            **self.manifest,
            "features": self.spec.to_dict(),
            "feature_names": self.spec.names,
            "feature_types": self.spec.types,
            "calibrator": self.calibrator.to_dict(),
            "policy": self.policy.to_dict(),
            **self.contract.to_dict(),
            "text": self.text.model_dump(mode="json", exclude={"cache", "chunk_tokens"}),
        }
        return json.loads(json.dumps(document))  # type: ignore[no-any-return]
