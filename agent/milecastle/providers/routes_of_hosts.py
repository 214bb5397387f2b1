"""The table of wire formats that belong to one provider or a few: paths that nobody else has.

Sources: the providers' API references, the recorded exchanges, and for web interfaces the paths
that third-party clients use.
"""

from __future__ import annotations

from milecastle.providers.row import Row, row

_CHATGPT = r"(?:chatgpt|openai)\.com$"
_GEMINI = r"/(?:models|tunedModels|endpoints|publishers/[^/]+/models)/(?P<model>[^/:]+)"
_BEDROCK = r"^/model/(?P<model>[^/]+)"
_COHERE = r"cohere\.(?:com|ai)$"

OF_HOSTS: tuple[Row, ...] = (
    # credentials: forwarded, never read
    row(None, "", r"/oauth2?/(?:v\d/)?token$|/copilot_internal/v2/token$|/oauth/device/code$"),
    # WebSockets
    row("gemini-live", "chat", r"BidiGenerateContent$", everywhere=True, socket=True),
    row("openai-realtime", "chat", r"/realtime$", everywhere=True, socket=True),
    row("openai-live", "chat", r"/v1/live(?:/sessions)?$", everywhere=True, socket=True),
    row("openai-responses-socket", "chat", r"/responses$", everywhere=True, socket=True),
    row(
        "copilot-web",
        "chat",
        r"^/c/api/chat$|(?i:/chathub)",
        r"microsoft\.com$|office\.com$|bing\.com$",
        socket=True,
    ),
    # web interfaces and hosts whose paths say little
    row("chatgpt-web", "chat", r"^/backend-(?:api|anon)/(?:f/)?conversation$", _CHATGPT),
    row(
        "chatgpt-web",
        "chat",
        r"^/backend-api/conversation/(?P<conversation>[^/]+)$",
        _CHATGPT,
        methods="GET",
    ),
    row(
        "openai-responses", "chat", r"^/backend-api/codex/responses$", _CHATGPT, methods="POST GET"
    ),
    row(
        "claude-web",
        "chat",
        r"/chat_conversations/(?P<conversation>[^/]+)/(?:retry_)?completion$",
        r"claude\.ai$",
    ),
    row(
        "claude-web",
        "chat",
        r"/chat_conversations/(?P<conversation>[^/]+)$",
        r"claude\.ai$",
        methods="GET",
    ),
    row("gemini-web", "chat", r"(?:StreamGenerate|/batchexecute)$", r"google\.com$"),
    row("perplexity-web", "chat", r"/rest/sse/perplexity_ask", r"perplexity\.ai$"),
    row("deepseek-web", "chat", r"^/api/v0/chat/completion$", r"deepseek\.com$"),
    row("grok-web", "chat", r"/rest/app-chat/conversations/", r"(?:grok\.com|x\.ai)$"),
    row("grok-web", "chat", r"/grok/add_response\.json$", r"x\.com$"),
    row(
        "copilot-web",
        "chat",
        r"^/c/api/chat$|/chathub",
        r"microsoft\.com$|office\.com$|bing\.com$",
        methods="POST GET",
    ),
    row(
        "huggingchat-web",
        "chat",
        r"^/chat/conversation/(?P<conversation>[^/]+)$",
        r"huggingface\.co$",
    ),
    row("duckchat-web", "chat", r"^/duckchat/v1/chat$", r"duckduckgo\.com$"),
    row(
        "search",
        "search",
        r"^/(?:search|extract|crawl|answer|contents)$",
        r"tavily\.com$|exa\.ai$|perplexity\.ai$|linkup\.so$",
    ),
    # Google
    row("gemini-live", "chat", r"BidiGenerateContent$", methods="GET POST", everywhere=True),
    row(
        "gemini",
        "generate_content",
        rf"{_GEMINI}:(?P<streams>stream)GenerateContent$",
        everywhere=True,
    ),
    row("gemini", "generate_content", rf"{_GEMINI}:generateContent$", everywhere=True),
    row(
        "gemini",
        "generate_content",
        r"/v1internal:(?P<streams>stream)GenerateContent$",
        everywhere=True,
    ),
    row(
        "gemini",
        "generate_content",
        r"/v1internal:(?:generateContent|generateChat)$",
        everywhere=True,
    ),
    row(
        "gemini-interactions",
        "generate_content",
        r"^/v\d\w*/(?:projects/[^/]+/locations/[^/]+/)?interactions$",
        r"googleapis\.com$",
    ),
    row(
        "gemini-interactions",
        "generate_content",
        r"^/v\d\w*/(?:projects/[^/]+/locations/[^/]+/)?interactions/[^/]+$",
        r"googleapis\.com$",
        methods="GET",
    ),
    row("gemini", "embeddings", rf"{_GEMINI}:(?:batch)?[eE]mbedContents?$", everywhere=True),
    row("gemini", "count_tokens", rf"{_GEMINI}:countTokens$", everywhere=True),
    row("gemini", "create_cache", r"/cachedContents$"),
    row(
        "anthropic-messages",
        "chat",
        r"/publishers/anthropic/models/(?P<model>[^/:]+):(?P<streams>stream)RawPredict$",
    ),
    row(
        "anthropic-messages", "chat", r"/publishers/anthropic/models/(?P<model>[^/:]+):rawPredict$"
    ),
    row("anthropic-messages", "count_tokens", r"/models/count-tokens:rawPredict$"),
    row(
        "openai-chat",
        "chat",
        r"/publishers/[^/]+/models/(?P<model>[^/:]+):"
        r"(?:stream)?[rR]awPredict$",
    ),
    row("gemini", "generate_content", rf"{_GEMINI}:predict(?:LongRunning)?$"),
    # Amazon
    row("bedrock-converse", "chat", rf"{_BEDROCK}/converse-(?P<streams>stream)$", everywhere=True),
    row("bedrock-converse", "chat", rf"{_BEDROCK}/converse$", everywhere=True),
    row(
        "bedrock-invoke",
        "chat",
        rf"{_BEDROCK}/invoke-with-response-(?P<streams>stream)$",
        everywhere=True,
    ),
    row(
        "bedrock-invoke",
        "embeddings",
        r"^/model/(?P<model>[^/]*embed[^/]*)/invoke$",
        everywhere=True,
    ),
    row("bedrock-invoke", "chat", rf"{_BEDROCK}/invoke$", everywhere=True),
    row("bedrock-converse", "count_tokens", rf"{_BEDROCK}/count-tokens$", everywhere=True),
    row(
        "bedrock-agent",
        "invoke_agent",
        r"^/agents/(?P<model>[^/]+)(?:/agentAliases/[^/]+)?/sessions/(?P<conversation>[^/]+)/text$",
        r"^bedrock-agent",
    ),
    row("bedrock-agent", "invoke_agent", r"^/agents/(?P<conversation>[^/]+)$", r"^bedrock-agent"),
    row(
        "bedrock-agent",
        "chat",
        r"^/(?:retrieveAndGenerate(?:Stream)?|knowledgebases/[^/]+/retrieve|rerank|optimize-prompt"
        r"|generateQuery|flows/[^/]+/aliases/[^/]+)$",
        r"^bedrock-agent",
    ),
    row("amazon-q", "chat", r"/generateAssistantResponse$|/SendMessageStreaming$"),
    row("amazon-q", "chat", r"^/$", r"^(?:codewhisperer|q)\..*amazonaws\.com$"),
    row(
        "sagemaker",
        "chat",
        r"^/endpoints/(?P<model>[^/]+)/invocations-response-(?P<streams>stream)$",
        everywhere=True,
    ),
    row(
        "sagemaker",
        "chat",
        r"^/endpoints/(?P<model>[^/]+)/(?:async-)?invocations$",
        everywhere=True,
    ),
    # Cohere and ranking
    row("cohere-chat", "chat", r"^/v2/chat$", everywhere=True),
    row("cohere-chat-v1", "chat", r"^/(?:v1/)?chat$", _COHERE),
    row("cohere-chat-v1", "chat", r"^/v1/chat$", everywhere=True, proven=True),
    row("cohere-generate", "text_completion", r"^/(?:v1/)?generate$", _COHERE),
    row("cohere-embed", "embeddings", r"^/(?:v1/|v2/)?embed$", _COHERE),
    row("cohere-embed", "embeddings", r"^/v2/embed$", everywhere=True),
    row(
        "cohere-task",
        "text_completion",
        r"^/v1/(?:summarize|classify|tokenize|detokenize)$",
        _COHERE,
    ),
    row("rerank", "rerank", r"/rerank(?:ing)?$", everywhere=True),
    row("openai-chat", "chat", r"/serving-endpoints/(?P<model>[^/]+)/invocations$"),
    row("cloudflare", "chat", r"/accounts/[^/]+/ai/run/(?P<model>.+)$"),
    # others with a grammar of their own
    row("openai-chat", "chat", r"/ml/v\d[^/]*/text/chat(?P<streams>_stream)?$"),
    row(
        "watsonx-generation",
        "text_completion",
        r"/ml/v\d[^/]*/(?:text/generation|generation/text)(?P<streams>_stream)?$",
    ),
    row(
        "watsonx-generation", "embeddings", r"/ml/v\d[^/]*/text/(?:embeddings|rerank|tokenization)$"
    ),
    row(
        "aleph-alpha",
        "text_completion",
        r"^/(?:complete|evaluate|explain|summarize|qa)$",
        r"aleph-alpha\.com$",
    ),
    row(
        "aleph-alpha",
        "embeddings",
        r"^/(?:embed|semantic_embed|batch_semantic_embed)$",
        r"aleph-alpha\.com$",
    ),
    row(
        "ai21-completion",
        "text_completion",
        r"^/studio/v1/(?:[^/]+/complete|answer|paraphrase|"
        r"summarize|library/answer|gec|improvements|segmentation)$",
    ),
    row("openai-chat", "chat", r"^/v1/chat$", r"writer\.com$"),
    row(
        "replicate",
        "generate_content",
        r"/v1/(?:models/(?P<model>[^/]+/[^/]+)|deployments/[^/]+/"
        r"[^/]+)/predictions$",
    ),
    row("replicate", "generate_content", r"^/v1/predictions$"),
    row(
        "replicate",
        "generate_content",
        r"^/v1/predictions/(?P<conversation>[^/]+)$",
        r"replicate\.com$",
        methods="GET",
    ),
    row(
        "replicate-stream",
        "generate_content",
        r"^/v1/(?:streams|files)/",
        r"replicate\.(?:net|com)$",
        methods="GET",
    ),
    row(
        "huggingface",
        "text_completion",
        r"^/models/(?P<model>[^:]+)$",
        r"(?:huggingface\.co|hf\.co)$",
    ),
    row(
        "huggingface",
        "text_completion",
        r"^/hf-inference/(?:models|pipeline/[^/]+)/(?P<model>.+)$",
        r"huggingface\.co$",
    ),
    row(
        "huggingface",
        "text_completion",
        r"^/(?:generate(?:_(?P<streams>stream))?)?$",
        r"endpoints\.huggingface\.cloud$",
    ),
    row("dashscope", "chat", r"/api/v1/services/aigc/"),
    row("dashscope", "embeddings", r"/api/v1/services/(?:embeddings|rerank)/"),
    row(
        "yandex",
        "text_completion",
        r"/foundationModels/v1/(?:completion|completionAsync|"
        r"tokenizeCompletion|textEmbedding)$",
    ),
    row("openai-chat", "chat", r"/api/v2/cortex/inference:complete$"),
    row("openai-embeddings", "embeddings", r"/api/v2/cortex/inference:embed$"),
    row("openai-chat", "chat", r"/v1/text/chatcompletion(?:_v2|_pro)?$"),
    row(
        "speech",
        "speech",
        r"/v1/(?:text-to-speech|speech-to-speech|speech-to-text|"
        r"sound-generation)",
        r"elevenlabs\.io$",
    ),
    row("ollama", "chat", r"/api/chat$", everywhere=True, proven=True),
    row("ollama", "text_completion", r"/api/generate$", everywhere=True, proven=True),
    row("ollama", "embeddings", r"/api/embed(?:dings)?$", everywhere=True, proven=True),
    row(
        "kserve",
        "text_completion",
        r"^/v2/models/(?P<model>[^/]+)/(?:versions/[^/]+/)?"
        r"(?:infer|generate(?:_(?P<streams>stream))?)$",
    ),
    row("openai-live", "chat", r"/v1/live/sessions(?:/[^/]+/\w+)?$"),
)
