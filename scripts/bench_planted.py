r"""How many planted defects the filters find, and how many of their other flags are right.

    python scripts/bench_planted.py --data instructions_real.parquet \
        --prompts benchmark_prompts.parquet
    python scripts/bench_planted.py ... --score        # wrong labels and gibberish too, by `tiny`
    python scripts/bench_planted.py ... --unread       # prints other flags that nobody has read

10,000 rows are drawn from the file (instruction, input, output) and twelve kinds of defect planted
into rows of their own, `EACH` a kind, in the forms that the functions below say. Then every kind is
looked for in all rows by its own rules, with their defaults but for `broken: {full_stops: true}`
and `language` and `personal_data`, which are off by default. The data has defects of its own: of
the flags on rows without a planted one of that kind, those drawn for reading (200 over all kinds)
have a verdict in `planted_verdicts.tsv`, by the row's number in the file, and their share of right
ones stands for all. Recall is of planted rows; precision counts planted rows and other flags that
are right. An answer in another language is planted only where the row names no language and asks
for no code, as another may be right there. Cuts at a word's end and inside a Chinese clause are
reported beside the kind.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent))

from filters.broken import ITEM
from filters.code import is_code, without_fenced
from filters.personal_data import KINDS as PERSONAL
from filters.secrets import KINDS as SECRET
from filters.word_lists import one_of
from pipeline.stages import clean, decontaminate, dedup
from tests.filters.planted import EN, PLANTED, ZH

ROWS, EACH, READ = 10_000, 200, 200
UNPLANTED = 1_600  # rows without a defect that are scored beside those with one
VERDICTS = Path(__file__).parent / "planted_verdicts.tsv"
SIGN = re.compile("[\u3400-\u9fff]")
WORD = re.compile("[A-Za-z]{4,}")
SENTENCE = re.compile(r"[.!?](?=\s)")
Row = dict[str, str]


@dataclass
class Sources:
    """What defects are made of."""

    rng: Random
    rows: list[Row]
    prompts: list[str]
    used: set[int] = field(default_factory=set)
    pairs: dict[str, str] = field(default_factory=dict)
    swapped: tuple[int, Row] | None = None

    def other(self, test: Callable[[Row], bool]) -> Row:
        """A row without a defect, not to be given one, of which `test` holds."""
        return self.rows[self._other(test)]

    def _other(self, test: Callable[[Row], bool]) -> int:
        while True:
            at = self.rng.randrange(len(self.rows))
            if at not in self.used and test(self.rows[at]):
                self.used.add(at)
                return at

    def swap(self, row: Row, form: str, back: str, test: Callable[[Row], bool]) -> Row:
        """The row with the answer of another, which gets its own: both have the defect."""
        at = self._other(test)
        self.swapped = at, self.rows[at] | {"output": row["output"], "form": back}
        return row | {"output": self.rows[at]["output"], "form": form}


def is_chinese(text: str) -> bool:
    """Whether signs make up a good part of a text."""
    return 3 * len(SIGN.findall(text)) > len(text)


def duplicate(row: Row, at: int, made_of: Sources) -> Row | None:
    """The same row again, or with a word of its answer in 120 replaced: Jaccard above 0.8."""
    source = made_of.other(lambda other: len(other["output"].split()) >= 60)
    made_of.pairs[row["id"]] = source["id"]
    if at % 2:
        return row | source | {"id": row["id"], "form": "exact"}
    words = source["output"].split(" ")
    for _ in range(1 + len(words) // 120):
        words[made_of.rng.randrange(len(words))] = "perhaps"
    return row | source | {"id": row["id"], "output": " ".join(words), "form": "near"}


def contaminated(row: Row, at: int, made_of: Sources) -> Row | None:
    """A benchmark prompt as the instruction: as it is, in small letters, inside a longer text."""
    if is_chinese(row["output"]):
        return None
    prompt = made_of.rng.choice(made_of.prompts)
    if at % 3 == 0:
        return row | {"instruction": prompt, "form": "as it is"}
    if at % 3 == 1:
        return row | {"instruction": prompt.lower(), "form": "in small letters"}
    if len(prompt.split()) < 4:
        return None
    return row | {"instruction": f"Hello there. {prompt} Thank you.", "form": "in a longer text"}


def cut(row: Row, at: int, made_of: Sources) -> Row | None:
    """An answer that stops inside a bracket, an item of a list, or a word."""
    for form in made_of.rng.sample(["word", "bracket", "list"], 3):
        end = CUTS[form](row["output"], made_of.rng)
        if end is not None:
            return row | {"output": row["output"][:end], "form": form}
    return None


def cut_in_fence(row: Row, at: int, made_of: Sources) -> Row | None:
    """An answer that stops inside a fence, of which there are few: 25 at most."""
    end = in_fence(row["output"], made_of.rng) if at < 25 else None
    return None if end is None else row | {"output": row["output"][:end], "form": "fence"}


def in_fence(text: str, rng: Random) -> int | None:
    """A place between two fences."""
    fences = list(re.finditer(r"^```.*$", text, re.MULTILINE))
    if len(fences) < 2 or fences[1].start() - fences[0].end() < 10:
        return None
    return rng.randrange(fences[0].end() + 3, fences[1].start() - 2)


def in_bracket(text: str, rng: Random) -> int | None:
    """A place between brackets with some words between them."""
    inside = list(re.finditer(r"[(（\[{][^()（）\[\]{}\n]{8,}[)）\]}]", text))
    if not inside:
        return None
    met = rng.choice(inside)
    return rng.randrange(met.start() + 4, met.end() - 1)


def in_list(text: str, rng: Random) -> int | None:
    """After the mark of an item, or inside a word of it."""
    items = [met for line in re.finditer("^.+$", text, re.MULTILINE) if (met := line)]
    items = [line for line in items if ITEM.match(line[0])]
    if len(items) < 3 or is_code(without_fenced(text)):
        return None
    line = rng.choice(items[1:])
    mark = ITEM.match(line[0])
    words = [met for met in WORD.finditer(line[0]) if mark is None or met.start() >= mark.end()]
    if mark is not None and (not words or rng.random() < 0.5):
        return line.start() + mark.end()
    return line.start() + inside(rng.choice(words), rng) if words else None


def in_word(text: str, rng: Random, sentences: tuple[int, int] = (1, 10**6)) -> int | None:
    """Inside a word of the second half of an English text with so many whole sentences before."""
    if SIGN.search(text) or is_code(without_fenced(text)) or "```" in text:
        return None
    words = list(WORD.finditer(text))
    met = rng.choice(words[len(words) // 2 :]) if words else None
    if met is None or met.start() == 0:
        return None
    before = len(SENTENCE.findall(text[: met.start()]))
    return inside(met, rng) if sentences[0] <= before < sentences[1] else None


def inside(word: re.Match[str], rng: Random) -> int:
    """A place inside a word."""
    return rng.randrange(word.start() + 1, word.end())


CUTS = {"word": in_word, "bracket": in_bracket, "list": in_list}


FIRST_SENTENCE = "word of a first sentence"


def cut_elsewhere(row: Row, at: int, made_of: Sources) -> Row | None:
    """Cuts that are reported as they are, and those inside a word of an answer of one sentence."""
    text, rng = row["output"], made_of.rng
    form, end = FIRST_SENTENCE, None
    if is_chinese(text):
        form = "Chinese clause"
        signs = [met.end() for met in re.finditer("[\u4e00-\u9fff](?=[\u4e00-\u9fff])", text)]
        end = rng.choice(signs[len(signs) // 2 :]) if signs else None
    elif at % 2:
        end = in_word(text, rng, (0, 1)) if len(text.split()) >= 3 else None
    elif not SIGN.search(text) and not is_code(text):
        form = "end of a word"
        ends = [met.end() for met in re.finditer(r"[a-z]+(?= [a-z])", text)]
        end = rng.choice(ends[len(ends) // 2 :]) if ends else None
    return None if end is None else row | {"output": text[:end], "form": form}


REFUSALS = (
    "I'm sorry, but I can't help with {}.",
    "I am sorry, but I cannot assist with that request.",
    "Sorry, I'm not able to do that.",
    "I cannot fulfill this request, as it goes against my guidelines.",
    "As an AI language model, I do not have personal experience with {}.",
    "As an AI, I don't have access to real-time information about {}.",
    "I apologize, but I am unable to complete this task without more information.",
    "I'm unable to provide an answer to that.",
    "Unfortunately, I do not have the ability to look at pictures or files.",
    "I'm just an AI, and I have no opinion on {}.",
    "I won't help with that. Is there anything else that you would like to know?",
    "I must decline to answer this question.",
    "Sorry, but your request is not something that I can answer.",
    "I was trained by OpenAI and my knowledge cutoff does not include {}.",
)
CHINESE_REFUSALS = (
    "很抱歉，我无法回答关于{}的问题。",
    "对不起，我不能提供这方面的帮助。",
    "作为一个人工智能语言模型，我没有能力处理{}。",
    "抱歉，您的请求违反了我的使用规则，我不能完成。",
    "我是一个AI助手，无法访问实时信息。",
    "非常抱歉，由于没有足够的信息，我无法完成{}。",
    "作为AI，我没有个人的情感和看法。",
    "我不能协助完成这个请求。",
)


def refused(row: Row, at: int, made_of: Sources) -> Row | None:
    """A refusal or a word of an assistant about itself, alone or with more after it."""
    chinese = is_chinese(row["instruction"])
    said = made_of.rng.choice(CHINESE_REFUSALS if chinese else REFUSALS)
    about = row["instruction"][:12] if chinese else " ".join(row["instruction"].split()[1:5])
    text = said.format("“" + about.strip(" .?:") + "”")
    if at % 2:
        text += (
            "如果还有其他问题，请告诉我。" if chinese else " Please let me know what else you need."
        )
    return row | {"output": text, "form": "Chinese" if chinese else "English"}


LEAKS: tuple[tuple[str, str, str], ...] = (
    ("markup", "output", "{}<|im_end|>\n<|im_start|>user\nThank you"),
    ("markup", "output", "[/INST] {}"),
    (
        "template",
        "output",
        "{}\n\n### Instruction:\nName three rivers.\n\n### Response:\nThe Rhine",
    ),
    ("template", "output", "Below is an instruction that describes a task.\n\n{}"),
    ("template", "output", "{}\n\n### 指令：\n写一首诗"),
    ("rewriter", "instruction", "#Rewritten Prompt#:\n{}"),
    ("rewriter", "instruction", "Rewritten prompt: {}"),
    ("rewriter", "output", "Here is the rewritten prompt: {}"),
    ("rewriter", "output", "#Given Prompt#:\n{}"),
    ("rewriter", "instruction", "I want you to act as a prompt rewriter. {}"),
    ("rewriter", "instruction", "#改写后的指令#：{}"),
    ("rewriter", "output", "改写后的提示：{}"),
    ("list", "instruction", "Come up with a series of tasks:\n1. {}\n2."),
    (
        "list",
        "instruction",
        "You are asked to come up with a set of 20 diverse task instructions. {}",
    ),
    ("list", "output", "{}\n###\n4. Instruction: Name three rivers."),
    ("list", "output", "{}\n\nTask 9: Name three rivers.\nClass label: none"),
    ("list", "instruction", "请提出10个新的任务：\n1. {}"),
    ("system", "output", "You are a helpful assistant. {}"),
    ("system", "output", "System: you rate answers.\n{}"),
    ("system", "output", "你是一个乐于助人的助手。{}"),
    ("system", "output", "You are ChatGPT, a large language model. {}"),
)


def leaked(row: Row, at: int, made_of: Sources) -> Row | None:
    """A prompt, its template or its markup in the instruction or the answer."""
    form, where, text = LEAKS[at % len(LEAKS)]
    if bool(SIGN.search(text)) is not is_chinese(row["instruction"]):
        return None
    return row | {where: text.replace("{}", row[where]), "form": form}


def personal(row: Row, at: int, made_of: Sources) -> Row | None:
    """Somebody's data in the answer."""
    return _carrying(row, at, made_of, PERSONAL)


