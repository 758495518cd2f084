"""Prose in fewer words, by a learned classifier (LLMLingua-2): lossy, off unless a model is named, never unmarked.

The model is loaded when the first text meets it, from a folder or by its name on Hugging Face; with `HF_HUB_OFFLINE=1`
only what is on the disk is used. What fails once is off from then on, and the text goes as it came.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any, Final

from tokenguard.core.forks import renew_in_children
from tokenguard.errors import MissingExtra
from tokenguard.prompt.lines import Kind, kind_of

__all__ = ["LearnedFolder"]

_CHARACTERS_MIN: Final = 2_000
"""Shorter prose is not worth a classifier."""
_CHARACTERS_MAX: Final = 400_000
_BATCH: Final = {"max_batch_size": 50, "max_force_token": 100}
_FORCED: Final = ("\n", "?", ".", "!")
"""Kept in any case: without its ends a sentence is another one."""


class LearnedFolder:
    """Leaves out of prose what a classifier takes for filler. Safe to use from any thread, one text at a time.

    Args:
        model: A folder, or a model's name such as `microsoft/llmlingua-2-xlm-roberta-large-meetingbank`.
        rate: The share of tokens that stays, above 0 and below 1.
        device: Where it runs, as PyTorch names it.
    """

    def __init__(self, model: str, *, rate: float = 0.5, device: str = "cpu") -> None:
        self._model, self._rate, self._device = model, rate, device
        self._compressor: Any = None
        self._failed: Exception | None = None
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._lock = threading.Lock()

    def fold(self, text: str) -> str | None:
        """The text with fewer words; None: it is no prose, is too short or too long, or nothing of it goes.

        Raises:
            MissingExtra: `llmlingua` is not installed; once, then None.
            Exception: whatever the model raised; once, then None.
        """
        if not _CHARACTERS_MIN <= len(text) <= _CHARACTERS_MAX or "```" in text or kind_of(text) is not Kind.OTHER:
            return None
        with self._lock:
            if self._failed is not None:
                return None
            try:
                if self._compressor is None:
                    self._compressor = self._loaded()
                short: str = self._compressor.compress_prompt(
                    [text],
                    rate=self._rate,
                    force_tokens=list(_FORCED),
                    force_reserve_digit=True,
                    drop_consecutive=True,
                )["compressed_prompt"]
            except Exception as failure:
                self._failed = failure
                raise
        return short if short and len(short) < len(text) else None

    def _loaded(self) -> Any:
        try:
            library = importlib.import_module("llmlingua")
        except ImportError:
            raise MissingExtra('learned= needs the extra learned: pip install "tokenguard-llm[learned]".') from None
        return library.PromptCompressor(
            model_name=self._model, device_map=self._device, use_llmlingua2=True, llmlingua2_config=dict(_BATCH)
        )
