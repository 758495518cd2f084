"""How the model server breaks off, slows down and plays odd providers, seen byte by byte from the client's socket."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from tokenguard.errors import SettingsError
from tokenguard.testing.model_server import ModelServer, Reply, ToolCall
from tokenguard.testing.model_server.http import Parser

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"


def connect(server: ModelServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=5)


def request(path: str = CHAT, **body: Any) -> bytes:
    content = json.dumps({"model": "m", "messages": [], "input": "x", **body}).encode()
    return b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(content), content)


def until_closed(one: socket.socket) -> bytes:
    content = b""
    while piece := one.recv(1 << 16):
        content += piece
    return content


def asked(server: ModelServer, path: str = CHAT, **body: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(server.url).port or 0, timeout=5)
    try:
        connection.request("POST", path, json.dumps({"model": "m", "messages": [], "input": "x", **body}))
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def events(server: ModelServer, path: str = CHAT, **body: Any) -> list[Any]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(server.url).port or 0, timeout=5)
    try:
        connection.request("POST", path, json.dumps({"model": "m", "messages": [], "input": "x", **body}))
        lines = connection.getresponse().read().decode().split("\n")
    finally:
        connection.close()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_an_answer_cut_after_its_headers_has_no_body() -> None:
    with ModelServer(Reply("four", cut="headers")) as server, connect(server) as one:
        one.sendall(request())
        content = until_closed(one)

    assert content.startswith(b"HTTP/1.1 200")
    assert content.endswith(b"\r\n\r\n")


def test_an_answer_cut_in_its_body_is_half_of_what_it_promised() -> None:
    with ModelServer(Reply("four", cut="body")) as server, connect(server) as one:
        one.sendall(request())
        head, _, body = until_closed(one).partition(b"\r\n\r\n")

    promised = int(head.rpartition(b"content-length: ")[2].split(b"\r\n")[0])
    assert 0 < len(body) < promised


def test_a_stream_cut_in_its_body_ends_within_a_chunk() -> None:
    with ModelServer(Reply("four is the answer", cut="body")) as server, connect(server) as one:
        one.sendall(request(stream=True))
        content = until_closed(one)
        sent = server.sent_chunks

    assert sent == (1,)
    assert b"[DONE]" not in content
    assert not content.endswith(b"\r\n")


def test_a_reset_is_felt_as_one() -> None:
    with ModelServer(Reply("four", cut="request", reset=True)) as server, connect(server) as one:
        one.sendall(request())

        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_a_late_answer_is_whole_and_the_request_behind_it_is_answered_next() -> None:
    with ModelServer([Reply("one", latency_s=0.01), Reply("two")]) as server, connect(server) as one:
        one.sendall(request() + request())
        content = b""
        while content.count(b'"content":"') < 2:
            content += one.recv(1 << 16)

    assert content.index(b'"content":"one"') < content.index(b'"content":"two"')


def test_a_client_that_reads_slowly_gets_everything() -> None:
    # Far more than the sockets of both sides hold, so that the server has to wait for the reader.
    text = " ".join(["x" * 400_000] * 20)
    with ModelServer(Reply(text)) as server, socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        one.connect(("127.0.0.1", urlsplit(server.url).port or 0))
        one.sendall(request(stream=True))
        server.wait_count(1)
        waited = not server.wait_idle(timeout_s=0.05)
        content = bytearray()
        while b"[DONE]" not in content[-100:]:
            content += one.recv(1 << 20)

    assert waited
    assert content.count(b"x") >= 20 * 400_000


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_arrives_byte_by_byte_is_handed_out_once_it_is_whole(chunked: object) -> None:
    body = b'{"model":"m","messages":[]}'
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    whole = b"POST /v1/chat/completions HTTP/1.1\r\n%b\r\n\r\n%b" % (how, framed)
    parser = Parser()
    found = []

    for at in range(len(whole)):
        parser.feed(whole[at : at + 1])
        found.append(parser.next_request())

    assert found[:-1] == [None] * (len(whole) - 1)
    assert found[-1] is not None
    assert found[-1][3] == body


def test_a_status_that_is_nobodys_standard_goes_out_as_it_is() -> None:
    with ModelServer(Reply(status=529, error="overloaded")) as server, connect(server) as one:
        one.sendall(request())
        answer = one.recv(1 << 16)

    assert answer.startswith(b"HTTP/1.1 529 Status\r\n")
    assert b'"type":"server_error"' in answer


def test_usage_goes_out_as_it_was_scripted_in_every_operation() -> None:
    usage = {"tokens": "plenty", "nothing": None}
    with ModelServer(Reply("four", usage=usage)) as server:
        found = [asked(server, path)["usage"] for path in (CHAT, RESPONSES, EMBEDDINGS)]

    assert found == [usage] * 3


def test_embeddings_without_usage_have_none() -> None:
    with ModelServer(Reply(usage_mode="never")) as server:
        assert "usage" not in asked(server, EMBEDDINGS)


def test_a_cost_and_cache_writes_are_stated_in_usage() -> None:
    reply = Reply("four", prompt_tokens=100, cache_write_tokens=60, cost_usd="0.25", service_tier="flex")
    with ModelServer(reply) as server:
        chat, responses = asked(server, CHAT), asked(server, RESPONSES)

    assert (chat["usage"]["cost"], responses["usage"]["cost"]) == (0.25, 0.25)
    assert chat["usage"]["prompt_tokens_details"]["cache_write_tokens"] == 60
    assert responses["usage"]["input_tokens_details"]["cache_write_tokens"] == 60
    assert (chat["service_tier"], responses["service_tier"]) == ("flex", "flex")


def test_visible_reasoning_goes_out_before_the_text_and_counts_as_output() -> None:
    with ModelServer(Reply("four", reasoning="two and two")) as server:
        whole = asked(server)
        deltas = [event["choices"][0]["delta"] for event in events(server, stream=True)]

    assert whole["choices"][0]["message"]["reasoning_content"] == "two and two"
    assert whole["usage"]["completion_tokens"] == 4
    assert deltas[1:3] == [{"reasoning_content": "two and two"}, {"content": "four"}]


def test_an_answer_of_tool_calls_alone_has_no_message() -> None:
    with ModelServer(Reply(tool_calls=[ToolCall("f")])) as server:
        whole = asked(server, RESPONSES)
        kinds = [event["type"] for event in events(server, RESPONSES, stream=True)]

    assert [item["type"] for item in whole["output"]] == ["function_call"]
    assert "response.output_text.delta" not in kinds
    assert kinds[-1] == "response.completed"


def test_an_endless_response_goes_on_until_the_client_leaves() -> None:
    with ModelServer(Reply(endless=True)) as server:
        with connect(server) as one:
            one.sendall(request(RESPONSES, stream=True))
            content = b""
            while content.count(b"response.output_text.delta") < 200:
                content += one.recv(1 << 16)
        idle = server.wait_idle()
        (exchange,) = server.exchanges

    assert b"response.completed" not in content
    assert idle
    assert exchange.client_left


@pytest.mark.parametrize("script", [[5], [Reply(), None]])
def test_a_script_of_anything_else_is_refused_at_once(script: Any) -> None:
    with pytest.raises(SettingsError, match="it must give Reply"):
        ModelServer(script)


def test_a_server_may_be_stopped_twice_and_reset_without_a_new_script() -> None:
    server = ModelServer("four").start()
    asked(server)
    server.reset()
    again = asked(server)["choices"][0]["message"]["content"]
    server.stop()
    server.stop()
    server.wait()

    assert again == "four"
    assert server.count == 1


def test_a_server_on_its_own_leaves_quietly_when_interrupted() -> None:
    command = [sys.executable, "-m", "tokenguard.testing.model_server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        code = process.wait(10)
        complaints = process.stderr.read()

    assert url.startswith("http://127.0.0.1:")
    assert (code, complaints) == (0, "")
