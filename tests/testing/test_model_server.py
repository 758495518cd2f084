"""The model server over raw HTTP: what it records, counts, breaks and survives."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from tokenguard.errors import SettingsError, SetupError
from tokenguard.testing.model_server import ModelServer, Reply, ToolCall

MESSAGES = [{"role": "user", "content": "one two three"}]


def _post(server: ModelServer, path: str = "/v1/chat/completions", **body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", _port(server.url), timeout=5)
    try:
        connection.request("POST", path, json.dumps({"model": "m", **body}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def _chat(server: ModelServer, **body: Any) -> dict[str, Any]:
    status, content = _post(server, messages=MESSAGES, **body)
    assert status == 200
    return json.loads(content)


def _events(content: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in content.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_requests_are_recorded_byte_for_byte_in_order() -> None:
    body = b'{"model":"m",  "messages":[]}'
    with ModelServer() as server:
        connection = http.client.HTTPConnection("127.0.0.1", _port(server.url))
        for name in ("a", "b"):
            connection.request("POST", "/v1/chat/completions", body, {"X-Name": name})
            connection.getresponse().read()
        connection.close()

        assert [request.body for request in server.requests] == [body, body]
        assert [request.headers["x-name"] for request in server.requests] == ["a", "b"]
        assert [request.index for request in server.requests] == [0, 1]


@pytest.mark.parametrize(
    ("reply", "limit", "tokens", "ending"),
    [
        (Reply(completion_tokens=5), None, 5, "stop"),
        (Reply(completion_tokens=5), 5, 5, "stop"),
        (Reply(completion_tokens=5), 3, 3, "length"),
        (Reply(share_of_max=0.6), 10, 6, "stop"),
        (Reply("four is the answer"), None, 4, "stop"),
        (Reply("four is the answer"), 2, 2, "length"),
        (Reply(completion_tokens=0), None, 0, "stop"),
        (Reply(completion_tokens=9, reasoning_tokens=4), None, 9, "stop"),
        (Reply(tool_calls=[ToolCall("f")]), None, 2, "tool_calls"),
    ],
)
def test_an_answer_stays_within_the_maximum(reply: Reply, limit: int | None, tokens: int, ending: str) -> None:
    with ModelServer(reply) as server:
        found = _chat(server, **({} if limit is None else {"max_tokens": limit}))

    assert found["usage"]["completion_tokens"] == tokens
    assert found["choices"][0]["finish_reason"] == ending


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_maximum_are_honoured(name: str) -> None:
    with ModelServer(Reply(completion_tokens=50)) as server:
        assert _chat(server, **{name: 7})["usage"]["completion_tokens"] == 7


def test_a_text_that_is_cut_keeps_its_own_blanks() -> None:
    with ModelServer("four  is\nthe answer ") as server:
        assert _chat(server, max_tokens=3)["choices"][0]["message"]["content"] == "four  is\nthe"
        assert _chat(server)["choices"][0]["message"]["content"] == "four  is\nthe answer "


def test_prompt_tokens_are_counted_in_words_or_scripted() -> None:
    with ModelServer([Reply(), Reply(prompt_tokens=1234, cached_tokens=1000)]) as server:
        counted, scripted = _chat(server), _chat(server)

    assert counted["usage"]["prompt_tokens"] == 3 + 4
    assert scripted["usage"]["prompt_tokens"] == 1234
    assert scripted["usage"]["prompt_tokens_details"]["cached_tokens"] == 1000


def test_n_answers_are_all_billed() -> None:
    with ModelServer(Reply(completion_tokens=5)) as server:
        found = _chat(server, n=3)

    assert len(found["choices"]) == 3
    assert found["usage"]["completion_tokens"] == 15


@pytest.mark.parametrize(
    ("mode", "asked", "reported"),
    [
        ("asked", False, 0),
        ("asked", True, 1),
        ("always", False, 1),
        ("never", True, 0),
        ("with_finish", False, 1),
    ],
)
def test_a_stream_reports_usage_as_its_mode_says(mode: Any, asked: object, reported: int) -> None:
    with ModelServer(Reply(completion_tokens=4, usage_mode=mode)) as server:
        options = {"stream_options": {"include_usage": True}} if asked else {}
        _, content = _post(server, messages=MESSAGES, stream=True, **options)

    assert sum(event.get("usage") is not None for event in _events(content)) == reported


def test_a_stream_ends_as_openais_do() -> None:
    with ModelServer("four is") as server:
        _, content = _post(server, messages=MESSAGES, stream=True)
        sent = server.sent_chunks

    deltas = [event["choices"][0]["delta"] for event in _events(content)]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "four"}, {"content": " is"}, {}]
    assert content.endswith(b"data: [DONE]\n\n")
    assert sent == (4,)


def test_the_number_of_chunks_can_be_chosen() -> None:
    with ModelServer(Reply(completion_tokens=100, chunks=8)) as server:
        _, content = _post(server, messages=MESSAGES, stream=True)

    texts = [event["choices"][0]["delta"].get("content") for event in _events(content)]
    assert len([text for text in texts if text]) == 8


def test_errors_come_as_openais_objects() -> None:
    with ModelServer(Reply(status=429, error="slow down", error_code="rate", retry_after="7")) as server:
        status, content = _post(server, messages=MESSAGES)

    assert status == 429
    assert json.loads(content) == {
        "error": {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate"}
    }


def test_the_last_reply_of_a_script_stays() -> None:
    with ModelServer(["one", "two"]) as server:
        texts = [_chat(server)["choices"][0]["message"]["content"] for _ in range(3)]

    assert texts == ["one", "two", "two"]


def test_a_function_sees_the_request() -> None:
    with ModelServer(lambda request: f"{request.index} {request.messages[0]['content']}") as server:
        assert _chat(server)["choices"][0]["message"]["content"] == "0 one two three"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "script", [lambda _: 1 / 0, Reply(usage={"cost": object()}, usage_mode="always")], ids=["raises", "no-json"]
)
def test_a_mistake_in_a_script_reaches_the_client(script: Any, stream: object) -> None:
    with ModelServer(script) as server:
        status, content = _post_or_cut(server, stream=bool(stream))
        idle = server.wait_idle()

    assert status in {200, 500}
    assert b"the script failed" in content
    assert idle


def _post_or_cut(server: ModelServer, *, stream: bool) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", _port(server.url)), timeout=5) as one:
        body = json.dumps({"model": "m", "messages": MESSAGES, "stream": stream}).encode()
        one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        content = b""
        while b"the script failed" not in content and (piece := one.recv(65536)):
            content += piece
    return int(content.split(b" ")[1]), content


def test_a_script_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="without replies"):
        ModelServer([])


def test_a_port_that_is_taken_is_a_sentence() -> None:
    with ModelServer() as server, pytest.raises(SetupError, match="cannot listen"):
        ModelServer(port=_port(server.url)).start()


def test_an_endless_stream_stops_when_the_client_leaves() -> None:
    with ModelServer(Reply(endless=True)) as server:
        with socket.create_connection(("127.0.0.1", _port(server.url))) as one:
            body = json.dumps({"model": "m", "stream": True, "messages": []}).encode()
            one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            received = sum(len(one.recv(65536)) for _ in range(20))
        idle = server.wait_idle()
        sent = server.sent_chunks[0]

    assert received > 0
    assert idle
    assert sent > 0


def test_reset_forgets_and_counts_from_the_start() -> None:
    with ModelServer("one") as server:
        _chat(server)
        server.reset("two")
        found = _chat(server)

        assert server.count == 1
        assert found["id"] == "chatcmpl-0"
        assert found["choices"][0]["message"]["content"] == "two"


def test_a_chunked_request_body_is_understood() -> None:
    with ModelServer() as server:
        connection = http.client.HTTPConnection("127.0.0.1", _port(server.url))
        pieces = iter([b'{"model":', b'"m","messages":[]}'])
        connection.request("POST", "/v1/chat/completions", pieces, encode_chunked=True)
        status = connection.getresponse().status
        connection.close()

        assert status == 200
        assert server.requests[0].body == b'{"model":"m","messages":[]}'


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01", b"HELLO\r\n\r\n", b"GET / SMTP\r\n\r\n"])
def test_what_is_not_http_is_turned_away(garbage: bytes) -> None:
    with ModelServer() as server:
        with socket.create_connection(("127.0.0.1", _port(server.url)), timeout=5) as one:
            one.sendall(garbage)
            answer = one.recv(65536)

        assert answer.startswith(b"HTTP/1.1 400")
        assert _chat(server)["object"] == "chat.completion"


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[]", b'{"messages": 5, "n": "x", "max_tokens": null, "stream_options": 3}']
)
def test_odd_bodies_get_an_answer(body: bytes) -> None:
    with ModelServer() as server:
        connection = http.client.HTTPConnection("127.0.0.1", _port(server.url), timeout=5)
        connection.request("POST", "/v1/chat/completions", body)
        status = connection.getresponse().status
        connection.close()

    assert status == 200


def test_other_paths_are_told_apart() -> None:
    with ModelServer() as server:
        connection = http.client.HTTPConnection("127.0.0.1", _port(server.url), timeout=5)
        statuses = {}
        for path in ("/health", "/v1/models", "/v1/stats", "/v1/nothing"):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            statuses[path] = response.status
        connection.close()

        assert statuses == {"/health": 200, "/v1/models": 200, "/v1/stats": 200, "/v1/nothing": 404}
        assert server.count == 0


def test_the_server_tells_a_load_where_it_was_given_one() -> None:
    with ModelServer(metrics=lambda: "vllm:num_requests_waiting 3\n") as told, ModelServer() as silent:
        answers: list[tuple[int, bytes]] = []
        for server in (told, silent):
            connection = http.client.HTTPConnection("127.0.0.1", _port(server.url), timeout=5)
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            answers.append((response.status, response.read()))
            connection.close()

    assert [status for status, _ in answers] == [200, 404]
    assert answers[0][1] == b"vllm:num_requests_waiting 3\n"


def test_sixty_four_streams_run_side_by_side() -> None:
    with ModelServer(Reply(completion_tokens=20, pace_s=0.005)) as server:
        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(lambda _: _post(server, messages=MESSAGES, stream=True), range(64)))

        assert all(content.endswith(b"data: [DONE]\n\n") for _, content in answers)
        assert server.sent_chunks == (22,) * 64


def _calls(url: str, count: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", _port(url))
    for _ in range(count):
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": MESSAGES}))
        connection.getresponse().read()
    connection.close()


def test_eight_processes_can_call_it() -> None:
    program = """if True:
        import http.client, sys
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
        for _ in range(5):
            connection.request("POST", "/v1/chat/completions", '{"model": "m", "messages": []}')
            connection.getresponse().read()
        connection.close()
    """
    with ModelServer() as server:
        command = [sys.executable, "-c", program, str(_port(server.url))]
        processes = [subprocess.Popen(command) for _ in range(8)]
        codes = [process.wait(30) for process in processes]

        assert codes == [0] * 8
        assert server.count == 40


def _gives_up(server: ModelServer) -> None:
    with pytest.raises(OSError):  # noqa: PT011  # reset or closed, as the server stops
        _post(server, messages=MESSAGES)


def test_waiting_for_arrivals_needs_no_sleep() -> None:
    with ModelServer(Reply(stall="request")) as server:
        thread = threading.Thread(target=_gives_up, args=(server,))
        thread.start()
        arrived = server.wait_count(1)
        idle = server.wait_idle(timeout_s=0)
    thread.join(10)

    assert arrived
    assert not idle


async def _enter() -> int:
    async with ModelServer() as server:
        return _port(server.url)


def test_it_is_an_async_context_manager_too() -> None:
    assert asyncio.run(_enter()) > 0


def test_it_runs_on_its_own() -> None:
    command = [sys.executable, "-m", "tokenguard.testing.model_server", "--port", "0", "--completion-tokens", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        _calls(url, 2)
        connection = http.client.HTTPConnection("127.0.0.1", _port(url))
        connection.request("GET", "/v1/stats")
        stats = json.loads(connection.getresponse().read())
        connection.close()
        process.terminate()
        code = process.wait(10)

    assert stats == {"requests": 2, "sent_chunks": [0, 0]}
    assert code == 0
