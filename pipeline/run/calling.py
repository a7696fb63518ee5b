"""A stage's request as the call that is sent: rendered, and with its parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.recipe import Step
from pipeline.run import structured
from pipeline.run.prepare import Prepared
from pipeline.stage import Form, Reply, Request, RowStage, Sampling
from pipeline.teacher.call import Call, canonical


def call_of(
    prepared: Prepared, step: Step, slot: int, request: Request, input_digest: Callable[[], str]
) -> Call:
    """The call of a slot, not yet numbered; `input_digest` stands for the rows of the stage."""
    model = prepared.model_of(step)
    settings = model.settings
    kind: str = settings.endpoint
    if isinstance(step.stage, RowStage) and step.stage.endpoint is not None:
        kind = step.stage.endpoint
    sampling: Sampling = getattr(step.config, request.sampling, Sampling())
    parameters = sampling.parameters()
    if "max_tokens" in parameters:
        parameters[settings.max_tokens_name] = parameters.pop("max_tokens")
    body: dict[str, Any] = {"model": model.name}
    if sha256 := model.sha256:  # other weights under one name: another request
        body["sha256"] = sha256
    if model.uri.scheme == "tiny":  # what it is depends on the rows that it learns from
        body |= {"rows": input_digest(), "seed": prepared.recipe.settings.seed}
    form = request.form if model.is_structured and "response_format" not in parameters else None
    body |= _asked(prepared, step.name, kind, request, form) | parameters
    if form is not None:
        body |= structured.parameters(form)
    return Call(
        stage=step.name,
        slot=slot,
        kind=kind,
        body=body,
        content=canonical(kind, body),
        template=request.template,
        values=request.values,
        shown=request.shown,
        limit_name=settings.max_tokens_name,
        read_as=_reader(request.form) if model.is_structured else None,
    )


def _reader(form: Form | None) -> Callable[[Reply], Reply] | None:
    return None if form is None else partial(structured.as_text, form)


def _asked(
    prepared: Prepared, step: str, kind: str, request: Request, form: Form | None
) -> dict[str, Any]:
    """The part of a body that says what is asked, as an endpoint wants it."""
    if kind == "score":
        return dict(request.values)
    template = prepared.templates[request.template]
    prompt = template.prompt(request.values, step)
    if form is not None:
        prompt = f"{prompt}\n\n{structured.sentence(form)}"
    if kind == "chat":
        system = [{"role": "system", "content": template.system}] if template.system else []
        return {"messages": [*system, {"role": "user", "content": prompt}]}
    text = "\n\n".join(part for part in (template.system, prompt) if part)
    return {"input" if kind == "embeddings" else "prompt": text}
