"""A page as its text."""

from __future__ import annotations

import sys

import pytest

from tokenguard.errors import MissingExtra
from tokenguard.prompt.html import html_text

PAGE = """<!DOCTYPE html>
<html><head><title>The title</title><style>p {}</style><script>let x = "<p>no</p>";</script></head>
<body><h2>News &amp; more</h2><p>First
line.</p><ul><li>one</li><li>two</li></ul><table><tr><th>a</th><td>1</td></tr></table>
<pre>kept
  as is</pre><noscript>nothing</noscript></body></html>"""


def test_a_page_becomes_what_it_says() -> None:
    assert html_text(PAGE) == "The title\n## News & more\nFirst line.\n- one\n- two\n| a | 1\nkept\nas is"


@pytest.mark.parametrize("text", ["", "plain text", '{"a": 1}', "<p>a fragment</p>", "a < b and <html> later"])
def test_what_is_no_page_is_left_alone(text: str) -> None:
    assert html_text(text) is None


@pytest.mark.parametrize("page", ["<html></html>", "<html><head><script>x</script></head></html>"])
def test_a_page_without_text_is_left_alone(page: str) -> None:
    assert html_text(page) is None


@pytest.mark.parametrize(
    "page", ["<html><head><body>shown", "<html><head><title>t</title>x</head></pre></pre>y", "<html><![CDATA["]
)
def test_broken_pages_do_not_raise(page: str) -> None:
    assert html_text(page) is None or isinstance(html_text(page), str)


def test_the_extractor_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trafilatura", None)

    with pytest.raises(MissingExtra, match=r"tokenguard-llm\[html\]"):
        html_text(PAGE, extractor="trafilatura")
