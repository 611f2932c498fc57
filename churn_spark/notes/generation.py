"""Summaries by a model on this machine, sequence-to-sequence or chat, read from safetensors files only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path

from churn_spark.errors import ResourceError
from churn_spark.notes.answers import checked
from churn_spark.notes.prompts import model_name, prompt
from churn_spark.notes.summary import Summary
from churn_spark.settings.notes import Summarizer

TOKENS_PER_BATCH = 8_192
LENGTH_STEP = 16
MAX_WINDOW = 4_096  # tokens; some tokenizers claim 10^30
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
PREFIXED = ("t5", "mt5", "longt5", "umt5")  # trained to be told their task by a prefix


def transformers(texts: Sequence[str], settings: Summarizer) -> list[Summary]:
    """Summarise by a local or hub model, sequence-to-sequence or chat, with greedy decoding.

    Texts beyond the model's window are cut there (`truncated`). A batch holds texts of one padded length,
    which is the text's own rounded up to a multiple of 16, so that neighbours do not show. Weights are read
    from safetensors files only. Raises ResourceError where the model cannot be loaded.
    """
    model = _load_model(model_name(settings))
    prompts = [model.prompt(text, settings) for text in texts]
    batches: dict[int, list[int]] = {}
    for place, (tokens, _) in enumerate(prompts):
        batches.setdefault(-(-len(tokens) // LENGTH_STEP) * LENGTH_STEP, []).append(place)
    answers: dict[int, Summary] = {}
    for length, places in sorted(batches.items()):
        size = max(1, TOKENS_PER_BATCH // length)
        for batch in (places[i : i + size] for i in range(0, len(places), size)):
            made = model.generate([prompts[i][0] for i in batch], length, settings.max_new_tokens)
            for place, answer in zip(batch, made, strict=True):
                answers[place] = checked(answer, texts[place], settings, was_cut=prompts[place][1])
    return [answers[i] for i in range(len(texts))]


class _Model:
    """A loaded model with its tokenizer, and how it wants to be asked."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        config = AutoConfig.from_pretrained(folder)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        self.is_chat = not config.is_encoder_decoder
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = kind.from_pretrained(folder, use_safetensors=True).eval().to(self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        if self.is_chat and not self.tokenizer.chat_template:
            raise ValueError("no chat template")
        text_config = config.get_text_config()
        places = (getattr(text_config, n, None) for n in ("max_position_embeddings", "n_positions"))
        self.window = min(MAX_WINDOW, self.tokenizer.model_max_length, *filter(None, places))
        self.prefix = "summarize: " if config.model_type in PREFIXED else ""

    def prompt(self, text: str, settings: Summarizer) -> tuple[list[int], bool]:
        """Token ids to ask with, and whether the text had to be cut to fit them into the window."""
        ids = self._ids(text, settings)
        room = self.window - (settings.max_new_tokens if self.is_chat else 0)
        if len(ids) <= room:
            return ids, False
        words = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        keep = max(0, len(words) - (len(ids) - room))
        start = str(self.tokenizer.decode(words[:keep], skip_special_tokens=True))
        return self._ids(start, settings)[:room], True

    def _ids(self, text: str, settings: Summarizer) -> list[int]:
        if not self.is_chat:
            return list(self.tokenizer(self.prefix + text, verbose=False)["input_ids"])
        message = {"role": "user", "content": prompt(text, settings)}
        chat = self.tokenizer.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer(chat, add_special_tokens=False, verbose=False)["input_ids"])

    def generate(self, prompts: list[list[int]], length: int, max_new_tokens: int) -> list[str]:
        """Answers to prompts, each padded to `length` tokens."""
        import torch

        pad = self.tokenizer.pad_token_id
        pad = self.tokenizer.eos_token_id if pad is None else pad
        side = -1 if self.is_chat else 1  # a chat continues at the right end
        filled = [([1] * len(p) + [0] * (length - len(p)))[::side] for p in prompts]
        padded = [(p[::side] + [pad] * (length - len(p)))[::side] for p in prompts]
        with torch.inference_mode():
            made = self.model.generate(
                input_ids=torch.tensor(padded, device=self.device),
                attention_mask=torch.tensor(filled, device=self.device),
                max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, pad_token_id=pad,
            )  # fmt: skip
        answers = made[:, length:] if self.is_chat else made
        return list(self.tokenizer.batch_decode(answers, skip_special_tokens=True))


@cache
def _load_model(name: str) -> _Model:
    try:
        return _Model(_model_folder(name))
    except ResourceError:
        raise
    except Exception as problem:
        raise ResourceError(
            f"the summarizer's model cannot be loaded ({type(problem).__name__})",
            where=f"text.summarizer.model={name}",
            fix="name a sequence-to-sequence model, or one with a chat template, in safetensors files",
        ) from None


@cache
def weights_hash(name: str) -> str:
    """Hash the files that decide what a model answers: weights, configuration, tokenizer."""
    folder = _model_folder(name)
    digest = hashlib.sha256()
    for path in sorted(chain.from_iterable(folder.glob(pattern) for pattern in MODEL_FILES)):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _model_folder(name: str) -> Path:
    """A local folder as it is; anything else is a model of the hub, downloaded once."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(MODEL_FILES)))
    except Exception as problem:
        raise ResourceError(
            f"the summarizer's model was found neither as a folder nor on the hub ({type(problem).__name__})",
            where=f"text.summarizer.model={name}",
            fix="name a folder that holds the model, on every machine",
        ) from None