def secret(row: Row, at: int, made_of: Sources) -> Row | None:
    """A key, a token or a password in the answer."""
    return _carrying(row, at, made_of, SECRET)


def _carrying(row: Row, at: int, made_of: Sources, kinds: Sequence[str]) -> Row:
    form = kinds[at % len(kinds)]
    carrier = made_of.rng.choice(ZH if is_chinese(row["instruction"]) else EN)
    said = carrier.format(PLANTED[form](made_of.rng))
    return row | {"output": f"{row['output']}\n{said}", "form": form}


OTHER_LANGUAGES = {
    "Spanish": (
        "El río nace en las montañas del norte y llega al mar después de cruzar tres provincias.",
        "Para hacer una buena sopa hay que cortar las verduras en trozos y dejarlas cocer.",
        "La mejor manera de aprender es practicar todos los días, aunque sea durante poco tiempo.",
    ),
    "French": (
        "La ville est connue pour ses marchés, où l'on trouve des fruits de toute la région.",
        "Il faut d'abord lire le texte en entier, puis noter les idées sur une feuille.",
        "Le train part à huit heures et arrive au bord de la mer un peu avant midi.",
    ),
    "German": (
        "Zuerst werden die Äpfel geschält und geschnitten, dann kommt der Zucker dazu.",
        "Das Haus steht seit über hundert Jahren am Rand des Waldes und gehört der Gemeinde.",
        "Wer gut schlafen will, sollte am Abend nicht mehr arbeiten und das Fenster öffnen.",
    ),
}


