import gzip
import json
import os
import random
import re
import string
import subprocess
import sys
import unicodedata
from itertools import cycle
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import shingles
from filters.decontaminate import Benchmarks, decontaminate, read_benchmarks, span
from filters.shingles import tokens
from tests.soaked import soaked

ENGINES = [0, 10**9]  # characters from which the compiled one reads
WORD = st.sampled_from(["a", "b", "c", "d", "A", "b-c", "c’d", "好", "🙂", "!"])
TEXT = st.none() | st.lists(WORD, max_size=16).map(" ".join)


def judge(texts, prompts, **more):
    """The filter on rows that have only an instruction, one benchmark."""
    benchmarks = pl.DataFrame({"benchmark": "test", "text": pl.Series(prompts, dtype=pl.String)})
    empty = pl.Series([None] * len(texts), dtype=pl.String)
    return decontaminate(
        pl.Series(texts, dtype=pl.String), empty, empty, benchmarks=benchmarks, **more
    )


def longest_common_run(text, prompt):
    """Words in common, and where they start in the text: the longest, then the first."""
    runs = [(0, 0)]
    for start in range(len(text)):
        for first in range(len(prompt)):
            size = 0
            while text[start + size : start + size + 1] == prompt[first + size : first + size + 1]:
                if start + size == len(text) or first + size == len(prompt):
                    break
                size += 1
            runs.append((size, -start))
    return max(runs)


def plain_ref(text, prompts, ngram, short_ngram):
    """Comparing the words of a text with those of every prompt."""
    text = tokens(text or "")
    best, met = (0, 0, 0), None
    for item, prompt in enumerate(prompts):
        plain = prompt or ""
        without_ascii = "".join(c for c in plain if c not in string.punctuation)
        without_any = "".join(c for c in without_ascii if unicodedata.category(c)[0] != "P")
        for reading, words in enumerate(map(tokens, (plain, without_ascii, without_any))):
            size, start = longest_common_run(text, words)
            n = len(words)
            sought = ngram if n >= ngram else short_ngram if n >= short_ngram else n
            is_found = n > 0 and text == words if n < 4 else size >= sought
            rank = size, -(3 * item + reading), start
            if is_found and (met is None or rank > best):
                best, met = rank, f"test:{item}"
    return met


@pytest.mark.parametrize("small", ENGINES)
@settings(deadline=None, max_examples=80)
@given(
    texts=st.lists(TEXT, max_size=5),
    prompts=st.lists(TEXT, max_size=5),
    lengths=st.sampled_from([(13, 8), (6, 5), (9, 9)]),
)
def test_rows_are_those_that_share_words_with_a_prompt(small, texts, prompts, lengths):
    ngram, short_ngram = lengths
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shingles, "SMALL", small)
        found = judge(texts, prompts, ngram=ngram, short_ngram=short_ngram)
    assert found["ref"].to_list() == [plain_ref(text, prompts, *lengths) for text in texts]
    assert found["reason"].is_null().equals(found["ref"].is_null())


def words(n, prefix="w"):
    return [f"{prefix}{i}" for i in range(n)]


@pytest.mark.parametrize(
    ("in_prompt", "in_common", "is_found"),
    [
        (13, 13, True),
        (13, 12, False),
        (40, 13, True),
        (40, 12, False),
        (12, 8, True),
        (12, 7, False),
        (8, 8, True),
        (8, 7, False),
        (7, 7, True),
        (7, 6, False),
        (4, 4, True),
        (3, 3, False),
        (1, 1, False),
    ],
)
def test_as_many_words_are_enough_as_the_prompt_is_long(in_prompt, in_common, is_found):
    prompt = words(in_prompt)
    first = (in_prompt - in_common) // 2
    text = words(5, "x") + prompt[first : first + in_common] + words(5, "y")
    found = judge([" ".join(text)], [" ".join(prompt)])
    assert found["reason"].to_list() == ["contaminated" if is_found else None]


