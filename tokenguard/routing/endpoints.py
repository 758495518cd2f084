"""Who may answer: endpoints with what they can, cost and keep private, and what one call needs of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tokenguard.core.ladder import Rung
from tokenguard.core.money import Money
from tokenguard.errors import BadAmount, SettingsError
from tokenguard.routing.schedule import Schedule

__all__ = ["FREE", "Capability", "Endpoint", "Need", "Prior", "Rates", "Tier"]

_MILLION: Final = 1_000_000

Tier: TypeAlias = Literal["small", "large"]
Capability: TypeAlias = Literal["tools", "json", "vision"]


@dataclass(frozen=True, slots=True)
class Rates:
    """Whole pico-USD per token, >= 0."""

    input_pico: int
    output_pico: int

    @classmethod
    def per_million(cls, input: str, output: str) -> Rates:  # noqa: A002  # what price pages call it
        """Rates as price pages list them: dollars per million tokens, as decimal strings.

        Raises:
            BadAmount: one of them is no amount of dollars, or finer than a pico-dollar per token.
        """
        return cls(*(_per_token(one) for one in (input, output)))

    def cost_pico(self, prompt_tokens: int, output_tokens: int) -> int:
        """What so many tokens cost."""
        return prompt_tokens * self.input_pico + output_tokens * self.output_pico


def _per_token(per_million: str) -> int:
    pico, rest = divmod(Money(per_million).pico, _MILLION)
    if rest:
        raise BadAmount(f"{per_million!r} dollars a million is finer than a pico-dollar per token; give six decimals.")
    return pico


FREE: Final = Rates(0, 0)


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of an endpoint's speed before it has answered anything.

    Attributes:
        ttft_s: Time to first token of an empty prompt on an idle endpoint.
        prefill_tps: Prompt tokens read per second.
        output_tps: Output tokens per second of one stream.
    """

    ttft_s: float = 0.3
    prefill_tps: float = 5_000.0
    output_tps: float = 40.0


_OWN_PRIOR: Final = Prior()
_CLOUD_PRIOR: Final = Prior(ttft_s=0.6, prefill_tps=20_000.0, output_tps=60.0)
"""An assumption, held until a cloud was measured: too slow a guess, and a late call would never try it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that answers.

    Attributes:
        name: Ours, unique in a fleet; also what a session's place is hashed by.
        model: As LiteLLM takes it, such as `hosted_vllm/llama` or `openai/gpt-5-mini`.
        api_base: Where it is; None: the provider's own address.
        own: It runs on hardware that is paid for anyway.
        local: Private data may go there. Never assumed: it must be said, also of own hardware.
        marginal: What one more token costs. None: nothing where it is own; a cloud must say.
        internal: What a token costs when the hardware's price is spread over its tokens; None: `marginal`.
        context_tokens: Prompt and answer together; None: unknown, nothing is left out for its size.
        can: What it understands.
        tier: Whether it is good enough for calls that ask for a large model.
        weight: Share of calls and sessions among its peers, >= 1.
        max_concurrent: Calls of this process at a time; None: no limit.
        schedule: When it may be used; None: always.
        kv_tokens: Tokens its KV cache holds, where its metrics do not say.
        prior: Its speed until it is measured; None: `Prior()` where it is own, something faster for a cloud.
    """

    name: str
    model: str
    api_base: str | None = None
    own: bool = False
    local: bool = False
    marginal: Rates | None = None
    internal: Rates | None = None
    context_tokens: int | None = None
    can: frozenset[Capability] = frozenset({"tools", "json"})
    tier: Tier = "large"
    weight: int = 1
    max_concurrent: int | None = None
    schedule: Schedule | None = None
    kv_tokens: int | None = None
    prior: Prior | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise SettingsError(
                f"An endpoint for {self.model!r} has no name; give each one its own, as in name='gpu-a'."
            )
        if self.marginal is None and not self.own:
            raise SettingsError(
                f"Endpoint {self.name!r} is not own and has no rates; unknown is not free: give "
                "marginal=Rates(input_pico=..., output_pico=...), or own=True.",
                endpoint=self.name,
            )
        for rates in (self.marginal, self.internal):
            if rates is not None and min(rates.input_pico, rates.output_pico) < 0:
                raise BadAmount(
                    f"Endpoint {self.name!r} has a rate below zero ({rates}); give whole pico-dollars per token.",
                    endpoint=self.name,
                )
        for what, size in (
            ("weight", self.weight),
            ("context_tokens", self.context_tokens),
            ("max_concurrent", self.max_concurrent),
            ("kv_tokens", self.kv_tokens),
        ):
            if size is not None and size < 1:
                raise BadAmount(
                    f"Endpoint {self.name!r} has {what}={size}; give at least 1, or leave it out.", endpoint=self.name
                )
        speed = self.speed
        if min(speed.ttft_s, speed.prefill_tps, speed.output_tps) <= 0:
            raise BadAmount(
                f"Endpoint {self.name!r} has a prior that is not above zero ({speed}); give seconds and tokens per "
                "second above 0, or leave it out.",
                endpoint=self.name,
            )

    @property
    def options(self) -> dict[str, str]:
        """The model and its address as LiteLLM's arguments, to put over those of a call."""
        return {"model": self.model} if self.api_base is None else {"model": self.model, "api_base": self.api_base}

    @property
    def speed(self) -> Prior:
        """What is believed of it until it is measured."""
        return self.prior or (_OWN_PRIOR if self.own else _CLOUD_PRIOR)

    @property
    def billed(self) -> Rates:
        """What one more token costs."""
        return self.marginal or FREE

    @property
    def effective(self) -> Rates:
        """What a token costs with the hardware's price spread over it."""
        return self.internal or self.billed


