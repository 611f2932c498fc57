"""BERT's forward pass in few torch calls, in float32 or int8, for batches of texts of one length.

Texts of one length need neither padding nor mask. Linear layers go through oneDNN with weights packed once
and GELU fused: faster than `transformers` on a CPU, and no import of it. The int8 scales are fixed beforehand
(static quantization), never taken from a batch, so a text's vector depends on that text alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from churn_spark.errors import ResourceError

Map = Callable[[Tensor], Tensor]
MakeLinear = Callable[[str, Tensor, Tensor], Map]  # name, weight, bias -> rows in, rows out
Norm = tuple[Tensor, Tensor]

SHORT = 24  # tokens up to which plain products beat torch's fused attention
PACKED_ROWS = 1024  # oneDNN packs weights with a row count in mind; any other works too
SMOOTHING = 0.5  # how much of an input channel's spread moves into the weights
CALIBRATION_SHAPES = ((32, 8), (16, 16), (8, 32), (8, 64), (4, 128), (4, 256))  # texts, length
WEIGHT_LIMIT = 64  # CPUs without VNNI add two products in 16 bits, where 2 * 255 * 64 still fits
TINY = 1e-5  # a channel or layer that never leaves zero still needs a scale


class Weights(NamedTuple):
    """A checkpoint's tensors by name, and its config.json."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]

    def pair(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight and bias of one Linear or LayerNorm."""
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]


class Layer(NamedTuple):
    """One encoder layer."""

    attention_in: Map  # to query, key and value, side by side
    attention_out: Map
    attention_norm: Norm
    up: Map  # with GELU
    down: Map
    norm: Norm


@dataclass(frozen=True)
class Bert:
    """A BERT encoder with mean pooling and unit length, whatever its Linear layers compute in."""

    words: Tensor
    positions: Tensor
    norm: Norm
    layers: tuple[Layer, ...]
    heads: int
    epsilon: float

    def __call__(self, ids: Tensor) -> Tensor:
        """Token ids (texts, length), none of them padding -> unit vectors (texts, hidden size)."""
        texts, length = ids.shape
        hidden = self.words.shape[1]
        x = self._normed(F.embedding(ids, self.words) + self.positions[:length], self.norm).view(-1, hidden)
        for layer in self.layers:
            qkv = layer.attention_in(x).view(texts, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            context = _attended(*qkv).transpose(1, 2).reshape(-1, hidden)
            x = self._normed(layer.attention_out(context).add_(x), layer.attention_norm)
            x = self._normed(layer.down(layer.up(x)).add_(x), layer.norm)
        return F.normalize(x.view(texts, length, hidden).mean(1), dim=1)

    def _normed(self, x: Tensor, norm: Norm) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *norm, self.epsilon)


def _attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    length, size = query.shape[-2:]
    if query.is_cuda or length > SHORT:
        return F.scaled_dot_product_attention(query, key, value)
    scores = (
        torch.matmul(key, query.transpose(-1, -2)) * size**-0.5
    )  # (key, query): softmax is faster downwards
    return torch.matmul(scores.softmax(-2).transpose(-1, -2), value)


def load_weights(folder: Path, *, device: str = "cpu") -> Weights:
    """Read `model.safetensors` and `config.json` of a BERT checkpoint."""
    tensors = load_file(folder / "model.safetensors", device=device)
    config = json.loads((folder / "config.json").read_text())
    return Weights({name.removeprefix("bert."): tensor for name, tensor in tensors.items()}, config)


def float32(weights: Weights) -> Bert:
    """The model as it was trained."""
    return _assemble(weights, _float32_linear)


def int8(weights: Weights, ranges: Mapping[str, Tensor]) -> Bert:
    """The model with the encoder's Linear layers in 8 bits, by the `input_ranges` of its layers.

    Unsigned activations, one scale a layer; signed weights of 7 bits, one scale an output channel. Sums are
    whole numbers that never overflow, hence exact in any order, with VNNI and without. Channels that spread
    far are first divided, and their weights multiplied (SmoothQuant, Xiao et al. 2023). Raises ResourceError
    where torch comes without oneDNN.
    """
    if not _has_onednn():
        raise ResourceError("int8 needs a torch with oneDNN on the CPU",
                            where="text.embedder.precision", fix="set it to float32")  # fmt: skip

    def linear(name: str, weight: Tensor, bias: Tensor) -> Map:
        low, high = ranges[name].clamp(max=0)[0], ranges[name].clamp(min=0)[1]
        smoother = torch.ones_like(low) if name.endswith("down") else _smoother(weight, low, high)
        scale, zero = _affine(low / smoother, high / smoother)
        output: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        if name.endswith("up"):  # GELU's result leaves as the u8 that the next layer reads
            output = (*_affine(*ranges[name.removesuffix("up") + "down"]), torch.uint8, "gelu", [], "none")
        return _int8_linear(weight * smoother, bias, 1 / (scale * smoother), scale, zero, output)

    return _assemble(weights, linear)


def input_ranges(weights: Weights) -> dict[str, Tensor]:
    """Smallest and largest input of each Linear layer by channel, (2, channels), for `int8`.

    Seen on random sequences of the model's own vocabulary: they need no data and favour no language, and
    gave cosines to float32 as high as customer notes did.
    """
    ranges: dict[str, Tensor] = {}

    def linear(name: str, weight: Tensor, bias: Tensor) -> Map:
        compute = _float32_linear(name, weight, bias)

        def observed(x: Tensor) -> Tensor:
            known = ranges.get(name, x[:1])
            seen = torch.cat((known, x))
            ranges[name] = torch.stack((seen.amin(0), seen.amax(0)))
            return compute(x)

        return observed

    bert = _assemble(weights, linear)
    random = torch.Generator().manual_seed(0)
    for shape in CALIBRATION_SHAPES:
        bert(torch.randint(len(bert.words), shape, generator=random))
    return ranges


def _assemble(weights: Weights, linear: MakeLinear) -> Bert:
    token_type = weights.tensors["embeddings.token_type_embeddings.weight"][0]
    return Bert(
        words=weights.tensors["embeddings.word_embeddings.weight"],
        positions=weights.tensors["embeddings.position_embeddings.weight"] + token_type,
        norm=weights.pair("embeddings.LayerNorm"),
        layers=tuple(_layer(weights, i, linear) for i in range(weights.config["num_hidden_layers"])),
        heads=weights.config["num_attention_heads"],
        epsilon=weights.config["layer_norm_eps"],
    )


def _layer(weights: Weights, number: int, linear: MakeLinear) -> Layer:
    prefix = f"encoder.layer.{number}"
    parts = [weights.pair(f"{prefix}.attention.self.{part}") for part in ("query", "key", "value")]
    weight, bias = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Layer(
        attention_in=linear(f"{number}.attention_in", weight, bias),
        attention_out=linear(f"{number}.attention_out", *weights.pair(f"{prefix}.attention.output.dense")),
        attention_norm=weights.pair(f"{prefix}.attention.output.LayerNorm"),
        up=linear(f"{number}.up", *weights.pair(f"{prefix}.intermediate.dense")),
        down=linear(f"{number}.down", *weights.pair(f"{prefix}.output.dense")),
        norm=weights.pair(f"{prefix}.output.LayerNorm"),
    )


def _float32_linear(name: str, weight: Tensor, bias: Tensor) -> Map:
    gelu = name.endswith("up")
    if weight.device.type != "cpu" or not _has_onednn():
        return lambda x: F.gelu(F.linear(x, weight, bias)) if gelu else F.linear(x, weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
    activation: tuple[Any, ...] = ("gelu", [], "none") if gelu else ("none", [], "")
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, *activation)


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _int8_linear(
    weight: Tensor, bias: Tensor, multiplier: Tensor, scale: float, zero: int, output: tuple[Any, ...]
) -> Map:
    weight_scale = weight.abs().amax(1).clamp(min=TINY) / WEIGHT_LIMIT
    offset = torch.tensor(float(zero - 128))
    packed = torch.ops.onednn.qlinear_prepack((weight / weight_scale[:, None]).round().to(torch.int8), None)
    weight_zero = torch.zeros(len(weight), dtype=torch.int64)

    def compute(x: Tensor) -> Tensor:
        if x.dtype != torch.uint8:
            signed = torch.addcmul(offset, x, multiplier).round_().clamp_(-128, 127).to(torch.int8)
            x = signed.view(torch.uint8) ^ 128  # to u8 by way of s8: torch converts to s8 five times faster
        rows: Tensor = torch.ops.onednn.qlinear_pointwise(
            x, scale, zero, packed, weight_scale, weight_zero, bias, *output
        )
        return rows

    return compute


def _smoother(weight: Tensor, low: Tensor, high: Tensor) -> Tensor:
    spread = torch.maximum(-low, high).clamp(min=TINY)
    return spread**SMOOTHING / weight.abs().amax(0).clamp(min=TINY) ** (1 - SMOOTHING)


def _affine(low: Tensor, high: Tensor) -> tuple[float, int]:
    """Scale and zero point that map [min, max], which holds 0, onto 0..255."""
    smallest, largest = min(float(low.min()), 0.0), max(float(high.max()), TINY)
    scale = (largest - smallest) / 255
    return scale, round(-smallest / scale)
