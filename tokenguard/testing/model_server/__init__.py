"""A model provider on this machine: real HTTP, OpenAI's formats, scripted answers, faults and honest counters.

with ModelServer(Reply("four", prompt_tokens=12)) as server:
    litellm.completion("openai/any", messages, api_base=server.url, api_key="none")
    assert server.count == 1

It serves tests of agents, the demo and benchmarks. `python -m tokenguard.testing.model_server` runs it on its own.
docs/testing.md shows every fault it can play.
"""

from tokenguard.testing.model_server.requests import RecordedRequest
from tokenguard.testing.model_server.script import Reply, Script, ToolCall
from tokenguard.testing.model_server.server import Exchange, ModelServer

__all__ = ["Exchange", "ModelServer", "RecordedRequest", "Reply", "Script", "ToolCall"]
