"""Rewrite tasks, round by round, into harder and into other ones, and eliminate what failed.

Source: Xu et al. 2023, "WizardLM" (arXiv:2304.12244), section 3: five operations in depth and one
in breadth with equal chance, and four rules of elimination; a failed rewriting leaves its parent to
the next round. Where we differ: the comparison is asked in both orders, three rules are added that
can be switched off (a copied parent, a text that is too long, a reply that was cut off), a teacher
that refuses to rewrite has made no task, and an input stays a column of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated, Any

from pydantic import Field, field_validator

from filters import copied_parent, information_gain, prompt_leak, refusal, stop_words, too_long
from pipeline.stage import (
    EXTENT,
    IDENTITY,
    NOT_ASKED,
    AskingConfig,
    ChainStage,
    Conversation,
    Drop,
    Reply,
    Request,
    Row,
    Sampling,
)
from pipeline.stages.evolution import (
    OPERATIONS,
    Operation,
    Source,
    descends,
    is_refused,
    measures,
    read_task,
    with_given,
)
from pipeline.stages.numbered_list import clean_reply

Verdict = tuple[str | None, str | None]
ALWAYS = ("compare", "respond")
"""The templates that a round asks with whatever its operations are."""
COMPARING = ("copied_parent", "no_information_gain")

REQUESTS = 4.0  # of a rewriting: itself, two comparisons, an answer
KEPT = 0.8  # the share of rewritings that an estimate takes to be kept
ADDED = " ".join(["again"] * 15)  # words that it takes a rewriting to add
TOKENS_A_WORD = 4  # at most, in an estimate


class Config(AskingConfig):
    """Settings of `evolve`.

    `operations` by name, each with `kind` (depth or breadth), `template` and `weight`; what a
    recipe names is laid over the six that there are. `keep_roots`: whether starting rows go on
    too. `copied` is the ROUGE-L with the parent from which a child is a copy, `longest` and
    `longest_packed` the words, or characters of Han, kana and hangul, that instruction and input
    have together; null switches them off, as `drop_cut_off` does for replies without an end.
    """

    rounds: Annotated[int, Field(ge=1, le=50), EXTENT] = 4
    operations: Annotated[dict[str, Operation], IDENTITY] = Field(
        default_factory=lambda: dict(OPERATIONS), validate_default=True
    )
    keep_roots: Annotated[bool, IDENTITY] = True
    refusal_words: Annotated[int, Field(ge=0), IDENTITY] = 80
    copied: Annotated[float | None, Field(gt=0, le=1), IDENTITY] = 0.95
    longest: Annotated[int | None, Field(ge=1), IDENTITY] = 400
    longest_packed: Annotated[int | None, Field(ge=1), IDENTITY] = 800
    drop_cut_off: Annotated[bool, IDENTITY] = True
    sampling: Sampling = Sampling(temperature=1.0, top_p=0.9, max_tokens=2048)
    compare_sampling: Sampling = Sampling(temperature=0, max_tokens=64)
    respond_sampling: Sampling = Sampling(temperature=1.0, top_p=0.9, max_tokens=2048)

    @field_validator("operations", mode="before")
    @classmethod
    def _merged(cls, given: Any) -> Any:  # noqa: ANN401 - pydantic says what is wrong with it
        return with_given(given) if isinstance(given, dict) else given

    @field_validator("operations")
    @classmethod
    def _some_chance(cls, given: dict[str, Operation]) -> dict[str, Operation]:
        if not sum(one.weight for one in given.values()):
            raise ValueError("at least one operation needs a weight above 0")
        return given


@dataclass
class _Child:
    """A rewriting on its way through a round: its parent, its row so far, and its verdict."""

    parent: Source
    operation: str
    requests: list[Request]
    row: Row
    drop: Drop | None = None

    def judge(self, verdict: Verdict, similarity: float | None = None) -> None:
        """Take the first rule that says no; `similarity` is that with the parent."""
        reason, detail = verdict
        if self.drop is None and reason is not None:
            met = self.parent.place if reason in COMPARING else None
            self.drop = Drop(reason, detail or "", met, similarity=similarity)


def work(row: Row, config: Config, rng: Random) -> Conversation:
    """Evolve one starting row for `rounds` rounds; all its children, and itself if it goes on."""
    root = Source(row["instruction"], row.get("input") or "", place=row["row_id"])
    before = row.get("round") or 0  # of a row that a run before has evolved
    entries: list[Row | Drop] = []
    if config.keep_roots:
        entries.append({"row_id": row["row_id"], "requests": (), "round": before})
    sources = [root]
    key = rng.getrandbits(64)
    for number in range(1, config.rounds + 1):
        children = yield from _one_round(row, sources, config, key, number)
        following: dict[str, list[Source]] = {}
        for child in children:
            child.row["round"] = before + number
            child.row["requests"] = (*child.parent.made_by, *child.requests)
            if child.drop is not None:
                drop = child.drop
                entries.append(replace(drop, row=child.row))
                continue
            source = Source(
                child.row["instruction"],
                child.row["input"],
                f"{child.parent.path}/{number}{child.operation}",
                len(entries),
                (*child.parent.made_by, child.requests[0]),
            )
            entries.append(child.row)
            following[child.parent.path] = [source]
            if config.operations[child.operation].kind == "breadth":
                following[child.parent.path] = [child.parent, source]
        if any(child.drop and child.drop.reason == NOT_ASKED for child in children):
            unasked = {c.parent.path for c in children if c.drop and c.drop.reason == NOT_ASKED}
            following |= {path: [] for path in unasked}  # what came after is not known
        sources = [after for source in sources for after in following.get(source.path, [source])]
    return entries


def _one_round(row: Row, sources: Sequence[Source], config: Config, key: int, number: int) -> Any:  # noqa: ANN401 - a generator: Conversation's requests and replies, children in the end
    """Rewrite every source once, and judge what comes."""
    children = []
    for source in sources:
        operation = source.draw(config.operations, key, number)
        request = Request(config.operations[operation].template, source.values)
        children.append(_Child(source, operation, [request], _row(row, source, operation)))
    replies = yield [child.requests[0] for child in children]
    for child, reply in zip(children, replies, strict=True):
        _read(child, reply, config)
    compared = [child for child in children if child.drop is None]
    for child in compared:
        child.requests += _comparisons(child)
    replies = yield [request for child in compared for request in child.requests[1:]]
    for at, child in enumerate(compared):
        _compare(child, replies[2 * at], replies[2 * at + 1], config)
    answered = [child for child in compared if child.drop is None]
    for child in answered:
        child.requests.append(Request("respond", _texts(child), sampling="respond_sampling"))
    replies = yield [child.requests[-1] for child in answered]
    for child, reply in zip(answered, replies, strict=True):
        _answer(child, reply, config)
    return children


def _row(row: Row, parent: Source, operation: str) -> Row:
    made = {
        "origin": "teacher",
        "parent_id": parent.place,
        "operation": operation,
    }
    return {name: value for name, value in descends(row).items() if name != "row_id"} | made


def _texts(child: _Child) -> dict[str, str]:
    return {"instruction": child.row["instruction"], "input": child.row["input"]}


def _read(child: _Child, reply: Reply | Drop, config: Config) -> None:
    """Read a rewriting and judge its text."""
    if isinstance(reply, Drop):
        child.drop = reply
        return
    kind = config.operations[child.operation].kind
    instruction, given = read_task(reply.text, child.parent, kind)
    child.row |= {"instruction": instruction, "input": given}
    if not instruction:
        child.judge(("empty_instruction", reply.text[:200]))
    if config.drop_cut_off and reply.is_cut_off:
        child.judge(("cut_off", f"the rewriting: {reply.finish_reason}"))
    words = config.refusal_words
    if is_refused(instruction) and not refusal.APOLOGY.search(child.parent.instruction):
        child.judge(refusal.judge(instruction, words=words, characters=2 * words))
    added = given.replace(child.parent.input, "", 1)  # what was there before tells nothing
    child.judge(prompt_leak.judge(f"{instruction}\n{added}"))
    if config.longest is not None or config.longest_packed is not None:
        limits = {"words": config.longest, "characters": config.longest_packed}
        known = {name: value if value is not None else 10**9 for name, value in limits.items()}
        child.judge(too_long.judge(f"{instruction}\n{given}", **known))
    if config.copied is not None:
        for text, before in _alike(instruction, given, child.parent, config.copied):
            reason, detail, score = copied_parent.judge(text, before, threshold=config.copied)
            child.judge((reason, detail), score)


def _alike(
    instruction: str, given: str, parent: Source, threshold: float
) -> Iterator[tuple[str, str]]:
    """What of a child is compared with what of its parent: it is a copy if one pair is.

    An input that was kept, or one that is lost, says nothing of the instruction: that alone is held
    against the parent's, and against the whole parent, whose input may have moved into it.
    """
    whole = f"{parent.instruction}\n{parent.input}"
    is_kept = copied_parent.judge(given, parent.input, threshold=threshold).reason is not None
    if given and not is_kept:
        yield f"{instruction}\n{given}", whole
    else:
        yield instruction, parent.instruction
        yield instruction, whole


def _comparisons(child: _Child) -> list[Request]:
    """Parent and child, and the other way round."""
    parent, own = child.parent.values, _texts(child)
    return [
        Request("compare", {"first": one, "second": other}, sampling="compare_sampling")
        for one, other in ((parent, own), (own, parent))
    ]


def _compare(child: _Child, first: Reply | Drop, second: Reply | Drop, config: Config) -> None:
    """Take the two verdicts in; one that was cut off before it was said is missing, not a no."""
    for reply in (first, second):
        if isinstance(reply, Drop) and child.drop is None:
            child.drop = reply
    if isinstance(first, Drop) or isinstance(second, Drop):
        return
    said = [clean_reply(reply.text) for reply in (first, second)]
    verdicts = [information_gain.says_different(text) for text in said]
    for reply, verdict in zip((first, second), verdicts, strict=True):
        if config.drop_cut_off and reply.is_cut_off and verdict is None and False not in verdicts:
            child.judge(("cut_off", f"the comparison: {reply.finish_reason}"))
    child.judge(information_gain.judge(*said))


def _answer(child: _Child, reply: Reply | Drop, config: Config) -> None:
    """Take the answer in and judge it."""
    if isinstance(reply, Drop):
        child.drop = reply
        return
    text = clean_reply(reply.text)
    child.row["output"] = text.strip()
    if config.drop_cut_off and reply.is_cut_off:
        child.judge(("cut_off", f"the answer: {reply.finish_reason}"))
    words = config.refusal_words
    child.judge(refusal.judge(text, words=words, characters=2 * words))
    child.judge(stop_words.judge(text))


def prompts(config: Config) -> tuple[str, ...]:
    """The templates of the operations that have a chance, and those that are always asked."""
    return (*(name for name, _ in named(config)), *ALWAYS)


def named(config: Config) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The templates of the operations that have a chance, each with what it is given."""
    templates = dict.fromkeys(one.template for one in config.operations.values() if one.weight)
    return tuple((name, tuple(Source("", "").values)) for name in templates)


