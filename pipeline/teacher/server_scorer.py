"""Token loss through a server that returns prompt log-probabilities, as vLLM's does.

The server's own `/tokenize` writes the prompt by the model's chat template and gives the answer's
tokens; `/v1/completions` with token ids and `prompt_logprobs` then says how likely each was, once
after the prompt and once after its first token alone: the numbers of `pipeline.train.token_loss`.
That is four requests for a row with one answer, and for each further answer of a conversation
three, or four where its prompt does not go on from the one before; a row is one reply in the
journal.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from pipeline.teacher.answer_passes import Message, alone_passes, exchanges, given_passes
from pipeline.teacher.call import Call, Received, Teacher

T = TypeVar("T")


class ServerScorer:
    """Answers `score` calls through one served model."""

    def __init__(self, server: Teacher) -> None:
        """`server` speaks the OpenAI protocol, and vLLM's `/tokenize` beside it."""
        self.name = server.name
        self._server = server

    async def check(self) -> None:
        """Ask each server for its models, unpaid."""
        await self._server.check()

    async def close(self) -> None:
        """Let go of connections."""
        await self._server.close()

    async def send(self, call: Call) -> Received:
        """Measure one row; what the server says in place of a measurement comes back as it is."""
        try:
            answers, cut = await self._answers(call)
        except _NotMeasured as error:
            if call.body.get("messages") and error.received.status == 400:
                return self._reply([], 0, 0, 0)  # its chat template refuses the turns
            return error.received
        given, alone = given_passes(answers), alone_passes(answers)
        passes = given + alone
        found: list[tuple[float, int]] = []
        try:
            for at in range(0, len(passes), 2):
                found += await _all(*(self._loss(call, *one) for one in passes[at : at + 2]))
        except _NotMeasured as error:
            return error.received
        lost = [total for total, _ in found]
        sums = [sum(lost[: len(given)]), sum(lost[len(given) :])]
        n = sum(len(answer) for _, answer in answers)
        return self._reply(sums, n, cut, sum(billed for _, billed in found))

    async def _answers(self, call: Call) -> tuple[list[tuple[list[int], list[int]]], int]:
        """Prompts and answers as tokens, as far as they fit; and how many tokens were cut."""
        found: list[tuple[list[int], list[int]]] = []
        cut = 0
        for before, answer in _exchanges(call.body):
            asked = {"messages": before, "add_generation_prompt": True}
            text = {"prompt": answer, "add_special_tokens": False}
            written, answered = await _all(self._tokens(call, asked), self._tokens(call, text))
            prompt, context = written
            fitted = answered[0][: max(context - 1 - len(prompt), 0)]  # one is left to write
            cut += len(answered[0]) - len(fitted)
            if fitted:
                found.append((prompt, fitted))
        return found, cut

    def _reply(self, sums: Sequence[float], measured: int, cut: int, used: int) -> Received:
        means = [total / measured for total in sums] if measured else [None, None]
        tree = {
            "object": "score",
            "model": self.name,
            "loss": means[0],
            "loss_alone": means[1],
            "tokens": measured,
            "cut": cut,
            "usage": {"prompt_tokens": max(used, 1), "completion_tokens": 0},
        }
        return Received(200, json.dumps(tree).encode())

    async def _tokens(self, call: Call, asked: Mapping[str, Any]) -> tuple[list[int], int]:
        """The token ids of a text or of messages, and how many the model reads at most."""
        tree = await self._ask(call, "tokenize", {"model": self.name, **asked})
        tokens, context = tree.get("tokens"), tree.get("max_model_len")
        if not isinstance(tokens, list) or type(context) is not int:
            raise _not_measured("the server's /tokenize gives no tokens and max_model_len")
        return [int(token) for token in tokens], context

    async def _loss(
        self, call: Call, tokens: Sequence[int], spans: Sequence[tuple[int, int]]
    ) -> tuple[float, int]:
        """The summed loss of the tokens in `spans`, and the tokens that were billed."""
        tree = await self._ask(
            call,
            "completions",
            {
                "model": self.name,
                "prompt": list(tokens),
                "max_tokens": 1,
                "temperature": 0,
                "prompt_logprobs": 0,
            },
        )
        choices = tree.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        found = choice.get("prompt_logprobs")
        if not isinstance(found, list) or len(found) != len(tokens):
            raise _not_measured("the server gives no prompt_logprobs for each token")
        try:
            total = -sum(
                float(found[at][str(tokens[at])]["logprob"])
                for start, end in spans
                for at in range(start, end)
            )
            usage = tree["usage"]
            billed = int(usage["prompt_tokens"]) + int(usage["completion_tokens"])
        except (KeyError, TypeError, ValueError) as error:
            raise _not_measured(f"the server's prompt_logprobs lack {error}") from error
        return total, billed

    async def _ask(self, call: Call, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object of one request's reply."""
        received = await self._server.send(dataclasses.replace(call, kind=kind, body=body))
        if received.outcome or received.status >= 400:
            raise _NotMeasured(received)
        try:
            tree = json.loads(received.raw)
        except ValueError as error:
            raise _not_measured(f"the server's reply is not JSON: {error}") from error
        if not isinstance(tree, dict):
            raise _not_measured("the server's reply is no JSON object")
        return tree


def _exchanges(body: Mapping[str, Any]) -> list[tuple[Sequence[Message], str]]:
    """Each answer of a row with the turns before it."""
    if turns := body.get("messages"):
        return exchanges(turns)
    text = "\n\n".join(part for part in (body["instruction"], body["input"]) if part)
    return [([{"role": "user", "content": text}], body["output"])]


async def _all(*asked: Coroutine[Any, Any, T]) -> list[T]:
    """All results; where one fails the others are waited for, so that none goes unwatched."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    await asyncio.gather(*tasks, return_exceptions=True)
    return [task.result() for task in tasks]


class _NotMeasured(Exception):  # noqa: N818 - it is an outcome, handed on as what was received
    """What came in place of a measurement."""

    def __init__(self, received: Received) -> None:
        super().__init__()
        self.received = received


def _not_measured(said: str) -> _NotMeasured:
    return _NotMeasured(Received(200, json.dumps({"error": said[:300]}).encode()))
