"""How servers that are nearly OpenAI's answer, for `fake_openai`: their refusals, blocks, thoughts and limits.

Worded after what the servers were seen to send; each reply is a function of the request.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from fake_openai import Handler, Reply, completion

VECTOR = [3.0, 4.0]


def says(content: Any, *, finish_reason: str = "stop", usage: Any = "usual", **message: Any) -> Reply:
    """A completion with this content, and whatever else the message or the usage holds."""
    answer = json.loads(completion(content, finish_reason=finish_reason))
    answer["choices"][0]["message"] |= message
    if usage == "none":
        del answer["usage"]
    elif usage != "usual":
        answer["usage"] = usage
    return lambda handler, _: handler.send(200, json.dumps(answer).encode())


def error(status: int, body: Any, **headers: str) -> Reply:
    return lambda handler, _: handler.send(status, json.dumps(body).encode(), **headers)


def refuses(parameter: str, refusal: Reply, otherwise: Reply) -> Reply:
    """Refuse requests that hold a parameter."""
    return lambda handler, body: (refusal if parameter in body else otherwise)(handler, body)


# -- refusals of a parameter ----------------------------------------------------------------------------


def openai_refuses(parameter: str, *, code: str = "unsupported_parameter") -> Reply:
    message = (
        f"Unsupported parameter: '{parameter}' is not supported with this model. Use 'max_completion_tokens'."
    )
    return error(
        400,
        {"error": {"message": message, "type": "invalid_request_error", "param": parameter, "code": code}},
    )


def mistral_refuses(parameter: str) -> Reply:
    detail = {
        "type": "extra_forbidden",
        "loc": ["body", parameter],
        "msg": "Extra inputs are not permitted",
        "input": 0,
    }
    return error(
        422,
        {"object": "error", "message": {"detail": [detail]}, "type": "invalid_request_error", "param": None},
    )


def fastapi_refuses(parameter: str) -> Reply:
    return error(
        422, {"detail": [{"type": "extra_forbidden", "loc": ["body", parameter], "msg": "Extra inputs"}]}
    )


def databricks_refuses(parameter: str) -> Reply:
    return error(
        400, {"error_code": "BAD_REQUEST", "message": f'Bad request: json: unknown field "{parameter}"\n'}
    )


def gemini_refuses(parameter: str) -> Reply:
    message = f'Invalid JSON payload received. Unknown name "{parameter}": Cannot find field.'
    return error(400, [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}])


# -- other errors ---------------------------------------------------------------------------------------

AZURE_FILTER = error(400, {"error": {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    "type": None, "param": "prompt", "code": "content_filter", "status": 400,
    "innererror": {"code": "ResponsibleAIPolicyViolation"}}})  # fmt: skip
OPENAI_QUOTA = error(429, {"error": {
    "message": "You exceeded your current quota.", "type": "insufficient_quota", "param": None,
    "code": "insufficient_quota"}})  # fmt: skip
DEEPSEEK_CREDIT = error(
    402,
    {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}},
)
DATABRICKS_BUSY = error(
    429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded workspace rate limit"}
)
GEMINI_KEY = error(400, [{"error": {
    "code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}])  # fmt: skip
OLLAMA_MODEL = error(
    404, {"error": {"message": "model 'm' not found, try pulling it first", "type": "api_error"}}
)
VLLM_TOO_LONG = error(400, {
    "object": "error", "type": "BadRequestError", "param": None, "code": 400,
    "message": "This model's maximum context length is 2048 tokens. However, you requested 9000 tokens."})  # fmt: skip
NAMES_NONE = error(
    422, {"error": {"message": "Validation failed.", "type": "bad_request", "code": "validation_error"}}
)


def quotes_all(handler: Handler, body: dict[str, Any]) -> None:
    error(400, {"error": {"message": f"invalid request {body}"}})(handler, body)


def redirect(status: int, address: str) -> Reply:
    return lambda handler, _: handler.send(status, b"", Location=f"{address}/chat/completions")


# -- embeddings -----------------------------------------------------------------------------------------


def vectors(*, vector: Any = VECTOR, index: bool = True, usage: Any = "usual") -> Reply:
    """One row for each text, its first number the text's length where the vector is the usual one."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        rows = [
            {"embedding": [float(len(text)), 1.0] if vector is VECTOR else vector} for text in body["input"]
        ]
        if index:
            rows = [{"index": i, **row} for i, row in enumerate(rows)][::-1]
        answer = {"data": rows, "usage": {"total_tokens": 10} if usage == "usual" else usage}
        handler.send(200, json.dumps(answer).encode())

    return reply


def base64_vector(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


def limited(holds: Callable[[list[str]], bool], refusal: Reply, **answer: Any) -> Reply:
    """Vectors for requests within a limit, a refusal of the others."""
    return lambda handler, body: (vectors(**answer) if holds(body["input"]) else refusal)(handler, body)


TEI_BATCH = error(422, {"error": "batch size 64 > maximum allowed batch size 32", "error_type": "Validation"})
TEI_LENGTH = error(
    413,
    {"message": "`inputs` must have less than 512 tokens. Given: 1030", "type": "Validation", "code": 413},
)
LLAMA_LENGTH = error(500, {"error": {
    "code": 500, "type": "server_error", "message": "input is too large to process. increase the physical batch size"}})  # fmt: skip
LLAMA_CONTEXT = error(400, {"error": {
    "code": 400, "type": "exceed_context_size_error", "message": "the request exceeds the available context size"}})  # fmt: skip
