"""What every backend promises, as a test class to inherit; it sends to a loopback `ModelServer`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from tokenguard.core.ports import Backend, Request
from tokenguard.testing.model_server import ModelServer, Reply

__all__ = ["BackendConformance"]


class BackendConformance(ABC):
    """What every backend promises. Inherit it and give `make_backend` and the `model` that reaches the server."""

    model = "openai/any"

    @abstractmethod
    def make_backend(self) -> Backend:
        """The backend to test."""

    def test_a_whole_reply_says_its_usage_and_its_text(self) -> None:
        """What was reported comes out as it went in."""
        with ModelServer(Reply(text="four is the answer", prompt_tokens=12)) as server:
            backend = self.make_backend()
            part = backend.read("chat", backend.send(self._request(server)))

        assert part.usage is not None
        assert (part.usage["prompt_tokens"], part.usage["completion_tokens"]) == (12, 4)
        assert part.text == "four is the answer"

    def test_usage_that_the_provider_did_not_send_is_not_invented(self) -> None:
        """None, never zero."""
        with ModelServer(Reply(text="four", usage_mode="never")) as server:
            backend = self.make_backend()
            part = backend.read("chat", backend.send(self._request(server)))

        assert part.usage is None

    def test_one_send_is_one_request_even_when_it_fails(self) -> None:
        """Nobody below the guard repeats a request."""
        with ModelServer(Reply(status=500)) as server:
            backend = self.make_backend()
            failure = _failure_of(backend, self._request(server))

        assert server.count == 1
        assert failure.retryable
        assert not failure.billed

    def test_a_connection_cut_after_sending_may_have_been_billed(self) -> None:
        """Nobody knows, so it counts as billed."""
        with ModelServer(Reply(cut="request")) as server:
            backend = self.make_backend()
            failure = _failure_of(backend, self._request(server))

        assert server.count == 1
        assert failure.billed

    def test_a_closed_stream_stops_the_server(self) -> None:
        """Closing reaches the other end."""
        with ModelServer(Reply(completion_tokens=500, pace_s=0.005)) as server:
            backend = self.make_backend()
            stream = backend.send(self._request(server, stream=True))
            for _ in range(20):
                next(stream)
            backend.close_stream(stream)
            server.wait_idle(5)
            sent = server.sent_chunks[0]

        assert sent < 100  # noqa: PLR2004  # of five hundred

    def _request(self, server: ModelServer, **options: Any) -> Request:
        messages = [{"role": "user", "content": "how many?"}]
        return Request("chat", self.model, {"messages": messages, "api_base": server.url, "api_key": "none", **options})


def _failure_of(backend: Backend, request: Request) -> Any:
    try:
        backend.send(request)
    except Exception as error:  # noqa: BLE001  # whatever the provider's library raises is what is classified
        return backend.failure(error)
    raise AssertionError("the request did not fail")
