"""A classifier of sequences from a folder of this machine, as a function of texts.

No code of the folder's is run, and weights are read from safetensors alone. On a processor every
text is read by itself, so that its scores do not depend on those beside it; on a GPU in batches,
and they differ in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.train.loading import loading

BATCH = 32
LONGEST = 512
"""Tokens of a text that are read, where the model does not say less."""


def load_classifier(
    folder: Path, places: Sequence[int]
) -> Callable[[Sequence[str]], list[list[float]]]:
    """The scores, 0 to 1, of the labels at `places`, each by itself (a text can have several).

    Raises `TeacherError` where the folder cannot be loaded.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with loading(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        )
    model = model.to(device).eval()
    positions = getattr(model.config, "max_position_embeddings", LONGEST)
    longest = min(int(positions), tokenizer.model_max_length, LONGEST)
    size = BATCH if device == "cuda" else 1

    def classify(texts: Sequence[str]) -> list[list[float]]:
        scores: list[list[float]] = []
        with torch.inference_mode():
            for first in range(0, len(texts), size):
                batch = list(texts[first : first + size])
                tokens = tokenizer(
                    batch, padding=True, truncation=True, max_length=longest, return_tensors="pt"
                )
                logits = model(**tokens.to(device)).logits[:, list(places)]
                scores += torch.sigmoid(logits.double()).cpu().tolist()
        return scores

    return classify
