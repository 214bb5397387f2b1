"""The table of wire formats by path: what is sent where, and to what end.

Sources: the providers' API references, the recorded exchanges, and for web interfaces the paths
that third-party clients use. ``recognition`` goes through it from the top; the first row that fits
wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A way to recognise a format; every field that is set must fit."""

    format: str | None
    """None: an exchange that is not read at all (credentials)."""
    operation: str
    path: re.Pattern[str]
    """Searched in the path without its query. Groups: model, conversation, streams."""
    host: re.Pattern[str] | None = None
    methods: frozenset[str] = frozenset({"POST"})
    everywhere: bool = False
    """It holds at hosts of no catalogue too, where the body proves it."""
    socket: bool = False
    """It is the opening of a WebSocket."""
    proven: bool = False
    """The path says so little that the body has to prove it, also at hosts of the catalogue."""


def _row(
    wire: str | None,
    operation: str,
    path: str,
    host: str | None = None,
    *,
    methods: str = "POST",
    everywhere: bool = False,
    socket: bool = False,
    proven: bool = False,
) -> Row:
    return Row(
        wire,
        operation,
        re.compile(path),
        re.compile(host) if host else None,
        frozenset(methods.split()),
        everywhere,
        socket,
        proven,
    )


_AZURE = r"/deployments/(?P<model>[^/]+)"
_CHATGPT = r"(?:chatgpt|openai)\.com$"
_THREAD = r"/threads/(?P<conversation>[^/]+)"
_GEMINI = r"/(?:models|tunedModels|endpoints|publishers/[^/]+/models)/(?P<model>[^/:]+)"
_BEDROCK = r"^/model/(?P<model>[^/]+)"
_WATSONX = r"(?:^|\.)ml\.cloud\.ibm\.com$|watsonx|cloud\.ibm\.com$"
_COHERE = r"cohere\.(?:com|ai)$"

