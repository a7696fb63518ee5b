"""What models answer, and what they lose on the answers that are there: greedy, in fixed batches.

Rows are read from one Parquet file with `prompt` (the turns to be answered) and `reference` (null
where there is none). For each model a file appears in the folder that comes out, one JSON object a
line, a batch at a time, so that a process that was killed goes on after its last whole batch:

    NAME.answers.jsonl   at, ids, finish ("stop", or "length" where the answer was cut off)
    NAME.losses.jsonl    at, loss (nats, summed), tokens

`NAME.prompts.jsonl` has the ids of each prompt, for a server that answers in place of transformers.
Batches are cut by the rows alone, never by what is there already: the same rows give the
same bytes. Needs no polars.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from pipeline.child_process import Tell
from pipeline.durable import replacing
from pipeline.errors import InputError
from pipeline.train import described
from pipeline.train.adapter_fit import check_adapter
from pipeline.train.encoding import IGNORED, Encoder
from pipeline.train.loading import loading
from pipeline.train.prompt_ids import UnwritableError
from pipeline.train.token_loss import summed_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LONGEST = 2048
"""Tokens of a context where a model's configuration says nothing."""

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """One model: what it is called, its base, and the adapter over it (null: none)."""

    name: str
    base: Path
    adapter: Path | None

    @property
    def tokenizer_folder(self) -> Path:
        """Where its tokenizer is: that of the base, so that all see the same ids."""
        return self.base


@dataclass(frozen=True, slots=True)
class Job:
    """What is done: which models, on which rows; `parts` are "prompts", "answers" and "losses"."""

    models: tuple[Judged, ...]
    rows: Path
    out: Path
    parts: tuple[str, ...]
    max_tokens: int
    batch: int


def run(job: Job, tell: Tell) -> None:
    """Do what is not there yet, and tell how it goes: `step` of `steps`, and `not_asked`, by row.

    Raises `InputError` where no row can be asked, or an adapter is of another base, before any
    weight is loaded.
    """
    _quiet()
    rows = pq.read_table(job.rows).to_pylist()
    for model in job.models:
        if model.adapter is not None:
            check_adapter(model.adapter, model.base)
    found = {model.name: _prompts(job, model, rows) for model in job.models}
    refused = {at: why for prompts in found.values() for at, why in prompts.refused.items()}
    tell({"not_asked": sorted(refused.items())})
    asked = [at for at in range(len(rows)) if at not in refused]
    if not asked:
        why = next(iter(refused.values()), "there is none")
        raise InputError(f"of {len(rows)} rows none can be asked: {why}.")
    for name in found if "prompts" in job.parts else ():
        _write_prompts(job.out / f"{name}.prompts.jsonl", found[name], asked, job.max_tokens)
    total = len(asked) * len(job.models) * len(set(job.parts) & {"answers", "losses"})
    done = 0
    for model in job.models:
        prompts = found[model.name]
        left = {part: _missing(job, model, part, asked, prompts) for part in job.parts
                if part != "prompts"}  # fmt: skip
        done += sum(len(asked) - sum(map(len, batches)) for batches in left.values())
        tell({"step": done, "steps": total})
        if not any(left.values()):
            continue
        loaded = _load(model)
        for part, batches in left.items():
            work = _answers if part == "answers" else _losses
            with (job.out / f"{model.name}.{part}.jsonl").open("a", encoding="utf-8") as file:
                for batch in batches:
                    entries = work(loaded, prompts, batch, job.max_tokens)
                    file.write("".join(json.dumps(entry) + "\n" for entry in entries))
                    file.flush()
                    done += len(batch)
                    tell({"step": done, "steps": total})
        del loaded
    tell({"answers": {model.name: _read(job, model, found[model.name]) for model in job.models}})


@dataclass(frozen=True, slots=True)
class Prompts:
    """The rows as one model reads them; `refused` says why a row cannot be asked, by its place."""

    tokenizer: PreTrainedTokenizerFast
    ids: dict[int, list[int]]
    learned: dict[int, tuple[list[int], list[tuple[int, int]]]]
    refused: dict[int, str]
    context: int
    ends: set[int]