def in_another_language(row: Row, at: int, made_of: Sources) -> Row | None:
    """The answer of a Chinese row to an English one, the other way round, or another language."""
    if not is_fit(row) or is_chinese(row["instruction"]):
        return None
    if at % 4 == 0:
        form = made_of.rng.choice(list(OTHER_LANGUAGES))
        return row | {"output": " ".join(OTHER_LANGUAGES[form]), "form": form}
    forms = "Chinese to English", "English to Chinese"
    return made_of.swap(row, *forms, lambda one: is_fit(one) and is_chinese(one["instruction"]))


def is_fit(row: Row) -> bool:
    """Whether an answer in another language than the instruction's would be wrong."""
    said = f"{row['instruction']}\n{row['input']}"
    if one_of("names_a_language").search(said) or one_of("asks_for_code").search(said):
        return False
    is_long = len(SIGN.findall(row["output"])) >= 12 or prose(row["output"])
    return is_long and is_chinese(row["instruction"]) is is_chinese(row["output"])


def prose(text: str) -> bool:
    """Whether a text is some words, and no code."""
    return len(text.split()) >= 12 and not is_code(without_fenced(text))


def looping(row: Row, at: int, made_of: Sources) -> Row | None:
    """The answer goes on with its last sentence, or with a run of words, again and again."""
    rng, text = made_of.rng, row["output"].strip()
    if is_chinese(text):
        parts = [part for part in re.split("(?<=[。！？])", text) if len(SIGN.findall(part)) >= 4]
        if not parts:
            return None
        return row | {"output": text + parts[-1] * rng.randrange(6, 20), "form": "Chinese"}
    if SIGN.search(text) or not prose(text):
        return None
    words = text.split()
    if at % 2:
        sentence = re.split(r"(?<=[.!?])\s+", text)[-1]
        if len(WORD.findall(sentence)) < 3:
            return None
        return row | {"output": text + f" {sentence}" * rng.randrange(6, 20), "form": "a sentence"}
    n = rng.randrange(3, 11)
    start = rng.randrange(len(words) - n)
    run = " ".join(words[start : start + n])
    if len(WORD.findall(run)) < 2:
        return None
    again = f" {run}" * rng.randrange(8, 25)
    return row | {"output": f"{text}{again}.", "form": "some words"}