ROWS: tuple[Row, ...] = (
    # credentials: forwarded, never read
    _row(None, "", r"/oauth2?/(?:v\d/)?token$|/copilot_internal/v2/token$|/oauth/device/code$"),
    # WebSockets
    _row("gemini-live", "chat", r"BidiGenerateContent$", everywhere=True, socket=True),
    _row("openai-realtime", "chat", r"/realtime$", everywhere=True, socket=True),
    _row("openai-live", "chat", r"/v1/live(?:/sessions)?$", everywhere=True, socket=True),
    _row("openai-responses-socket", "chat", r"/responses$", everywhere=True, socket=True),
    _row(
        "copilot-web",
        "chat",
        r"^/c/api/chat$|(?i:/chathub)",
        r"microsoft\.com$|office\.com$|bing\.com$",
        socket=True,
    ),
    # web interfaces and hosts whose paths say little
    _row("chatgpt-web", "chat", r"^/backend-(?:api|anon)/(?:f/)?conversation$", _CHATGPT),
    _row(
        "chatgpt-web",
        "chat",
        r"^/backend-api/conversation/(?P<conversation>[^/]+)$",
        _CHATGPT,
        methods="GET",
    ),
    _row(
        "openai-responses", "chat", r"^/backend-api/codex/responses$", _CHATGPT, methods="POST GET"
    ),
    _row(
        "claude-web",
        "chat",
        r"/chat_conversations/(?P<conversation>[^/]+)/(?:retry_)?completion$",
        r"claude\.ai$",
    ),
    _row(
        "claude-web",
        "chat",
        r"/chat_conversations/(?P<conversation>[^/]+)$",
        r"claude\.ai$",
        methods="GET",
    ),
    _row("gemini-web", "chat", r"(?:StreamGenerate|/batchexecute)$", r"google\.com$"),
    _row("perplexity-web", "chat", r"/rest/sse/perplexity_ask", r"perplexity\.ai$"),
    _row("deepseek-web", "chat", r"^/api/v0/chat/completion$", r"deepseek\.com$"),
    _row("grok-web", "chat", r"/rest/app-chat/conversations/", r"(?:grok\.com|x\.ai)$"),
    _row("grok-web", "chat", r"/grok/add_response\.json$", r"x\.com$"),
    _row(
        "copilot-web",
        "chat",
        r"^/c/api/chat$|/chathub",
        r"microsoft\.com$|office\.com$|bing\.com$",
        methods="POST GET",
    ),
    _row(
        "huggingchat-web",
        "chat",
        r"^/chat/conversation/(?P<conversation>[^/]+)$",
        r"huggingface\.co$",
    ),
    _row("duckchat-web", "chat", r"^/duckchat/v1/chat$", r"duckduckgo\.com$"),
    _row(
        "search",
        "search",
        r"^/(?:search|extract|crawl|answer|contents)$",
        r"tavily\.com$|exa\.ai$|perplexity\.ai$|linkup\.so$",
    ),
    # Google
    _row("gemini-live", "chat", r"BidiGenerateContent$", methods="GET POST", everywhere=True),
    _row(
        "gemini",
        "generate_content",
        rf"{_GEMINI}:(?P<streams>stream)GenerateContent$",
        everywhere=True,
    ),
    _row("gemini", "generate_content", rf"{_GEMINI}:generateContent$", everywhere=True),
    _row(
        "gemini",
        "generate_content",
        r"/v1internal:(?P<streams>stream)GenerateContent$",
        everywhere=True,
    ),
    _row(
        "gemini",
        "generate_content",
        r"/v1internal:(?:generateContent|generateChat)$",
        everywhere=True,
    ),
    _row(
        "gemini-interactions",
        "generate_content",
        r"^/v\d\w*/(?:projects/[^/]+/locations/[^/]+/)?interactions$",
        r"googleapis\.com$",
    ),
    _row(
        "gemini-interactions",
        "generate_content",
        r"^/v\d\w*/(?:projects/[^/]+/locations/[^/]+/)?interactions/[^/]+$",
        r"googleapis\.com$",
        methods="GET",
    ),
    _row("gemini", "embeddings", rf"{_GEMINI}:(?:batch)?[eE]mbedContents?$", everywhere=True),
    _row("gemini", "count_tokens", rf"{_GEMINI}:countTokens$", everywhere=True),
    _row("gemini", "create_cache", r"/cachedContents$"),
    _row(
        "anthropic-messages",
        "chat",
        r"/publishers/anthropic/models/(?P<model>[^/:]+):(?P<streams>stream)RawPredict$",
    ),
    _row(
        "anthropic-messages", "chat", r"/publishers/anthropic/models/(?P<model>[^/:]+):rawPredict$"
    ),
    _row("anthropic-messages", "count_tokens", r"/models/count-tokens:rawPredict$"),
    _row(
        "openai-chat",
        "chat",
        r"/publishers/[^/]+/models/(?P<model>[^/:]+):"
        r"(?:stream)?[rR]awPredict$",
    ),
    _row("gemini", "generate_content", rf"{_GEMINI}:predict(?:LongRunning)?$"),
    # Amazon
    _row("bedrock-converse", "chat", rf"{_BEDROCK}/converse-(?P<streams>stream)$", everywhere=True),
    _row("bedrock-converse", "chat", rf"{_BEDROCK}/converse$", everywhere=True),
    _row(
        "bedrock-invoke",
        "chat",
        rf"{_BEDROCK}/invoke-with-response-(?P<streams>stream)$",
        everywhere=True,
    ),
    _row(
        "bedrock-invoke",
        "embeddings",
        r"^/model/(?P<model>[^/]*embed[^/]*)/invoke$",
        everywhere=True,
    ),
    _row("bedrock-invoke", "chat", rf"{_BEDROCK}/invoke$", everywhere=True),
    _row("bedrock-converse", "count_tokens", rf"{_BEDROCK}/count-tokens$", everywhere=True),
    _row(
        "bedrock-agent",
        "invoke_agent",
        r"^/agents/(?P<model>[^/]+)(?:/agentAliases/[^/]+)?/sessions/(?P<conversation>[^/]+)/text$",
        r"^bedrock-agent",
    ),
    _row("bedrock-agent", "invoke_agent", r"^/agents/(?P<conversation>[^/]+)$", r"^bedrock-agent"),
    _row(
        "bedrock-agent",
        "chat",
        r"^/(?:retrieveAndGenerate(?:Stream)?|knowledgebases/[^/]+/retrieve|rerank|optimize-prompt"
        r"|generateQuery|flows/[^/]+/aliases/[^/]+)$",
        r"^bedrock-agent",
    ),
    _row("amazon-q", "chat", r"/generateAssistantResponse$|/SendMessageStreaming$"),
    _row("amazon-q", "chat", r"^/$", r"^(?:codewhisperer|q)\..*amazonaws\.com$"),
    _row(
        "sagemaker",
        "chat",
        r"^/endpoints/(?P<model>[^/]+)/invocations-response-(?P<streams>stream)$",
        everywhere=True,
    ),
    _row(
        "sagemaker",
        "chat",
        r"^/endpoints/(?P<model>[^/]+)/(?:async-)?invocations$",
        everywhere=True,
    ),
    # Cohere and ranking
    _row("cohere-chat", "chat", r"^/v2/chat$", everywhere=True),
    _row("cohere-chat-v1", "chat", r"^/(?:v1/)?chat$", _COHERE),
    _row("cohere-chat-v1", "chat", r"^/v1/chat$", everywhere=True, proven=True),
    _row("cohere-generate", "text_completion", r"^/(?:v1/)?generate$", _COHERE),
    _row("cohere-embed", "embeddings", r"^/(?:v1/|v2/)?embed$", _COHERE),
    _row("cohere-embed", "embeddings", r"^/v2/embed$", everywhere=True),
    _row(
        "cohere-task",
        "text_completion",
        r"^/v1/(?:summarize|classify|tokenize|detokenize)$",
        _COHERE,
    ),
    _row("rerank", "rerank", r"/rerank(?:ing)?$", everywhere=True),
    _row("openai-chat", "chat", r"/serving-endpoints/(?P<model>[^/]+)/invocations$"),
    _row("cloudflare", "chat", r"/accounts/[^/]+/ai/run/(?P<model>.+)$"),
    # others with a grammar of their own
    _row("openai-chat", "chat", r"/ml/v\d[^/]*/text/chat(?P<streams>_stream)?$"),
    _row(
        "watsonx-generation",
        "text_completion",
        r"/ml/v\d[^/]*/(?:text/generation|generation/text)(?P<streams>_stream)?$",
    ),
    _row(
        "watsonx-generation", "embeddings", r"/ml/v\d[^/]*/text/(?:embeddings|rerank|tokenization)$"
    ),
    _row(
        "aleph-alpha",
        "text_completion",
        r"^/(?:complete|evaluate|explain|summarize|qa)$",
        r"aleph-alpha\.com$",
    ),
    _row(
        "aleph-alpha",
        "embeddings",
        r"^/(?:embed|semantic_embed|batch_semantic_embed)$",
        r"aleph-alpha\.com$",
    ),
    _row(
        "ai21-completion",
        "text_completion",
        r"^/studio/v1/(?:[^/]+/complete|answer|paraphrase|"
        r"summarize|library/answer|gec|improvements|segmentation)$",
    ),
    _row("openai-chat", "chat", r"^/v1/chat$", r"writer\.com$"),
    _row(
        "replicate",
        "generate_content",
        r"/v1/(?:models/(?P<model>[^/]+/[^/]+)|deployments/[^/]+/"
        r"[^/]+)/predictions$",
    ),
    _row("replicate", "generate_content", r"^/v1/predictions$"),
    _row(
        "replicate",
        "generate_content",
        r"^/v1/predictions/(?P<conversation>[^/]+)$",
        r"replicate\.com$",
        methods="GET",
    ),
    _row(
        "replicate-stream",
        "generate_content",
        r"^/v1/(?:streams|files)/",
        r"replicate\.(?:net|com)$",
        methods="GET",
    ),
    _row(
        "huggingface",
        "text_completion",
        r"^/models/(?P<model>[^:]+)$",
        r"(?:huggingface\.co|hf\.co)$",
    ),
    _row(
        "huggingface",
        "text_completion",
        r"^/hf-inference/(?:models|pipeline/[^/]+)/(?P<model>.+)$",
        r"huggingface\.co$",
    ),
    _row(
        "huggingface",
        "text_completion",
        r"^/(?:generate(?:_(?P<streams>stream))?)?$",
        r"endpoints\.huggingface\.cloud$",
    ),
    _row("dashscope", "chat", r"/api/v1/services/aigc/"),
    _row("dashscope", "embeddings", r"/api/v1/services/(?:embeddings|rerank)/"),
    _row(
        "yandex",
        "text_completion",
        r"/foundationModels/v1/(?:completion|completionAsync|"
        r"tokenizeCompletion|textEmbedding)$",
    ),
    _row("openai-chat", "chat", r"/api/v2/cortex/inference:complete$"),
    _row("openai-embeddings", "embeddings", r"/api/v2/cortex/inference:embed$"),
    _row("openai-chat", "chat", r"/v1/text/chatcompletion(?:_v2|_pro)?$"),
    _row(
        "speech",
        "speech",
        r"/v1/(?:text-to-speech|speech-to-speech|speech-to-text|"
        r"sound-generation)",
        r"elevenlabs\.io$",
    ),
    _row("ollama", "chat", r"/api/chat$", everywhere=True, proven=True),
    _row("ollama", "text_completion", r"/api/generate$", everywhere=True, proven=True),
    _row("ollama", "embeddings", r"/api/embed(?:dings)?$", everywhere=True, proven=True),
    _row(
        "kserve",
        "text_completion",
        r"^/v2/models/(?P<model>[^/]+)/(?:versions/[^/]+/)?"
        r"(?:infer|generate(?:_(?P<streams>stream))?)$",
    ),
    _row("openai-live", "chat", r"/v1/live/sessions(?:/[^/]+/\w+)?$"),
    # OpenAI's shapes, at whatever host; Azure names the model in the path
    _row(
        "openai-realtime",
        "chat",
        r"/realtime(?:/sessions|/client_secrets|/calls|"
        r"/transcription_sessions)?$",
        methods="GET POST",
    ),
    _row("openai-chat", "chat", rf"{_AZURE}/(?:extensions/)?chat/completions$", everywhere=True),
    _row("openai-completions", "text_completion", rf"{_AZURE}/completions$", everywhere=True),
    _row("openai-embeddings", "embeddings", rf"{_AZURE}/embeddings$", everywhere=True),
    _row(
        "openai-images",
        "image_generation",
        rf"{_AZURE}/images/(?:generations|edits|variations)$",
        everywhere=True,
    ),
    _row(
        "openai-audio",
        "speech",
        rf"{_AZURE}/audio/(?:transcriptions|translations|speech)$",
        everywhere=True,
    ),
    _row(
        "openai-chat",
        "chat",
        r"/chat/completions(?:/[^/]+)?(?:/messages)?$",
        methods="POST GET",
        everywhere=True,
    ),
    _row(
        "openai-responses",
        "chat",
        r"/responses(?:/compact|/input_tokens)?$",
        methods="POST GET",
        everywhere=True,
    ),
    _row(
        "openai-responses",
        "chat",
        r"/responses/(?P<conversation>resp_[^/]+)(?:/input_items)?$",
        methods="GET",
    ),
    _row(
        "mistral-conversations",
        "chat",
        r"^/v1/conversations(?:/(?P<conversation>[^/#]+)(?:/restart)?)?(?:#stream)?$",
        r"mistral\.ai$",
    ),
    _row("openai-responses", "chat", r"/v1/conversations(?:/(?P<conversation>[^/]+)(?:/items)?)?$"),
    _row(
        "openai-completions",
        "text_completion",
        r"/engines/(?P<model>[^/]+)/completions$",
        everywhere=True,
    ),
    _row("openai-completions", "text_completion", r"/(?:fim/)?completions$", everywhere=True),
    _row(
        "openai-embeddings",
        "embeddings",
        r"/(?:multimodal)?(?:contextualized)?embeddings$",
        everywhere=True,
    ),
    _row("openai-moderations", "moderation", r"/(?:chat/)?moderations$", everywhere=True),
    _row(
        "openai-images",
        "image_generation",
        r"/images/(?:generations|edits|variations)$",
        everywhere=True,
    ),
    _row("openai-images", "video_generation", r"/v1/videos(?:/[^/]+/remix|/edits|/extensions)?$"),
    _row(
        "openai-audio", "speech", r"/audio/(?:transcriptions|translations|speech)$", everywhere=True
    ),
    _row("openai-assistants", "create_agent", r"/assistants(?:/[^/]+)?$", methods="POST GET"),
    _row("openai-assistants", "invoke_agent", rf"{_THREAD}/runs", methods="POST GET"),
    _row("openai-assistants", "invoke_agent", r"/threads/runs$"),
    _row("openai-assistants", "chat", rf"{_THREAD}/messages", methods="POST GET"),
    _row("openai-assistants", "chat", r"/threads$"),
    _row(
        "openai-files",
        "upload",
        r"/v1/(?:files|uploads|uploads/[^/]+/parts|containers/[^/]+/files)$",
    ),
    _row("openai-files", "download", r"/v1/files/[^/]+/content$", methods="GET"),
    _row("openai-files", "search", r"/v1/vector_stores(?:/|$)"),
    _row("openai-batches", "batch", r"/v1/(?:batches|fine_tuning/jobs)$"),
    _row("openai-traces", "trace", r"/v1/traces/ingest$"),
    _row("openai-chat", "chat", r"/v1/agents/completions$"),
    _row("openai-documents", "ocr", r"/v1/ocr$"),
    # Anthropic's
    _row("anthropic-messages", "chat", r"/v1/messages$", everywhere=True),
    _row("anthropic-messages", "count_tokens", r"/v1/messages/count_tokens$", everywhere=True),
    _row("anthropic-batches", "batch", r"/v1/messages/batches$"),
    _row("anthropic-batches", "batch", r"/v1/messages/batches/[^/]+/results$", methods="GET"),
    _row("anthropic-messages", "text_completion", r"/v1/complete$"),
    # local servers
    _row(
        "completion",
        "text_completion",
        r"^/(?:completion|infill|generate|api/v1/generate)$",
        r"^(?:localhost|127\.)",
    ),
)