@dataclass(frozen=True, slots=True)
class Need:
    """What one call needs, as far as choosing goes.

    Attributes:
        call_id: Decides every draw, so that the same call is decided the same way again.
        prompt_tokens: Upper bound, >= 0.
        output_tokens: Expected, >= 0.
        output_tokens_max: The most that may be sent for; None: `output_tokens`.
        uses: What the endpoint must understand.
        private: Only local endpoints may see it.
        tier: The least that is good enough; None: anything.
        deadline_s: Seconds from now until the whole answer is worthless; None: none.
        prefix_key: What names the session or its fixed prefix; calls with the same key go to the same own replica.
        warm_tokens: How much of the prompt that replica has probably kept, 0..prompt_tokens.
        rung: The highest rung that a budget on its path has reached.
    """

    call_id: str
    prompt_tokens: int
    output_tokens: int
    output_tokens_max: int | None = None
    uses: frozenset[Capability] = frozenset()
    private: bool = False
    tier: Tier | None = None
    deadline_s: float | None = None
    prefix_key: str | None = None
    warm_tokens: int = 0
    rung: Rung | None = None

    def __post_init__(self) -> None:
        if self.prompt_tokens < 0 or self.output_tokens < 0:
            raise BadAmount(
                f"A call cannot need {self.prompt_tokens} prompt and {self.output_tokens} output tokens; "
                "give counts of 0 or more."
            )
        if not 0 <= self.warm_tokens <= self.prompt_tokens:
            raise BadAmount(
                f"{self.warm_tokens} warm tokens do not fit a prompt of {self.prompt_tokens}; give 0 to "
                f"{self.prompt_tokens}."
            )

    @property
    def output_bound(self) -> int:
        """The most output tokens it may come to."""
        most = self.output_tokens_max
        return self.output_tokens if most is None else most

    @property
    def is_thrifty(self) -> bool:
        """A budget is so far spent that the cheapest must answer."""
        return self.rung is Rung.REROUTE or self.rung is Rung.FINAL

    @property
    def is_warm(self) -> bool:
        """At least half of the prompt is probably kept at its own replica."""
        return 0 < self.prompt_tokens <= 2 * self.warm_tokens