def _prompts(job: Job, model: Judged, rows: Sequence[Mapping[str, Any]]) -> Prompts:
    """Every prompt as ids, and where there is a reference the pass that its loss is taken in."""
    tokenizer = _tokenizer(model.tokenizer_folder)
    encoder = Encoder(tokenizer)
    found = Prompts(tokenizer, {}, {}, {}, _context(model), _ends(model, tokenizer))
    for at, row in enumerate(rows):
        try:
            ids = encoder.prompt(row["prompt"])
        except UnwritableError as error:
            found.refused[at] = f"template_refuses: {error}"[:300]
            continue
        if len(ids) >= found.context:
            found.refused[at] = f"prompt_fills_the_context: {len(ids)} tokens of {found.context}"
            continue
        found.ids[at] = ids
        if row["reference"] is not None:
            turns = [*row["prompt"], {"role": "assistant", "content": row["reference"]}]
            encoded = encoder.encode(turns, found.context)
            spans = _spans(encoded.labels)
            first = len(ids)  # earlier answers of a conversation are given, not measured
            if encoded.ids[:first] != ids and spans:  # one token has what meets there
                first = spans[-1][0]
            found.learned[at] = (
                encoded.ids,
                [(max(start, first), end) for start, end in spans if end > first],
            )
    return found


def _spans(labels: Sequence[int]) -> list[tuple[int, int]]:
    """From where to where labels count; the first token is predicted from nothing.

    >>> _spans([-100, 5, 6, -100, 7])
    [(1, 3), (4, 5)]
    """
    found: list[tuple[int, int]] = []
    for at, label in enumerate(labels):
        if label == IGNORED or at == 0:
            continue
        if found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return found


def _context(model: Judged) -> int:
    virtual = 0
    if model.adapter is not None and (model.adapter / "adapter_config.json").is_file():
        config = json.loads((model.adapter / "adapter_config.json").read_text(encoding="utf-8"))
        virtual = int(config.get("num_virtual_tokens") or 0)
    return (described.positions(model.base) or LONGEST) - virtual


