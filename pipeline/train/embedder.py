"""Vectors from a sentence-transformers folder on this machine, in an embedding reply's envelope.

No code of the folder's is run, and weights are read from safetensors alone.
On a processor every text is encoded by itself: its numbers are then the same bytes whatever is
asked beside it, and padding to the longest of a batch costs more than a batch saves. On a GPU calls
that wait together are one batch, and a text's numbers differ in the last bits with the texts beside
it; `teacher.concurrency=1` gives the same bytes there too.
"""

from __future__ import annotations

import asyncio
import json
import logging
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import TeacherError
from pipeline.teacher.call import Call, Received
from pipeline.train.batching import Batches, first_line
from pipeline.train.loading import loading

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 64
"""The most texts that are taken at once."""
OURS = "sentence_transformers."
"""Where the code of every module of a folder has to come from."""
UNSAFE = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class LocalEmbedder:
    """Answers embedding calls from a folder; its vectors are float32 and of length 1."""

    def __init__(self, folder: Path, name: str) -> None:
        """`name` is what rows and the journal call the model; the folder is read when checked."""
        self.name = name
        self._folder = folder
        self._model: SentenceTransformer | None = None
        self._loading = asyncio.Lock()
        self._batches = Batches(self._encode, most=BATCH, cannot=f"{name} cannot embed")

    async def check(self) -> None:
        """Load the model. Raises `TeacherError` where the folder holds none that can be loaded."""
        async with self._loading:
            if self._model is None:
                self._model = await asyncio.to_thread(load, self._folder)

    async def send(self, call: Call) -> Received:
        """The vector of one text, which is encoded with those that wait beside it."""
        if call.kind != "embeddings":
            raise TeacherError(f"{self.name} answers only embeddings, not {call.kind}.")
        await self.check()
        return await self._batches.ask(call.body["input"])

    async def close(self) -> None:
        """Wait for the batch that is being encoded, and let go of the model."""
        await self._batches.finish()
        self._model = None

    def _encode(self, texts: list[str]) -> list[bytes]:
        assert self._model is not None
        return encode(self._model, self.name, texts)


def load(folder: Path) -> SentenceTransformer:
    """The model of a folder, in float32, on a GPU where there is one."""
    _check_modules(folder)
    import torch
    from sentence_transformers import SentenceTransformer

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    with loading(folder):
        model = SentenceTransformer(
            str(folder),
            device="cuda" if torch.cuda.is_available() else "cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    return model.float().eval()


def _check_modules(folder: Path) -> None:
    """Refuse a folder of another kind, one with code of its own, and weights that can hold code."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        parts = [(str(module["type"]), folder / str(module["path"])) for module in modules]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TeacherError(
            f"{folder} is no sentence-transformers folder: its modules.json cannot be read "
            f"({first_line(error)})."
        ) from error
    for kind, path in parts:
        if not kind.startswith(OURS):
            raise TeacherError(f"{folder} wants code of its own ({kind}), which is not run.")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise TeacherError(f"{folder}: modules.json names a folder outside of it.")
        has_unsafe = any(found for pattern in UNSAFE for found in path.glob(pattern))
        if has_unsafe and not any(path.glob("*.safetensors")):
            raise TeacherError(
                f"{path} has weights, but none in safetensors: save the model anew with "
                "safe_serialization."
            )


def encode(model: SentenceTransformer, name: str, texts: list[str]) -> list[bytes]:
    """One reply a text. Equal texts of a batch are encoded once."""
    import torch

    unique = list(dict.fromkeys(texts))
    with torch.inference_mode():
        counts = _token_counts(model, unique)
        vectors = model.encode(
            unique,
            batch_size=BATCH if model.device.type == "cuda" else 1,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
    replies = {
        text: _envelope(name, [float(str(x)) for x in vector], count)
        for text, vector, count in zip(unique, vectors, counts, strict=True)
    }
    return [replies[text] for text in texts]


def _token_counts(model: SentenceTransformer, texts: list[str]) -> list[int]:
    """The tokens of each text that the model reads, its marks and its prompt among them."""
    prompt = model.prompts.get(model.default_prompt_name or "")
    features: dict[str, Any] = model.preprocess(texts, prompt=prompt or None)
    if "attention_mask" in features:
        counts = features["attention_mask"].sum(dim=1).tolist()
    else:  # static vectors: all tokens in one row, and where each text begins
        begins = [*features["offsets"].tolist(), len(features["input_ids"])]
        counts = [end - begin for begin, end in pairwise(begins)]
    return [max(1, int(count)) for count in counts]


def _envelope(name: str, vector: list[float], tokens: int) -> bytes:
    tree = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": vector}],
        "model": name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