def _rewritings(config: Config) -> float:
    """How many rewritings of a row to expect: what breadth adds is rewritten in later rounds."""
    weights = [(one.kind, one.weight) for one in config.operations.values()]
    broad = sum(weight for kind, weight in weights if kind == "breadth")
    growth = 1 + KEPT * broad / sum(weight for _, weight in weights)
    return sum(growth**number for number in range(config.rounds))


def _most_rewritings(config: Config) -> float:
    """All in breadth and all kept: each round has twice the tasks of the one before."""
    is_broad = any(one.weight and one.kind == "breadth" for one in config.operations.values())
    return float(2**config.rounds - 1 if is_broad else config.rounds)


def _most_added_tokens(config: Config) -> int | None:
    """Parent and child of a comparison, each as long as a task may get."""
    found = [config.sampling.max_tokens and 2 * config.sampling.max_tokens]  # an older input too
    if config.longest is not None and config.longest_packed is not None:
        found.append(TOKENS_A_WORD * max(config.longest, config.longest_packed))
    return min((2 * most for most in found if most), default=None)


def _stand_in(request: Request, row: Row) -> str:
    """A reply of the usual kind, for an estimate."""
    if request.template == "compare":
        return "Not Equal"
    if request.template == "respond":
        return str(row.get("output") or row["instruction"])
    return f"{request.values['instruction']} {ADDED}"


STAGE = ChainStage(
    name="evolve",
    version=3,
    summary="rewrite tasks into harder and other ones, answer them, eliminate what failed",
    config=Config,
    prompts=prompts,
    work=work,
    reads=("row_id", "instruction"),
    writes=(
        "row_id",
        "origin",
        "teacher",
        "root_id",
        "parent_id",
        "round",
        "operation",
        "instruction",
        "input",
        "output",
        "requests",
    ),
    requests_a_row=lambda config: REQUESTS * _rewritings(config),
    rows_a_row=lambda config: KEPT * _rewritings(config) + config.keep_roots,
    most_requests_a_row=lambda config: REQUESTS * _most_rewritings(config),
    most_rows_a_row=lambda config: _most_rewritings(config) + config.keep_roots,
    most_added_tokens=_most_added_tokens,
    stand_in=_stand_in,
    makes_rows=True,
    measure=measures,
    measured=("round", "instruction"),
    named=named,
)
