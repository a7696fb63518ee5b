"""Conversations as other data sets keep them, read as a list of role and content.

OpenAI writes `{"role": "user", "content": "Hi"}`, ShareGPT `{"from": "human", "value": "Hi"}`. What
cannot be kept whole (a tool call outside the text, a picture) is no conversation of texts: the row
is dropped and says so, rather than losing a turn.
"""

from __future__ import annotations

from pipeline.stage import Drop, Row

Message = dict[str, str]

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
    "function_call": "assistant",
}
"""What a speaker is called, and what we call it."""


def messages_of(found: object) -> list[Message] | Drop:
    """The turns of a conversation, in order, or why it is none."""
    messages = turns_of(found)
    if isinstance(messages, Drop):
        return messages
    if not user_turns(messages):
        return Drop("no_user_turn", f"{len(messages)} turns")
    return messages


def turns_of(found: object) -> list[Message] | Drop:
    """The turns of a part of a conversation, whoever they are by, or why it is none."""
    if not isinstance(found, list) or not found:
        return Drop("no_conversation", f"{type(found).__name__}, not a list of turns")
    messages: list[Message] = []
    for number, turn in enumerate(found):
        message = _message(turn, number)
        if isinstance(message, Drop):
            return message
        messages.append(message)
    return messages


def answered(prompt: list[Message], answer: list[Message]) -> list[Message]:
    """A prompt and the answer to it, which may be given with the prompt's turns before it."""
    size = len(prompt)
    is_whole = any(answer[at : at + size] == prompt for at in range(len(answer) - size + 1))
    return answer if is_whole else [*prompt, *answer]


def only_answer(turns: list[Message]) -> str | None:
    """The one answer that turns hold, after one user turn at most; null where they hold others."""
    answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
    is_one = len(answers) == 1 and turns[-1]["role"] == "assistant"
    return answers[0] if is_one and len(user_turns(turns)) <= 1 else None


def _message(turn: object, number: int) -> Message | Drop:
    if not isinstance(turn, dict):
        return Drop("no_conversation", f"turn {number} is a {type(turn).__name__}")
    role = turn.get("role") if turn.get("role") is not None else turn.get("from")
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    if not isinstance(role, str) or role.lower() not in ROLES:
        return Drop("unknown_role", f"turn {number} is by {str(role)[:60]!r}")
    if turn.get("tool_calls") or turn.get("function_call"):
        return Drop("tool_call", f"turn {number} calls a tool outside its text")
    text = _text(content)
    if text is None:
        return Drop("not_text", f"turn {number} is a {type(content).__name__}")
    if not is_unicode(text):
        return Drop("not_text", f"turn {number} is not valid Unicode")
    return {"role": ROLES[role.lower()], "content": text}


def _text(content: object) -> str | None:
    """A turn's text, also where it is a list of parts; null where a part is something else."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return None
    parts = [part.get("text") if isinstance(part, dict) else None for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if len(texts) == len(parts) else None


def is_unicode(text: str) -> bool:
    """Whether a text can be written: JSON may hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def first_exchange(messages: list[Message]) -> tuple[str, str | None]:
    """The first user turn, and the answer to it where one follows before the next user turn."""
    at = next(n for n, message in enumerate(messages) if message["role"] == "user")
    for message in messages[at + 1 :]:
        if message["role"] == "user":
            break
        if message["role"] == "assistant":
            return messages[at]["content"], message["content"]
    return messages[at]["content"], None


def whole_conversation(row: Row) -> list[Message]:
    """The conversation that a row is; none where it is one exchange, or was rewritten since."""
    turns = row.get("messages") or []
    is_of_row = turns and first_exchange(turns) == (row["instruction"], row["output"])
    return turns if is_of_row else []


def is_one_exchange(messages: list[Message]) -> bool:
    """Whether an instruction and its output say all of it."""
    return [message["role"] for message in messages] in (["user"], ["user", "assistant"])


def user_turns(messages: list[Message]) -> list[str]:
    """What the user said, turn by turn."""
    return [message["content"] for message in messages if message["role"] == "user"]