def empty_or_copied(row: Row, at: int, made_of: Sources) -> Row | None:
    """No answer, blanks, the input, the instruction, or both."""
    task, given = row["instruction"], row["input"]
    if at % 4 == 0:
        return row | {"output": made_of.rng.choice(["", " ", "\n\n"]), "form": "empty"}
    if at % 4 == 1:
        return row | {"output": f" {task}\n", "form": "the instruction"}
    if not given.strip():
        return None
    if at % 4 == 2:
        return row | {"output": given, "form": "the input"}
    return row | {"output": f"{task}\n\n{given}", "form": "both"}


def mislabelled(row: Row, at: int, made_of: Sources) -> Row | None:
    """The answer of another row that is of like length."""
    n = len(row["output"])
    if n < 20:
        return None
    form, signs = "of like length", is_chinese(row["output"])

    def is_like(one: Row) -> bool:
        """Whether an answer is in the same script, and about as long."""
        return 0.7 * n <= len(one["output"]) <= 1.4 * n and is_chinese(one["output"]) is signs

    return made_of.swap(row, form, form, is_like)


def gibberish(row: Row, at: int, made_of: Sources) -> Row | None:
    """Letters without words, words without order, or signs without sense."""
    rng = made_of.rng
    n = max(12, len(row["output"].split()))
    if is_chinese(row["instruction"]):
        signs = "".join(chr(rng.randrange(0x4E00, 0x9FA0)) for _ in range(3 * n))
        return row | {"output": f"{signs}。", "form": "signs"}
    if at % 2:
        letters = "abcdefghijklmnopqrstuvwxyz"
        words = ["".join(rng.choices(letters, k=rng.randrange(2, 10))) for _ in range(n)]
        return row | {"output": " ".join(words) + ".", "form": "letters"}
    texts = [made_of.other(lambda one: prose(one["output"]))["output"] for _ in range(5)]
    pool = [word for text in texts for word in text.split() if not SIGN.search(word)]
    return row | {"output": " ".join(rng.choices(pool, k=n)) + ".", "form": "words"}


