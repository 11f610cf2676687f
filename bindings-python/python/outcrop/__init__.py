"""Models and knowledge bases inside your process.

Open a :class:`Session`; it gives :class:`Model` and :class:`KnowledgeBase`. Errors are in
:mod:`outcrop.errors`, all under :class:`OutcropError`.
"""

from __future__ import annotations

from . import errors
from ._native import __version__
from .adapters import AdapterInfo, AdapterList
from .benchmark import Benchmark, Measurement
from .documents import (
    Document,
    DocumentInfo,
    FailedDocument,
    KnowledgeBaseInfo,
    KnowledgeBaseList,
    SourceInfo,
    SyncReport,
)
from .errors import OutcropError
from .knowledge_base import KnowledgeBase
from .logprobs import ChosenLogprob, LogprobList, TokenLogprob
from .model import Model
from .model_info import CatalogueEntry, ModelInfo, ModelList
from .passages import Answer, Citation, Location, Passage, PassageList, Span
from .perplexity import Perplexity, TextPerplexity
from .prefix import Prefix
from .replies import Completion, Reply, ToolUse, Usage
from .session import Session
from .statistics import EngineStatistics
from .stream import Stream

__all__ = [
    "AdapterInfo",
    "AdapterList",
    "Answer",
    "Benchmark",
    "CatalogueEntry",
    "ChosenLogprob",
    "Citation",
    "Completion",
    "Document",
    "DocumentInfo",
    "EngineStatistics",
    "FailedDocument",
    "KnowledgeBase",
    "KnowledgeBaseInfo",
    "KnowledgeBaseList",
    "Location",
    "LogprobList",
    "Measurement",
    "Model",
    "ModelInfo",
    "ModelList",
    "OutcropError",
    "Passage",
    "PassageList",
    "Perplexity",
    "Prefix",
    "Reply",
    "Session",
    "SourceInfo",
    "Span",
    "Stream",
    "SyncReport",
    "TextPerplexity",
    "TokenLogprob",
    "ToolUse",
    "Usage",
    "__version__",
    "errors",
]
