"""Novelty: drop the instruction that is too much like one before it, measured by ROUGE-L.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), section 2.2; the reference code's
behaviour is `tokens="published", rule="published"`, and `filters.rouge` says where we differ.
"""

from filters.novelty.column import novelty
from filters.novelty.index import Nearest, NoveltyIndex, Verdicts

__all__ = ["Nearest", "NoveltyIndex", "Verdicts", "novelty"]