PLANTS: dict[str, tuple[Callable[[Row, int, Sources], Row | None], ...]] = {
    "exact and near duplicates": (duplicate,),
    "contaminated": (contaminated,),
    "truncated": (cut_in_fence, cut),
    "refusals": (refused,),
    "leaked prompts": (leaked,),
    "personal data": (personal,),
    "secrets": (secret,),
    "wrong language": (in_another_language,),
    "repetition loops": (looping,),
    "empty or copied": (empty_or_copied,),
    "wrong labels": (mislabelled,),
    "gibberish": (gibberish,),
    "truncated elsewhere": (cut_elsewhere,),
}
SCORED = {"wrong labels": "ifd", "gibberish": "perplexity"}
BESIDE = {"truncated elsewhere": "truncated"}


def planted(data: Path, prompts: Path, seed: int) -> tuple[pl.DataFrame, dict[str, str]]:
    """The rows with their defects (`kind` and `form`, null where there is none), and the copies."""
    rng = Random(seed)
    texts = ("instruction", "input", "output")
    every = pl.read_parquet(data, columns=list(texts)).with_row_index("id")
    drawn = every.sample(ROWS, seed=seed).with_columns(pl.col("id").cast(pl.String))
    rows = [
        {name: str(text or "") for name, text in row.items()} for row in drawn.iter_rows(named=True)
    ]
    items = pl.read_parquet(prompts)["text"].to_list()
    made_of = Sources(rng, rows, [str(item) for item in items])
    order = rng.sample(range(ROWS), ROWS)
    result: list[dict[str, Any]] = [row | {"kind": None, "form": None} for row in rows]
    for kind, plants in PLANTS.items():
        at = 0
        for plant, place in ((plant, place) for plant in plants for place in order):
            if at >= EACH or place in made_of.used:
                continue
            made_of.used.add(place)
            changed = plant(rows[place], at, made_of)
            if changed is None:
                made_of.used.remove(place)
                continue
            result[place] = changed | {"id": rows[place]["id"], "kind": kind}
            at += 1
            if made_of.swapped is not None:
                other, swapped = made_of.swapped
                result[other], made_of.swapped = swapped | {"kind": kind}, None
                at += 1
        if at < EACH:
            print(f"{kind}: only {at} of {EACH} rows were fit for it", file=sys.stderr)
    frame = pl.DataFrame(result, infer_schema_length=None)
    frame = frame.with_columns(row_id="id", root_id="id", parent_id=pl.lit(None, pl.String))
    return frame.with_columns(messages=pl.lit(None, pl.List(pl.String))), made_of.pairs


def by_rules(rows: pl.DataFrame, **chosen: bool | dict[str, bool]) -> dict[str, str]:
    """What rules of `clean` drop, each row with the reason and the detail."""
    off = dict.fromkeys(clean.RULES, False)
    return told(rows, clean.judge(rows.drop("messages"), clean.Config.model_validate(off | chosen)))


