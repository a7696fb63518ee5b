"""What every built-in template of `format` makes of one row.

`python -m tests.renderings` writes it. The files in `golden/renderings/` are read by people before
they are committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import format_templates
from pipeline.format_templates import FormatFile
from pipeline.stages.row_values import Given, RowValues

FOLDER = Path(__file__).parent / "golden" / "renderings"

ENGLISH = {
    "text": "The ferry leaves at noon. It was full today, and three cars had to wait. "
    "Nobody on the upper deck seemed to mind the rain.",
    "label": "calm", "summary": "A full ferry left at noon in the rain.",
    "premise": "The ferry leaves at noon.", "hypothesis": "No boat leaves before one o'clock.",
    "first": "The ferry leaves at noon.", "second": "At twelve the ferry sails.",
    "context": "The ferry leaves at noon. It was full today.",
    "question": "When does the ferry leave?", "answer": "At noon.",
    "source": "The ferry is full.", "target": "Die Fähre ist voll.",
    "tokens": '["The", "Elbe", "ferry", "takes", "Ada", "across"]',
    "tags": '["O", "B-river", "O", "O", "B-person", "O"]',
}  # fmt: skip
CHINESE = {
    "text": "渡船中午开。今天坐满了人。没有人在意下雨，渡船照样准时开出，渡船很稳。",
    "label": "平静", "summary": "坐满人的渡船中午在雨中开出。",
    "premise": "渡船中午开。", "hypothesis": "一点以前没有船。",
    "first": "渡船中午开。", "second": "船在十二点出发。",
    "context": "渡船中午开。今天坐满了人。", "question": "渡船什么时候开？",
    "answer": "中午。", "source": "渡船坐满了人。", "target": "The ferry is full.",
    "tokens": '["阿", "达", "坐", "船", "过", "易", "北", "河"]',
    "tags": '["B-人物", "I-人物", "O", "O", "O", "B-河流", "I-河流", "I-河流"]',
}  # fmt: skip
LANGUAGES: dict[str, Any] = {
    "en": (ENGLISH, {"calm": "calm", "cross": "cross"}, "English", "German",
           ("Which river does the ferry cross?", "Answer in one word.", "The Elbe.",
            "Ferries here cross the Elbe.")),
    "zh": (CHINESE, {"平静": "平静", "生气": "生气"}, "中文", "英文",
           ("渡船过的是哪条河？", "用一个词回答。", "易北河。", "这里的渡船都过易北河。")),
}  # fmt: skip
WORDS = {"en": ("ferry, noon, rain", "ferry", "noon"), "zh": ("渡船、中午、下雨", "渡船", "中午")}


def rendered(file: FormatFile) -> str:
    """Every template of a file, filled in."""
    language = file.name.rpartition(".")[2]
    fields, labels, source, target, own = LANGUAGES[language]
    instruction, given, output, steps = own
    row = {
        "row_id": "r1", "instruction": instruction, "input": given, "output": output,
        "fields": [{"name": name, "text": text} for name, text in fields.items()],
    }  # fmt: skip
    languages = {"source_language": source, "target_language": target}
    found = RowValues(row, Given(values=languages, labels=labels), language)  # type: ignore[arg-type]
    shown = [
        {"question": f"{instruction}\n\n{given}", "answer": output, "instruction": instruction,
         "input": given, "output": output},
        {"question": instruction, "answer": output, "instruction": instruction, "input": "?",
         "output": output},
    ]  # fmt: skip
    beside = {"steps": steps, "shown": shown, "keywords": WORDS[language][0]}
    beside |= {"question": fields["question"], "answer": fields["answer"]}
    parts = []
    for one in file.templates:
        values = {name: beside[name] if name in beside else found.get(name) for name in one.used}
        assert None not in values.values(), (one.label, found.missing)
        made = one.render(values)
        parts.append(
            f"=== {one.label} ({one.form})\n{made.instruction}\n--- input\n{made.input}\n"
            f"--- output\n{made.output}\n"
        )
    return "\n".join(parts)


def files() -> list[FormatFile]:
    """All built-in files of templates."""
    names = (name for task in format_templates.tasks() for name in format_templates.names_of(task))
    return [format_templates.load(name) for name in names]


def main() -> None:
    """Write what they make."""
    FOLDER.mkdir(exist_ok=True)
    for file in files():
        (FOLDER / f"{file.name}.txt").write_text(rendered(file), encoding="utf-8")


if __name__ == "__main__":
    main()
