"""Replies as JSON objects by a schema, where a stage has one and the model is asked so."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic_core import from_json

from pipeline.stage import Form, Reply


def parameters(form: Form) -> dict[str, Any]:
    """What asks a server of the OpenAI protocol for JSON by a schema."""
    asked = {"name": form.name, "strict": True, "schema": dict(form.schema)}
    return {"response_format": {"type": "json_schema", "json_schema": asked}}


def sentence(form: Form) -> str:
    """What is said to the model beside: a schema alone says nothing of what is meant."""
    *fields, last = form.schema["properties"]
    named = f"the fields {', '.join(fields)} and {last}" if fields else f"the field {last}"
    return f"Write all of it as one JSON object with {named}."


def as_text(form: Form, reply: Reply) -> Reply:
    """The reply with the text that its JSON object stands for.

    One that is no such object, of a server that takes no notice of schemas, stays as it is. Of one
    that was cut off only what is whole counts, and the beginning of a text.
    """
    try:
        found = from_json(
            reply.text, allow_partial="trailing-strings" if reply.is_cut_off else "off"
        )
    except ValueError:
        return reply
    if not isinstance(found, dict):
        return reply
    if reply.is_cut_off and not reply.text.rstrip().endswith("}") and found:
        last = list(found)[-1]
        if not isinstance(found[last], str):  # 4 may have been the beginning of 4.5
            found.pop(last)
    try:
        return dataclasses.replace(reply, text=form.text(found))
    except KeyError:
        return reply
