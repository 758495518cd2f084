"""Answers that say the same in other words, by a model of static embeddings on disk; the door to model2vec.

Rule `similar_answers`: it only warns, because being similar is no proof. Nothing is ever downloaded, and vectors stay
in the memory of the process.
"""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from tokenguard.core.forks import renew_in_children
from tokenguard.core.ladder import SIMILAR_FROM
from tokenguard.errors import MissingExtra, SettingsError
from tokenguard.loops.finding import Finding

if TYPE_CHECKING:
    import numpy as np
    from model2vec import StaticModel
    from numpy.typing import NDArray

    from tokenguard.core.ladder import Loops
    from tokenguard.loops.rounds import Digester

__all__ = ["RULE", "Embedder", "Said", "SimilarAnswers"]

RULE: Final = "similar_answers"

_CHARACTERS_MIN: Final = 40
"""Shorter answers ("Done.", "Yes, go on.") are similar by nature."""
_END_CHARACTERS: Final = 2_000
"""Of a long answer so much of its start and of its end is read, which bounds the time that one takes."""

Vector: TypeAlias = "NDArray[np.float32]"
"""Of length 1, shape (n_dimensions,)."""


class Embedder:
    """Texts as vectors. The model is loaded when it is first needed; what fails once is off from then on.

    From any thread: the model changes its own tokenizer while it works, so one text is read at a time.
    """

    def __init__(self, folder: str) -> None:
        """Not loaded yet.

        Args:
            folder: A model2vec model: its `config.json`, `model.safetensors` and `tokenizer.json`.
        """
        self._folder = folder
        self._model: StaticModel | None = None
        self._off = False
        self.renew_lock()
        renew_in_children(self)

    def renew_lock(self) -> None:
        """In a forked child: see `core.forks`."""
        self._lock = Lock()

    @property
    def ready(self) -> bool:
        """Whether `vector` need not load anything."""
        return self._off or self._model is not None

    def load(self) -> None:
        """Load the model, unless that was done or tried before; takes some tenths of a second.

        Raises:
            MissingExtra: model2vec is not installed.
            SettingsError: the folder is missing, or holds no model that can be read.
        """
        with self._lock:
            if self.ready:
                return
            self._off = True
            self._model = _loaded(self._folder)
            self._off = False

    def vector(self, text: str) -> Vector | None:
        """What a text means; None: it is too short, has no word that the model knows, or the model is off.

        Raises:
            MissingExtra, SettingsError: by `load`, once.
            Exception: whatever the model raised at this text, once.
        """
        if len(text) < _CHARACTERS_MIN:
            return None
        self.load()
        with self._lock:
            if self._model is None or self._off:
                return None
            self._off = True  # It stays so where this raises.
            # Its own bound, 512 tokens as a rule, would cut the end away.
            found = self._model.encode([_readable(text)], max_length=None)[0].astype("float32")
            self._off = False
        length = float(found @ found) ** 0.5
        return found / length if length and isfinite(length) else None


class Said(NamedTuple):
    """One answer of a run."""

    vector: Vector
    by: str
    """The folder of the model: vectors of different ones cannot be compared."""
    model: str
    """Who answered."""
    began_s: float
    """Monotonic, as `ended_s`."""
    ended_s: float


class SimilarAnswers:
    """The latest answers of one run as vectors, at most a window of them; gone with the process.

    Not thread-safe: callers hold the memory's lock.
    """

    def __init__(self, digester: Digester) -> None:
        """None yet.

        Args:
            digester: Names findings.
        """
        self._digester = digester
        self._latest: list[Said] = []
        """Oldest first."""

    def noted(self, said: Said, loops: Loops) -> tuple[Finding, int] | None:
        """Note an answer; the repetition that it is, and its similarity to the least similar one in whole percent.

        An answer that began before a similar one had ended belongs to the same round and is not counted.
        """
        latest = self._latest[1 - loops.window :]
        near = [
            (one, alike)
            for one in latest
            if one.by == said.by and (alike := float(one.vector @ said.vector)) >= loops.similar_at
        ]
        if any(said.began_s < one.ended_s for one, _ in near):
            return None
        self._latest = [*latest, said]
        if len(near) + 1 < SIMILAR_FROM:
            return None
        finding = Finding(
            rule=RULE,
            repeats=len(near) + 1,
            window=loops.window,
            subject=said.model,
            fingerprint=self._digester.of(f"{RULE}\n{said.model}"),
            source="answers",
        )
        return finding, int(100 * min(alike for _, alike in near))


def _loaded(folder: str) -> StaticModel:
    """The model in a folder, and never one from the network."""
    try:
        from model2vec import StaticModel  # noqa: PLC0415  # optional, and slow to import
    except ImportError as missing:
        raise MissingExtra(
            'Loops(similar_by=...) needs model2vec: pip install "tokenguard-llm[semantic]".', extra="semantic"
        ) from missing
    place = Path(folder).expanduser().absolute()
    if not place.is_dir():
        raise SettingsError(
            f"similar_by={folder!r} is no folder. Give one with a model2vec model in it; nothing is downloaded.",
            path=str(place),
        )
    try:
        # What is no folder model2vec would look for on the Hugging Face Hub; an absolute path is no name there.
        return StaticModel.from_pretrained(place)
    except Exception as broken:
        raise SettingsError(
            f"similar_by={folder!r} holds no model that model2vec can read ({type(broken).__name__}: {broken}). "
            "It needs config.json, model.safetensors and tokenizer.json.",
            path=str(place),
        ) from broken


def _readable(text: str) -> str:
    """The start and the end of a long text, without halves of characters, which tokenizers refuse."""
    if len(text) > 2 * _END_CHARACTERS:
        text = f"{text[:_END_CHARACTERS]} {text[-_END_CHARACTERS:]}"
    return text.encode("utf-8", "replace").decode("utf-8")
