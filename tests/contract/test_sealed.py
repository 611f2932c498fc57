"""Sealed documents: what a damage does to them, the seal itself included."""

import json

import pytest

from churn_spark.contract.sealed import sealed, unsealed
from churn_spark.errors import ResourceError

CONTENT = {"model_id": "m-1", "history": [{"why": "it is newer"}]}


def test_what_was_sealed_is_read_whatever_its_layout() -> None:
    text = sealed(CONTENT)
    assert unsealed(text, where="a/champion.json", fix="") == CONTENT
    assert unsealed(json.dumps(json.loads(text)), where="a/champion.json", fix="") == CONTENT
    assert unsealed(json.dumps(CONTENT), where="a/champion.json", fix="") == CONTENT  # never had a seal


@pytest.mark.parametrize(
    "damage", [("m-1", "m-2"), ('"sha256"', '"sha257"'), ("model_id", "model-id"), ("}", "")]
)
def test_a_damage_is_told_in_content_and_seal(damage: tuple[str, str]) -> None:
    with pytest.raises(ResourceError) as caught:
        unsealed(sealed(CONTENT).replace(*damage), where="a/champion.json", fix="mend it")
    assert caught.value.what == "champion.json is damaged"
