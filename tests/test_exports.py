"""The public surface: what is promised is there, and what is there is promised."""

import importlib
import inspect
from pathlib import Path

import pytest

import tokenguard
from tokenguard import errors

ROOT = Path(tokenguard.__file__).parent
PROMISED = {
    "Answer",
    "AnswerInvalid",
    "BadAmount",
    "Budget",
    "BudgetExceeded",
    "CallTooLarge",
    "DepthExceeded",
    "Example",
    "FanOutExceeded",
    "Guard",
    "HeadroomBusy",
    "Limits",
    "LoopDetected",
    "Money",
    "NoActiveRun",
    "RunRevoked",
    "SpendRefused",
    "SpendStopped",
    "StructuredPrompt",
    "TokenguardError",
    "Unpriceable",
    "VelocityExceeded",
    "find_stop",
    "receipt_of",
    "tools_as_text",
}
CALLS = ("ask", "completion", "embedding", "responses")
ACTS = (
    "agent",
    "bind",
    "charge",
    "correct",
    "env",
    "join",
    "kill",
    "on",
    "refund",
    "resume",
    "run",
    "scope",
    "step",
    "tool",
    "top_up",
)
SETTINGS = ("budget", "busy", "database", "durability", "mode", "prices", "scope", "strict", "unattributed")
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if path.stem != "__main__" and "_migrations" not in path.parts
)


def test_the_promised_names_are_exported() -> None:
    assert PROMISED - set(tokenguard.__all__) == set()


def test_every_exported_name_is_there_and_public() -> None:
    for name in tokenguard.__all__:
        assert getattr(tokenguard, name, None) is not None, name
        assert name == "__version__" or not name.startswith("_")


def test_no_public_name_is_left_out() -> None:
    typing = {"TYPE_CHECKING", "Any"}
    names = {
        name for name, value in vars(tokenguard).items() if not name.startswith("_") and not inspect.ismodule(value)
    }

    assert names - typing <= set(tokenguard.__all__)
    assert set(dir(tokenguard)) >= set(tokenguard.__all__)


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Gaurd'"):
        _ = tokenguard.Gaurd


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_all_names_what_it_has(name: str) -> None:
    module = importlib.import_module(name)

    assert [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)] == []


def test_every_error_is_in_its_modules_all() -> None:
    made = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }

    assert made - set(errors.__all__) == set()


@pytest.mark.parametrize("name", [*CALLS, *(f"a{name}" for name in CALLS), *ACTS])
def test_a_guard_has_the_documented_verbs_with_a_docstring(name: str) -> None:
    verb = getattr(tokenguard.Guard, name)

    assert callable(verb)
    assert inspect.getdoc(verb)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_guards_settings_are_keywords(name: str) -> None:
    parameter = inspect.signature(tokenguard.Guard).parameters[name]

    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


def test_async_twins_take_the_same_arguments() -> None:
    for name in CALLS:
        sync, twin = getattr(tokenguard.Guard, name), getattr(tokenguard.Guard, f"a{name}")
        assert list(inspect.signature(sync).parameters) == list(inspect.signature(twin).parameters)
        assert inspect.iscoroutinefunction(twin)
