"""`drop_params`, in a call or as LiteLLM's global, never takes the bound of an answer out of what is sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import litellm
import pytest
from backends.ways import INPUTS

import tokenguard as tg
from tokenguard.backends.bounds import check_bound
from tokenguard.backends.litellm import LiteLLMBackend
from tokenguard.core.ports import Request
from tokenguard.errors import UnsupportedOption
from tokenguard.testing.model_server import ModelServer

NSCALE = "nscale/some-model"
"""LiteLLM knows `max_tokens` for its provider, but not `max_completion_tokens`."""
V0 = "v0/v0-1.0-md"
"""LiteLLM knows no bound of the answer for its provider."""
SIGNS_IN = ("github_copilot", "chatgpt")
"""Providers that LiteLLM signs in to when it only looks them up."""


def request(model: str, server: ModelServer, operation: str = "chat", **options: Any) -> Request:
    """A request to the model server."""
    return Request(operation, model, {**INPUTS[operation], "api_base": server.url, "api_key": "none", **options})


@pytest.fixture(params=["in the call", "for all of LiteLLM"])
def dropping(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a call under `drop_params`, set here or there."""
    monkeypatch.setattr(litellm, "drop_params", request.param == "for all of LiteLLM")
    return {"drop_params": True} if request.param == "in the call" else {}


@pytest.mark.parametrize(
    "lost",
    [
        ("chat", NSCALE, "max_completion_tokens"),
        ("chat", V0, "max_tokens"),
        ("responses", V0, "max_output_tokens"),
    ],
)
def test_a_bound_that_litellm_would_drop_is_refused_before_anything_is_sent(
    server: ModelServer, backend: LiteLLMBackend, dropping: dict[str, Any], lost: tuple[str, str, str]
) -> None:
    operation, model, name = lost

    with pytest.raises(UnsupportedOption, match=f"{name}=5 would be dropped") as refusal:
        backend.send(request(model, server, operation, **{name: 5}, **dropping))

    assert refusal.value.option == name
    assert server.count == 0


def test_the_same_is_refused_where_the_call_is_awaited(
    server: ModelServer, backend: LiteLLMBackend, loop: asyncio.Runner, dropping: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedOption, match="Give max_tokens= instead"):
        loop.run(backend.asend(request(NSCALE, server, max_completion_tokens=5, **dropping)))

    assert server.count == 0


def test_a_call_cannot_switch_the_global_off(
    server: ModelServer, backend: LiteLLMBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "drop_params", True)

    with pytest.raises(UnsupportedOption, match="max_tokens"):
        backend.send(request(V0, server, max_tokens=5, drop_params=False))


def test_other_options_go_on_being_dropped(
    server: ModelServer, backend: LiteLLMBackend, dropping: dict[str, Any]
) -> None:
    backend.send(request(NSCALE, server, max_tokens=5, verbosity="low", **dropping))

    body = json.loads(server.requests[0].body)
    assert body["max_tokens"] == 5
    assert "verbosity" not in body


@pytest.mark.parametrize("operation", ["chat", "responses"])
def test_a_bound_that_the_provider_takes_is_sent(
    server: ModelServer, backend: LiteLLMBackend, dropping: dict[str, Any], operation: str
) -> None:
    name = {"chat": "max_completion_tokens", "responses": "max_output_tokens"}[operation]

    backend.send(request("openai/gpt-4o", server, operation, **{name: 50}, **dropping))

    assert json.loads(server.requests[0].body)[name] == 50


@pytest.mark.parametrize(("operation", "name"), [("chat", "max_tokens"), ("responses", "max_output_tokens")])
def test_a_bound_that_the_caller_allows_by_name_is_sent(
    server: ModelServer, backend: LiteLLMBackend, dropping: dict[str, Any], operation: str, name: str
) -> None:
    allowed = {name: 5, "allowed_openai_params": ["max_tokens"]}

    backend.send(request(V0, server, operation, **allowed, **dropping))

    assert json.loads(server.requests[0].body)["max_tokens"] == 5


