"""In which numbers notes are embedded: chosen once, in training, and followed wherever the model scores.

Vectors in int8 and in float32 are different vectors, so a machine must not choose for itself. `auto` is int8 where
the processor multiplies 8-bit numbers quickly (VNNI, AMX): some three times as fast, and no worse for the scores
(README: How fast). Elsewhere, with a GPU, or for a model that `bert` does not compute, it is float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from churn_spark.notes import weights
from churn_spark.settings.notes import Embedder, NoteSettings, Text

Precision = Literal["float32", "int8"]
FAST_INT8 = {"avx512_vnni", "avx_vnni", "amx_int8"}  # as Linux calls them; elsewhere no flag is found
CPU_INFO, GPU = Path("/proc/cpuinfo"), Path("/dev/nvidiactl")


def decided(text: Text) -> Text:
    """The settings for training: `auto` becomes what suits this machine."""
    return _each(text, suited)


def exact(text: Text) -> Text:
    """The settings for training where int8 did not stand the probe: `auto` becomes float32."""
    return _each(text, lambda settings: _in_place_of_auto(settings, "float32"))


def suited(settings: NoteSettings) -> NoteSettings:
    """The settings of one text column: `auto` becomes what suits this machine."""
    return _in_place_of_auto(settings, _suited(settings.embedder))


def followed(text: Text, identities: Mapping[str, Mapping[str, Any]]) -> Text:
    """The settings for scoring: each text column in the precision of the model's vectors.

    `identities` are those of the model's embeddings by column, as its manifest holds them.
    """
    of_model = {c: identity["precision"] for c, identity in identities.items() if "precision" in identity}
    columns = {c: _with(text.of(c), precision) for c, precision in of_model.items()}
    return text.model_copy(update={"columns": {**text.columns, **columns}})


def _each(text: Text, change: Callable[[NoteSettings], NoteSettings]) -> Text:
    columns = {name: change(settings) for name, settings in text.columns.items()}
    return text.model_copy(update={"embedder": change(text).embedder, "columns": columns})


def _in_place_of_auto(settings: NoteSettings, precision: Precision) -> NoteSettings:
    return _with(settings, precision) if settings.embedder.precision == "auto" else settings


def _with(settings: NoteSettings, precision: Precision) -> NoteSettings:
    embedder = settings.embedder.model_copy(update={"precision": precision})
    return settings.model_copy(update={"embedder": embedder})


def _suited(embedder: Embedder) -> Precision:
    on_gpu = embedder.device == "cuda" or (embedder.device == "auto" and GPU.exists())
    if embedder.name != "sentence-transformers" or on_gpu or not multiplies_int8():
        return "float32"
    return "int8" if weights.is_plain_bert(weights.model_folder(embedder.model)) else "float32"


@cache
def multiplies_int8() -> bool:
    """Whether this processor has instructions for products of 8-bit numbers."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return bool(FAST_INT8 & set(flags))
