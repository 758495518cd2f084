"""A clerk wants values, not text: one answer is repaired for nothing, one is asked for again, one is given up."""

from typing import Literal

from pydantic import BaseModel, Field

import tokenguard as tg
from tokenguard.testing.model_server import ModelServer, RecordedRequest, Reply


class Ticket(BaseModel):
    category: Literal["billing", "bug", "other"]
    urgency: int = Field(ge=1, le=5)


triage = tg.StructuredPrompt(
    name="triage",
    role="support triager",
    task="Classify the ticket.",
    examples=(tg.Example("I was charged twice.", Ticket(category="billing", urgency=3)),),
    variables=("ticket",),
    output=Ticket,
    style="line",
)


def model(request: RecordedRequest) -> Reply:
    """It wraps its first answer in a fence, and corrects its second one when it is told what is wrong."""
    asked = str(request.messages[-1]["content"])
    if "crashes" in asked:
        return Reply("```json\n{'category': 'Bug', 'urgency': '4',}\n```", completion_tokens=26)
    if asked.startswith("Correct only this"):
        return Reply('{"category":"billing","urgency":5}', completion_tokens=12)
    if "charged" in asked:
        return Reply('{"category":"billing","urgency":11}', completion_tokens=12)
    return Reply("I would rather not say.", completion_tokens=8)


with ModelServer(model) as server, tg.Guard(database="memory") as guard:
    guard.on(tg.events.Repaired, lambda event: print("  repaired:", ", ".join(event.repairs)))
    guard.on(tg.events.Reasked, lambda event: print(f"  asked again: {event.why}, {event.wasted} wasted"))

    @guard.agent("clerk", budget=tg.Budget(usd="0.05"))
    def classify(ticket: str) -> None:
        print(ticket)
        options = {"api_base": server.url, "api_key": "none"}
        try:
            answer = guard.ask(triage, ticket=ticket, model="openai/gpt-4o", options=options)
        except tg.AnswerInvalid as error:
            print(f"  given up after {error.attempts} answers for {error.cost}: {error.why}")
            return
        print(f"  {answer.value!r} after {answer.attempts} for {answer.cost}")

    print(triage.prefix, end="\n\n")
    classify("The app crashes when I pay.")
    classify("You charged me twice!")
    classify("Hello?")
    print("\nlast correction:", server.requests[2].messages[-1]["content"].splitlines()[-1])
    print("requests:", server.count, "- longest answer allowed:", max(one.output_max or 0 for one in server.requests))