def test_a_name_that_never_reaches_the_provider_allows_nothing(
    server: ModelServer, backend: LiteLLMBackend, dropping: dict[str, Any]
) -> None:
    allowed = {"max_output_tokens": 5, "allowed_openai_params": ["max_output_tokens"]}

    with pytest.raises(UnsupportedOption, match=r'allowed_openai_params=\["max_tokens"\]'):
        backend.send(request(V0, server, "responses", **allowed, **dropping))

    assert server.count == 0


def test_without_drop_params_litellm_refuses_in_its_own_words(server: ModelServer, backend: LiteLLMBackend) -> None:
    with pytest.raises(litellm.UnsupportedParamsError):
        backend.send(request(V0, server, max_tokens=5))

    assert server.count == 0


def test_a_call_without_a_bound_has_none_to_lose(
    server: ModelServer, backend: LiteLLMBackend, dropping: dict[str, Any]
) -> None:
    backend.send(request(V0, server, **dropping))
    backend.send(request("hosted_vllm/some-model", server, "embeddings", **dropping))

    assert server.count == 2


def test_an_alias_of_litellms_is_seen_through(
    server: ModelServer, backend: LiteLLMBackend, dropping: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "model_alias_map", {"ours": V0})

    with pytest.raises(UnsupportedOption, match="'ours'"):
        backend.send(request("ours", server, max_tokens=5, **dropping))


def test_a_model_that_litellm_cannot_place_fails_in_its_own_words(
    server: ModelServer, backend: LiteLLMBackend, dropping: dict[str, Any]
) -> None:
    with pytest.raises(litellm.BadRequestError, match="LLM Provider NOT provided"):
        backend.send(request("nobody-knows-this", server, max_tokens=5, **dropping))


def test_a_backend_that_observes_refuses_nothing(server: ModelServer, dropping: dict[str, Any]) -> None:
    LiteLLMBackend(enforce=False).send(request(V0, server, max_tokens=5, **dropping))

    assert "max_tokens" not in json.loads(server.requests[0].body)


def test_a_refused_bound_holds_nothing_in_the_books(
    server: ModelServer, backend: LiteLLMBackend, dropping: dict[str, Any]
) -> None:
    prices = {"prices": {V0: {"input": "1", "output": "1"}}}
    options = {"api_base": server.url, "api_key": "none", **dropping}

    with (
        tg.Guard(database="memory", backend=backend, prices=prices) as guard,
        guard.run("agent", budget=tg.Budget(usd="1")) as run,
        pytest.raises(UnsupportedOption),
    ):
        guard.completion(V0, [{"role": "user", "content": "hello"}], **options)

    assert (run.receipt().cost, run.receipt().held) == (tg.Money(0), tg.Money(0))
    assert server.count == 0


# Pydantic warns about types of LiteLLM's own when some providers are loaded.
@pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*:UserWarning")
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_what_is_refused_is_exactly_what_litellm_drops(name: str) -> None:
    models = _one_chat_model_per_provider()

    refused = [model for model in models if _is_refused(model, name)]
    dropped = [model for model in models if _is_dropped(model, name)]

    assert len(models) > 50
    assert 1 < len(refused) < len(models) / 2
    assert refused == dropped


def _one_chat_model_per_provider() -> list[str]:
    """From LiteLLM's map, for the providers that it can reach without signing in."""
    reached = {provider.value for provider in litellm.LlmProviders} - {*SIGNS_IN}
    chats = {
        entry["litellm_provider"]: name
        for name, entry in litellm.model_cost.items()
        if entry.get("mode") == "chat" and name.startswith(f"{entry['litellm_provider']}/")
    }
    return sorted(name for provider, name in chats.items() if provider in reached)


def _is_refused(model: str, name: str) -> bool:
    try:
        check_bound(Request("chat", model, {name: 123_457, "drop_params": True}), litellm)
    except UnsupportedOption:
        return True
    return False


def _is_dropped(model: str, name: str) -> bool:
    """Whether LiteLLM's own mapping of options loses it."""
    bare, provider, _, _ = litellm.get_llm_provider(model)
    mapping: Any = litellm.utils.get_optional_params
    mapped = mapping(model=bare, custom_llm_provider=provider, drop_params=True, **{name: 123_457})
    return "123457" not in repr(mapped)
