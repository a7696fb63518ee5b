"""R19: whatever bytes a server sends, what is taken as text is written and read back as it was.

`SYNTH_SOAK=1` looks at 100,000 replies; CI at 500.
"""

import json
import os
from pathlib import Path

import polars as pl
import pyarrow as pa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline import schema, store
from pipeline.run.export_file import json_line
from pipeline.stages.numbered_list import clean_reply, split_items
from pipeline.teacher.call import Answer, BadReply, read_envelope

N = 100_000 if "SYNTH_SOAK" in os.environ else 500
COLUMNS = ("row_id", "instruction")
OUTCOMES = {
    "bad_envelope", "error_in_reply", "no_choices", "no_text", "tool_calls", "refusal",
    "content_filter", "bad_text", "no_vector", "bad_vector",
}  # fmt: skip

ODD = st.sampled_from(
    ["\ud800", "\udfff\ud800", "\0", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ufffe", "\uffff",
     "\U0010ffff", "\ufeff", "\r\n", "\t", "e\u0301", "\U0001f600", "1. ", "\n2. ", "`",
     "<|im_end|>"]
)  # fmt: skip
ANY_TEXT = st.lists(ODD | st.text(max_size=8), max_size=6).map("".join) | st.text(
    st.characters(exclude_categories=())
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    """A reply as a server may write it: with any text, with a wrong member, or broken."""
    text = draw(ANY_TEXT)
    choice: dict[str, object] = {
        "message": {"content": text},
        "text": text,
        "finish_reason": "stop",
    }
    tree: dict[str, object] = {"choices": [choice], "model": draw(ANY_TEXT)}
    if draw(st.integers(0, 3)) == 0:
        where = draw(st.sampled_from([tree, choice, choice["message"]]))
        assert isinstance(where, dict)
        where[draw(st.sampled_from(["error", "refusal", "content", "usage", "choices"]))] = draw(
            VALUE
        )
    raw = json.dumps(tree, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        at, n = draw(st.integers(0, len(raw))), draw(st.integers(0, 3))
        raw = raw[:at] + draw(st.binary(max_size=4)) + raw[at + n :]
    return raw


def test_what_is_admitted_comes_back_from_parquet_and_json_lines_as_it_was(tmp_path: Path) -> None:
    admitted: list[str] = []
    refused: set[str] = set()

    @settings(max_examples=N, database=None, suppress_health_check=list(HealthCheck))
    @given(replies() | st.binary())
    @example(b'{"choices": [{"message": {"content": null}}]}')
    @example(b'{"choices": [{"message": {"content": "\\ud800"}}]}')
    @example(b"not JSON")
    def look(raw: bytes) -> None:
        for kind in ("chat", "completions"):
            found = read_envelope(kind, raw)
            if isinstance(found, BadReply):
                refused.add(found.outcome)
                found.detail.encode()
                continue
            assert isinstance(found, Answer)
            found.model.encode()
            admitted.append(found.reply.text)
            for item in split_items(clean_reply(found.reply.text)):
                item.encode()

    look()
    assert len(admitted) > N / 2
    assert {"bad_envelope", "bad_text", "no_text"} <= refused <= OUTCOMES
    for start in range(0, len(admitted), 10_000):
        texts = admitted[start : start + 10_000]
        rows = [{"row_id": str(n), "instruction": text} for n, text in enumerate(texts)]
        path = tmp_path / f"{start}.parquet"
        store.write_shard(pa.Table.from_pylist(rows, schema.arrow_schema(COLUMNS)), path, tmp_path)
        assert [row["instruction"] for row in store.read_rows([path])] == texts
        lines = b"".join(json_line(row) for row in store.read_rows([path]))
        assert [json.loads(line)["instruction"] for line in lines.decode().splitlines()] == texts
        assert pl.read_ndjson(lines)["instruction"].to_list() == texts
