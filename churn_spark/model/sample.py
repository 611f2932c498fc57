"""A bounded sample of the split rows in this process: what the leak audit and the report look at, and text
projections are fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from churn_spark.arrays import Matrix
from churn_spark.contract.columns import Contract


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows as parallel columns.

    `frame` has the key, `split`, `label` (0/1), the numeric, categorical and passthrough columns, and each
    text column as its redacted note, None where there is none. By text column: `vectors`, float32 of shape
    (n, dimension), rows of NaN where there is no text, and `summaries`, None where there is none. `whole`
    says whether these are all rows there are.
    """

    frame: pd.DataFrame
    vectors: Mapping[str, Matrix]
    summaries: Mapping[str, npt.NDArray[np.object_]]
    whole: bool = True

    @property
    def label(self) -> npt.NDArray[np.float64]:
        return self.frame["label"].to_numpy(np.float64)

    def of(self, *splits: str) -> Sample:
        """The rows of these splits."""
        return self.where(self.frame["split"].isin(splits).to_numpy())

    def where(self, chosen: npt.NDArray[np.bool_]) -> Sample:
        """The chosen rows, in order."""
        return Sample(
            self.frame[chosen].reset_index(drop=True),
            {name: matrix[chosen] for name, matrix in self.vectors.items()},
            {name: texts[chosen] for name, texts in self.summaries.items()},
            self.whole,
        )


def unit_of(frame: pd.DataFrame, contract: Contract) -> pd.Series:
    """What stays together, row by row: the group, or the customer where there is none."""
    customer = frame[contract.id.name]
    return frame[contract.group].fillna(customer) if contract.group else customer