def told(rows: pl.DataFrame, found: pl.DataFrame) -> dict[str, str]:
    """The dropped rows of some verdicts."""
    said = rows.select("row_id").hstack(found.select("reason", "detail")).drop_nulls("reason")
    return {row: f"{reason}: {detail}" for row, reason, detail in said.rows()}


def flags(rows: pl.DataFrame, prompts: Path) -> dict[str, dict[str, str]]:
    """Rows flagged for each kind that rules find."""
    benchmarks = decontaminate.Config(benchmarks=str(prompts))
    own = by_rules(rows, leftovers=True)
    is_prompt = ("chat_markup", "leaked_prompt")
    return {
        "exact and near duplicates": told(rows, dedup.judge(rows, dedup.Config())),
        "contaminated": told(rows, decontaminate.judge(rows, benchmarks)),
        "truncated": by_rules(rows, broken={"loops": False, "garbled": False}, cut_word=True),
        "refusals": {row: said for row, said in own.items() if not said.startswith(is_prompt)},
        "leaked prompts": {row: said for row, said in own.items() if said.startswith(is_prompt)},
        "personal data": by_rules(rows, personal_data=True),
        "secrets": by_rules(rows, secrets=True),
        "wrong language": by_rules(rows, script_mismatch=True, language=True),
        "repetition loops": by_rules(
            rows,
            broken={"garbled": False, "fences": False, "brackets": False, "sentences": False},
            repetition=True,
        ),
        "empty or copied": by_rules(rows, copied=True),
    }