def _write_prompts(path: Path, prompts: Prompts, asked: Sequence[int], most: int) -> None:
    """What a server is sent: ids, and how many tokens may come."""
    lines = [
        json.dumps(
            {
                "at": at,
                "ids": prompts.ids[at],
                "most": _room(prompts, at, most),
                "ends": sorted(prompts.ends),
            }
        )
        for at in asked
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _room(prompts: Prompts, at: int, most: int) -> int:
    """The tokens that may come after a prompt."""
    return min(most, prompts.context - len(prompts.ids[at]))


def _missing(
    job: Job, model: Judged, part: str, asked: Sequence[int], prompts: Prompts
) -> list[list[int]]:
    """The batches that are not whole in the file yet; what is there of one that is cut goes."""
    wanted = [at for at in asked if part == "answers" or prompts.learned.get(at, ([], []))[1]]
    ordered = sorted(wanted, key=lambda at: (-len(prompts.ids[at]), at))
    batches = [ordered[at : at + job.batch] for at in range(0, len(ordered), job.batch)]
    path = job.out / f"{model.name}.{part}.jsonl"
    there = {entry["at"]: entry for entry in lines(path)}
    whole = [batch for batch in batches if all(at in there for at in batch)]
    rewrite(path, (there[at] for batch in whole for at in batch))
    return [batch for batch in batches if batch not in whole]


def rewrite(path: Path, entries: Iterable[Entry]) -> None:
    """Put entries in the place of a file, which a kill leaves as it was or has whole."""
    with replacing(path) as file:
        file.writelines(json.dumps(one).encode() + b"\n" for one in entries)


def lines(path: Path) -> Iterator[Entry]:
    """The whole lines of a file, of which a kill may have cut the last."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def _answers(loaded: PreTrainedModel, prompts: Prompts, batch: Sequence[int], most: int
             ) -> list[Entry]:  # fmt: skip
    """The ids that follow each prompt of a batch, the most likely one each time."""
    import torch
    from transformers import GenerationConfig

    ends = prompts.ends
    pad = prompts.tokenizer.pad_token_id
    pad = next(iter(ends), 0) if pad is None else pad
    width = max(len(prompts.ids[at]) for at in batch)
    ids = torch.full((len(batch), width), pad, dtype=torch.long)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for row, at in enumerate(batch):
        prompt = prompts.ids[at]
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    room = [_room(prompts, at, most) for at in batch]
    how = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=max(room),
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad,
    )
    model: Any = loaded
    with torch.inference_mode():
        written = model.generate(
            input_ids=ids.to(loaded.device),
            attention_mask=mask.to(loaded.device),
            generation_config=how,
        )
    new = written[:, -(written.shape[1] - width) :].tolist() if written.shape[1] > width else []
    return [
        {"at": at, **ended(new[row][:most_here], ends)}
        for row, (at, most_here) in enumerate(zip(batch, room, strict=True))
    ]


def ended(ids: Sequence[int], ends: set[int]) -> Entry:
    """An answer up to the token that ended it, which is left out.

    >>> ended([5, 6, 2, 0], {2})
    {'ids': [5, 6], 'finish': 'stop'}
    """
    for at, one in enumerate(ids):
        if one in ends:
            return {"ids": list(ids[:at]), "finish": "stop"}
    return {"ids": list(ids), "finish": "length"}


def _ends(model: Judged, tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """The tokens that end an answer: those that the model's own settings name, and the eos."""
    named: Any = None
    for name in ("generation_config.json", "config.json"):
        path = model.base / name
        if named is None and path.is_file():
            named = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    found = set(named) if isinstance(named, list) else {named}
    return {int(one) for one in (*found, tokenizer.eos_token_id) if one is not None}


def _losses(loaded: PreTrainedModel, prompts: Prompts, batch: Sequence[int], most: int
            ) -> list[Entry]:  # fmt: skip
    """The summed loss of each reference, and over how many tokens."""
    passes = [prompts.learned[at] for at in batch]
    return [
        {"at": at, "loss": loss, "tokens": sum(end - start for start, end in spans)}
        for at, loss, (_, spans) in zip(batch, summed_losses(loaded, passes), passes, strict=True)
    ]


def _read(job: Job, model: Judged, prompts: Prompts) -> list[Entry]:
    """All that is known of each row that was asked: `at`, `answer`, `tokens`, `finish`, losses."""
    losses, answers = (
        {one["at"]: one for one in lines(job.out / f"{model.name}.{part}.jsonl")}
        for part in ("losses", "answers")
    )
    found = []
    for at in sorted(losses.keys() | answers.keys()):
        lost, said = losses.get(at), answers.get(at)
        text = ""
        if said is not None:
            text = str(prompts.tokenizer.decode(said["ids"], skip_special_tokens=True))
        found.append(
            {
                "at": at,
                "answer": text,
                "tokens": 0 if said is None else len(said["ids"]),
                "finish": None if said is None else said["finish"],
                "loss": None if lost is None else lost["loss"] / lost["tokens"],
                "loss_tokens": None if lost is None else lost["tokens"],
            }
        )
    return found


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    with loading(folder):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    found: PreTrainedTokenizerFast = tokenizer
    return found


def _load(model: Judged) -> PreTrainedModel:
    """The model with its adapter, ready to be asked: float32 on a processor, bf16 on a GPU."""
    import torch
    from transformers import AutoModelForCausalLM

    has_gpu = torch.cuda.is_available()
    with loading(model.base):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model.base,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.bfloat16 if has_gpu else torch.float32,
        )
    if model.adapter is not None and (model.adapter / described.BOTTLENECK).is_file():
        from pipeline.train import bottleneck

        with loading(model.adapter):
            bottleneck_model: Any = bottleneck.load(model.base, model.adapter)
            loaded = bottleneck_model.to(loaded.dtype)
    elif model.adapter is not None:
        from peft import PeftModel

        with loading(model.adapter):
            loaded = PeftModel.from_pretrained(loaded, model.adapter, local_files_only=True)
    loaded.train(mode=False)
    found: PreTrainedModel = loaded.to("cuda") if has_gpu else loaded
    return found


def _quiet() -> None:
    import warnings

    warnings.filterwarnings("ignore")