def test_a_prompt_below_four_words_is_found_as_the_whole_instruction_only():
    instruction = pl.Series(["Say hi!", "Say hi again", "Please say hi", "say", None])
    input = pl.Series([None, None, None, "hi", "Say hi"])
    output = pl.Series(["Hi", "", "", "", ""])
    benchmarks = pl.DataFrame({"benchmark": ["b"], "text": ["say: hi"]})
    found = decontaminate(instruction, input, output, benchmarks=benchmarks)
    assert found["ref"].to_list() == ["b:0", None, None, None, None]


def test_a_prompt_is_found_across_instruction_input_and_output():
    prompt = "Who wrote this: all happy families are alike? Answer briefly and give the title too"
    cut = prompt.index("all"), prompt.index("Answer")
    row = ([prompt[: cut[0]]], [prompt[cut[0] : cut[1]]], [prompt[cut[1] :]])
    benchmarks = pl.DataFrame({"benchmark": ["b"], "text": [prompt]})
    found = decontaminate(*map(pl.Series, row), benchmarks=benchmarks)
    assert found["detail"].item().startswith("b item 0, 15 words: ")


def test_a_dropped_row_names_benchmark_item_and_span():
    benchmarks = pl.DataFrame(
        {
            "benchmark": ["mt", "gsm", "mt"],
            "text": ["unlike", "unlike", "What’s the Capital of (old) France?"],
        }
    )
    text = pl.Series(["Tell me — what's the *capital* of OLD France, please.", "Nothing."])
    found = decontaminate(text, text, pl.Series(["", ""]), benchmarks=benchmarks)
    assert found.schema == {"reason": pl.String, "detail": pl.String, "ref": pl.String}
    assert found.row(0) == (
        "contaminated",
        'mt item 1, 7 words: "what\'s the *capital* of OLD France"',
        "mt:1",
    )
    assert found.row(1) == (None, None, None)


def test_items_are_named_by_their_column_where_there_is_one():
    benchmarks = pl.DataFrame(
        {"benchmark": ["b", "b"], "item": ["x-17", "x-18"], "text": ["other", "one two three four"]}
    )
    text = pl.Series(["one two three four five"])
    found = decontaminate(text, text, text, benchmarks=benchmarks)
    assert found["ref"].to_list() == ["b:x-18"]


def test_the_prompt_with_the_longest_span_is_named_then_the_first():
    prompts = ["a b c d", "b c d e f", "a b c d e", "a b c d e"]
    assert judge(["x a b c d e y"], prompts)["ref"].to_list() == ["test:2"]
    assert judge(["x a b c d y"], prompts)["ref"].to_list() == ["test:0"]


def test_a_long_span_is_shortened():
    prompt = " ".join(words(500))
    detail = judge([prompt], [prompt])["detail"].item()
    assert detail.startswith('test item 0, 500 words: "w0 w1 ')
    assert detail.endswith('…"')
    assert len(detail) < 350


@pytest.mark.parametrize(
    "text",
    [
        "translate “naïve café” into german",
        "TRANSLATE NAÏVE CAFÉ INTO GERMAN!",
        unicodedata.normalize("NFD", "Translate naïve café into German"),
        "Ｔｒａｎｓｌａｔｅ naïve café　into German",
        "trans\u00adlate naïve\u00a0café in\u200bto German",
        "translate\tnaïve\n\ncafé , into... German 🙂",
    ],
)
def test_case_punctuation_and_unicode_form_do_not_matter(text):
    assert judge([text], ["Translate: ‘naïve café’ into German."])["ref"].item() == "test:0"


@pytest.mark.parametrize(
    "text", ["dont spend 1000 dollars", "Don't spend 1,000 dollars", "don t spend 1 000 dollars"]
)
def test_punctuation_inside_words_may_be_missing(text):
    assert judge([text], ["Don’t spend $1,000 dollars!"])["ref"].item() == "test:0"


def test_chinese_is_compared_by_sign():
    found = judge(["好的，请写一首诗。", "写诗", "请写诗"], ["写一首诗", "写诗"])
    assert found["ref"].to_list() == ["test:0", "test:1", None]


