"""Models, knowledge bases and agents inside your process.

Open a :class:`Session`; it gives :class:`Model`, :class:`KnowledgeBase` and :class:`Agent`. Errors are in
:mod:`outcrop.errors`, all under :class:`OutcropError`.

Code that calls Amazon Bedrock through boto3 runs on it by `import outcrop as boto3`: see
:func:`client`.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import errors
from ._native import __version__
from .adapters import AdapterInfo, AdapterList
from .agent import Agent
from .agent_result import AgentResult, MemorySession, PendingCall
from .agent_trace import Trace, TraceEvent
from .aws.default_session import client, install, resource, setup_default_session, uninstall
from .benchmark import Benchmark, Measurement
from .distillation import DistillationReport, ModelReport
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
from .policies import Policy
from .prefix import Prefix
from .replies import Completion, Reply, ToolUse, Usage
from .session import Session
from .statistics import EngineStatistics
from .stream import Stream
from .tokenizer import TrainedTokenizer
from .tools import ActionGroup, Collaborator, Tool, tool
from .training import TrainingJob, TrainingMetrics, TrainingStep

__all__ = [
    "ActionGroup",
    "Collaborator",
    "AdapterInfo",
    "AdapterList",
    "Agent",
    "AgentResult",
    "Answer",
    "Benchmark",
    "CatalogueEntry",
    "ChosenLogprob",
    "Citation",
    "Completion",
    "DistillationReport",
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
    "MemorySession",
    "Model",
    "ModelInfo",
    "ModelList",
    "ModelReport",
    "OutcropError",
    "Passage",
    "PassageList",
    "PendingCall",
    "Perplexity",
    "Policy",
    "Prefix",
    "Reply",
    "Session",
    "SourceInfo",
    "Span",
    "Stream",
    "SyncReport",
    "TextPerplexity",
    "TokenLogprob",
    "Tool",
    "ToolUse",
    "Trace",
    "TraceEvent",
    "TrainedTokenizer",
    "TrainingJob",
    "TrainingMetrics",
    "TrainingStep",
    "Usage",
    "__version__",
    "client",
    "errors",
    "install",
    "resource",
    "setup_default_session",
    "tool",
    "uninstall",
]

#: What `boto3` has and this package has not: asked of boto3 itself.
_OF_BOTO3 = {"dynamodb", "ec2", "exceptions", "s3", "set_stream_logger", "utils"}


def __getattr__(name: str) -> Any:
    if name not in _OF_BOTO3:
        raise AttributeError(f"module 'outcrop' has no attribute {name!r}")
    try:
        import boto3
    except ImportError as error:
        raise AttributeError(
            f"outcrop.{name} is boto3's, which is not installed: pip install 'outcrop[boto3]'"
        ) from error
    try:
        return getattr(boto3, name)
    except AttributeError:
        return importlib.import_module(f"boto3.{name}")