def scores(rows: pl.DataFrame) -> pl.DataFrame:
    """`ifd` and `output_perplexity` of each row, by the scorer `tiny` in a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "rows.parquet", Path(folder) / "run"
        rows.select("instruction", "input", "output").write_parquet(given)
        command = ["run", "difficulty", "--input", str(given), "--out", str(out)]
        subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *command, "--scorer", "tiny"], check=True
        )
        from pipeline.inspect import open_run

        return open_run(out).kept("difficulty")


def verdicts() -> dict[tuple[str, str], bool]:
    """What was read: (kind, row) -> whether the flag is right."""
    if not VERDICTS.exists():
        return {}
    lines = VERDICTS.read_text(encoding="utf-8").splitlines()[1:]
    return {
        (kind, row): said == "right" for kind, row, said, *_ in (line.split("\t") for line in lines)
    }


def drawn_for_reading(others: dict[str, dict[str, str]], n: int, seed: int) -> dict[str, list[str]]:
    """Other flags to read, as many of every kind where there are as many.

    They come by a hash, so that a flag more or less changes little of what is to be read.
    """

    def drawn_by(row: str) -> bytes:
        return hashlib.blake2b(f"{seed}:{row}".encode(), digest_size=8).digest()

    drawn = {kind: sorted(found, key=drawn_by) for kind, found in others.items()}
    taken: dict[str, list[str]] = {kind: [] for kind in drawn}
    while sum(map(len, taken.values())) < n and any(drawn.values()):
        for kind, left in drawn.items():
            if left and sum(map(len, taken.values())) < n:
                taken[kind].append(left.pop())
    return taken


@dataclass
class Line:
    """What was planted of a kind, what of it was found, and what else was flagged for it."""

    kind: str
    planted: Counter[str]  # by form
    found: Counter[str]
    missed: list[str]
    others: dict[str, str]  # flagged rows without a planted defect of the kind
    drawn: list[str] = field(default_factory=list)  # of those, to be read
    read: list[bool] = field(default_factory=list)  # whether each that was read is right

    @property
    def recall(self) -> float:
        """The share of planted rows that is found."""
        return self.found.total() / self.planted.total()

    @property
    def precision(self) -> float:
        """Planted rows and right others among all that is flagged; what nobody read is wrong."""
        share = sum(self.read) / max(1, len(self.drawn))
        hits = self.found.total()
        return (hits + share * len(self.others)) / max(1, hits + len(self.others))


def lines(rows: pl.DataFrame, pairs: dict[str, str], prompts: Path, seed: int) -> list[Line]:
    """A line for each kind that rules look for, and for what is reported beside it."""
    kinds = dict(rows.select("row_id", "kind").rows())
    forms = dict(rows.select("row_id", "form").rows())
    kinds |= {row: "truncated" for row, form in forms.items() if form == FIRST_SENTENCE}
    result: list[Line] = []
    for kind, flagged in flags(rows, prompts).items():
        beside = [name for name, of in BESIDE.items() if of == kind]
        is_own = {row for row, one in kinds.items() if one in (kind, *beside)}
        is_own |= {pairs[row] for row in is_own if row in pairs}
        others = {row: said for row, said in flagged.items() if row not in is_own}
        for name in (kind, *beside):
            line = Line(name, Counter(), Counter(), [], others if name == kind else {})
            for row in (row for row, one in kinds.items() if one == name):
                line.planted[forms[row]] += 1
                if row in flagged or pairs.get(row) in flagged:
                    line.found[forms[row]] += 1
                else:
                    line.missed.append(row)
            result.append(line)
    drawn = drawn_for_reading({line.kind: line.others for line in result}, READ, seed)
    read = verdicts()
    for line in result:
        line.drawn = drawn[line.kind]
        line.read = [read[line.kind, row] for row in line.drawn if (line.kind, row) in read]
    return result


def main() -> None:
    """Plant, look, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--score", action="store_true")
    parser.add_argument("--unread", action="store_true")
    parser.add_argument("--missed", action="store_true", help="print what is not found")
    given = parser.parse_args()
    rows, pairs = planted(given.data, given.prompts, given.seed)
    found = lines(rows, pairs, given.prompts, given.seed)
    forms = dict(rows.select("row_id", "form").rows())
    if given.unread or given.missed:
        read = verdicts()
        for line in found:
            for row in line.missed if given.missed else ():
                show(rows, row, f"{line.kind}, missed: {forms[row]}")
            for row in line.drawn if given.unread else ():
                if (line.kind, row) not in read:
                    show(rows, row, f"{line.kind}\t{line.others[row]}")
        return
    print("| kind | planted | recall | other flags | read, right | precision | recall by form |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for line in found:
        each = ", ".join(
            f"{form} {line.found[form] / n:.2f}" for form, n in sorted(line.planted.items())
        )
        told_of = f"{len(line.others)} | {len(line.read)}, {sum(line.read)} | {line.precision:.2f}"
        told_of = " | | " if line.kind in BESIDE else told_of
        print(f"| {line.kind} | {line.planted.total()} | {line.recall:.3f} | {told_of} | {each} |")
    if given.score:
        by_score(rows, given.seed)


def by_score(rows: pl.DataFrame, seed: int) -> None:
    """Wrong labels and gibberish among the highest scores of answers of like length.

    Scored are these rows and `UNPLANTED` others; high is what stands high among answers with as
    many characters, to the power of 2 below, as the stage `balance` has it.
    """
    others = rows.filter(pl.col("kind").is_null()).sample(UNPLANTED, seed=seed)
    chosen = pl.concat([rows.filter(pl.col("kind").is_in(list(SCORED))), others])
    chosen = chosen.filter(pl.col("output").str.strip_chars() != "").sample(
        fraction=1, shuffle=True, seed=seed
    )
    scored = scores(chosen).with_columns(chosen["kind"])  # the stage keeps all rows, in order
    like = pl.col("output").str.len_chars().log(2).floor()
    for name, column in SCORED.items():
        place = pl.col(column).rank("ordinal", descending=True).over(like) / pl.len().over(like)
        ranked = scored.with_columns(place=place).sort("place", nulls_last=True)
        n = scored.filter(pl.col("kind") == name).height
        for times in (1, 3):
            hits = ranked.head(times * n).filter(pl.col("kind") == name).height
            found = f"{name}, the {times * n} highest {column} of {scored.height}"
            print(f"| {found} | {n} | {hits / n:.3f} | | | {hits / (times * n):.2f} | |")


def show(rows: pl.DataFrame, row: str, said: str) -> None:
    """A row on one line."""
    at = rows.filter(pl.col("row_id") == row).row(0, named=True)
    texts = " | ".join(
        repr(text[:150] + (" ... " + text[-110:] if len(text) > 260 else text[150:]))
        for text in (at["instruction"], at["input"], at["output"])
    )
    print(f"{said}\t{row}\t{texts}")


if __name__ == "__main__":
    main()