def test_rows_and_prompts_without_words_meet_nothing():
    found = judge(["", None, "🙂", "!?"], ["", None, "🙂", "?!"])
    assert found["reason"].null_count() == 4


def test_no_rows_and_no_prompts_are_no_error():
    assert judge([], ["a b c d"]).height == 0
    assert judge(["a b c d"], [])["reason"].to_list() == [None]


def test_a_very_long_text_is_searched():
    rng = random.Random(0)
    text = [f"w{rng.randrange(50)}" for _ in range(20_000)]
    prompt = [f"w{rng.randrange(50)}" for _ in range(3000)]
    found = judge([" ".join([*text, *prompt, *text])], [" ".join(prompt)])
    assert found["detail"].item().startswith("test item 0, 300")


@settings(deadline=None)
@given(st.lists(TEXT, max_size=12), st.integers(0, 12))
def test_a_row_is_judged_alike_in_any_shard(texts, cut):
    prompts = ["a b c d", "好 a", "a b c d a b c d a b c d b"]
    whole = judge(texts, prompts)
    assert whole.height == len(texts)
    assert whole.equals(pl.concat([judge(texts[:cut], prompts), judge(texts[cut:], prompts)]))


def test_batches_do_not_change_the_verdicts(monkeypatch):
    texts = [f"{i} a b c d e" if i % 5 == 0 else f"{i} a b" for i in range(40)]
    whole = judge(texts, ["a b c d e", "7 a b"])
    monkeypatch.setattr(shingles, "BATCH", 7)
    assert judge(texts, ["a b c d e", "7 a b"]).equals(whole)
    assert whole["reason"].count() == 9


@settings(deadline=None)
@given(st.text(max_size=40) | st.lists(WORD).map(" ".join), st.data())
def test_a_span_has_the_tokens_that_it_stands_for(text, data):
    found = tokens(text)
    start = data.draw(st.integers(0, len(found)))
    end = data.draw(st.integers(start, len(found)))
    if start < end:
        shown = tokens(span(text, start, end))
        if unicodedata.is_normalized("NFKC", text):
            assert shown == found[start:end]
        assert longest_common_run(shown, found[start:end])[0] == end - start


def test_a_sign_of_several_tokens_is_shown_whole():
    assert tokens("add ¼ cup") == ["add", "1", "4", "cup"]
    assert span("add ¼ cup", 0, 2) == "add ¼"
    assert span("add ¼ cup", 2, 4) == "¼ cup"


