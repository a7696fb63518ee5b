"""The `offline` teacher as the pipeline sees it: a grammar's text in a completion's envelope.

It is named in every row that it wrote. Its tokens are words and marks, counted so that the books
have something to count; they cost nothing.
"""

from __future__ import annotations

import json
import re
from random import Random

from pipeline.teacher import offline
from pipeline.teacher.call import Call, Received

_TOKEN = re.compile(r"\w+|[^\w\s]")


class OfflineTeacher:
    """Answers at once, from (run seed, key of the call) alone."""

    name = "offline"

    def __init__(self, seed: int) -> None:
        """`seed` is the run's."""
        self._seed = seed

    async def check(self) -> None:
        """It is always there."""

    async def send(self, call: Call) -> Received:
        """Answer one call."""
        rng = Random(f"{self._seed}:{call.key().hex()}")
        answer = offline.answer(call.template, call.values, rng)
        prompt = json.dumps(call.body.get("messages") or call.body.get("prompt"))
        message = {"role": "assistant", "content": answer.text}
        choice = {"index": 0, "finish_reason": answer.finish_reason} | (
            {"message": message} if call.kind == "chat" else {"text": answer.text}
        )
        envelope = {
            "object": "chat.completion" if call.kind == "chat" else "text_completion",
            "model": self.name,
            "choices": [choice],
            "usage": {
                "prompt_tokens": len(_TOKEN.findall(prompt)),
                "completion_tokens": len(_TOKEN.findall(answer.text)),
            },
        }
        return Received(200, json.dumps(envelope, ensure_ascii=False).encode())

    async def close(self) -> None:
        """Nothing to let go of."""