def test_a_small_run_does_not_load_the_compiler():
    script = (
        "import sys, polars as pl; from filters.decontaminate import decontaminate;"
        "s = pl.Series([f'write {i} about {i * 7 % 13}' for i in range(500)]);"
        "b = pl.DataFrame({'benchmark': 'b', 'text': s});"
        "decontaminate(s, s, s, benchmarks=b); sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("lengths", [(13, 3), (8, 13), (0, 0)])
def test_lengths_that_cannot_be_are_refused(lengths):
    with pytest.raises(ValueError, match="ngram"):
        judge([], [], ngram=lengths[0], short_ngram=lengths[1])


def test_prompts_are_read_from_parquet_and_jsonl(tmp_path):
    frame = pl.DataFrame({"benchmark": ["b", "c", "b"], "text": ["one", "two", None], "more": 1})
    frame.write_parquet(tmp_path / "prompts.parquet")
    frame.write_ndjson(tmp_path / "prompts.jsonl")
    expected = [("b", "0", "one"), ("c", "0", "two"), ("b", "1", None)]
    for name in ("prompts.parquet", "prompts.jsonl"):
        found = read_benchmarks(tmp_path / name)
        assert found.columns == ["benchmark", "item", "text"]
        assert found.rows() == expected
        Benchmarks(found)


def test_all_lines_of_a_file_are_read_whatever_the_first_ones_hold(tmp_path):
    lines = [{"benchmark": "b", "text": f"prompt {n}"} for n in range(300)]
    lines[200] |= {"item": 7, "more": [1]}
    lines[201] |= {"item": "x-8"}
    lines[202] |= {"item": None}
    text = "\n".join(["", *map(json.dumps, lines), ""])
    (tmp_path / "prompts.jsonl").write_text("\ufeff" + text)
    (tmp_path / "prompts.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("prompts.jsonl", "prompts.jsonl.gz"):
        found = read_benchmarks(tmp_path / name)
        assert found["text"].to_list() == [line["text"] for line in lines]
        assert found["item"].to_list()[199:204] == ["line 201", "7", "x-8", "line 204", "line 205"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"benchmark": "b"}', "no column text; there are benchmark"),
        ('{"benchmark": "b", "text": ["a"]}', "text is a list"),
        ('{"benchmark": null, "text": "a"}', "benchmark is a NoneType"),
        ('{"benchmark": "b", "text": "a", "item": {}}', "item is a dict"),
        ('{"benchmark": "b", "text": "a"', "not JSON"),
        ("[1]", "a list, not an object"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(tmp_path, line, said):
    path = tmp_path / "prompts.jsonl"
    good = '{"benchmark": "b", "text": "a", "item": 1}\n'
    path.write_text(good * 200 + line + "\n" + good)
    with pytest.raises(ValueError, match=rf"prompts\.jsonl: line 201: .*{said}"):
        read_benchmarks(path)


def test_a_packed_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "prompts.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"benchmark": "b", "text": "a"}\n' * 99)[:-9])
    with pytest.raises(ValueError, match=r"gz: cannot be unpacked"):
        read_benchmarks(path)


def test_a_prompt_whose_item_is_null_is_called_by_its_row():
    prompts = {"benchmark": ["b"] * 2, "item": ["1", None], "text": ["Name the sea.", "Name me."]}
    texts, none = pl.Series(["Name me.", "No."]), pl.Series([None, None], dtype=pl.String)
    found = decontaminate(texts, none, none, benchmarks=pl.DataFrame(prompts))
    assert found["ref"].to_list() == ["b:row 2", None]


def test_a_file_of_other_columns_or_another_kind_is_refused_by_name(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"benchmark": "b", "prompt": "one"}))
    with pytest.raises(ValueError, match=r"prompts\.jsonl: .*no column text"):
        read_benchmarks(path)
    with pytest.raises(ValueError, match=r"prompts\.csv is neither"):
        read_benchmarks(tmp_path / "prompts.csv")


REFERENCE = Path(os.environ.get("SYNTH_REFERENCE_DIR", "nowhere")) / "data"


def changed_punctuation(text):
    """Every sign of punctuation replaced by the next of a few others."""
    other = cycle(";!-…、")
    return re.sub(r"[^\w\s]", lambda _: next(other), text)


PLANTS = {
    "verbatim": lambda text: text,
    "lower-cased": str.lower,
    "upper-cased": str.upper,
    "with other punctuation": changed_punctuation,
    "without punctuation": lambda text: text.translate(str.maketrans("", "", string.punctuation)),
    "with spaces for punctuation": lambda text: re.sub(r"[^\w\s]", " ", text),
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
}
LIKE_OTHERS = {"lower-cased", "with other punctuation", "with spaces for punctuation"}


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="SYNTH_REFERENCE_DIR names no folder with data/")
@pytest.mark.parametrize("plant", [soaked(name, name in LIKE_OTHERS) for name in PLANTS])
def test_every_real_prompt_is_found_planted_and_embedded(plant):
    prompts = read_benchmarks(REFERENCE / "benchmark_prompts.parquet")
    assert prompts.height == 3154
    index = Benchmarks(prompts)
    planted = [PLANTS[plant](text) for text in prompts["text"]]
    empty = pl.Series([""] * len(planted))
    found = index.find(pl.Series(planted), empty, empty)
    assert found["reason"].null_count() == 0

    long_enough = [i for i, text in enumerate(prompts["text"]) if len(tokens(text)) >= 4]
    embedded = pl.Series([f"Before that, {planted[i]}\nand then more" for i in long_enough])
    empty = empty.head(len(embedded))
    for columns in ((embedded, empty, empty), (empty, empty, embedded)):
        assert index.find(*columns)["reason"].null_count() == 0
