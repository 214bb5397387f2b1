"""The table of wire formats by path: what is sent where, and to what end.

``recognition`` goes through it from the top; the first row that fits wins. Those of one provider
stand first (`routes_of_hosts`), then the shapes that many speak.
"""

from __future__ import annotations

from milecastle.providers.routes_of_hosts import OF_HOSTS
from milecastle.providers.row import Row, row

_AZURE = r"/deployments/(?P<model>[^/]+)"
_THREAD = r"/threads/(?P<conversation>[^/]+)"

ROWS: tuple[Row, ...] = (
    *OF_HOSTS,
    # OpenAI's shapes, at whatever host; Azure names the model in the path
    row(
        "openai-realtime",
        "chat",
        r"/realtime(?:/sessions|/client_secrets|/calls|"
        r"/transcription_sessions)?$",
        methods="GET POST",
    ),
    row("openai-chat", "chat", rf"{_AZURE}/(?:extensions/)?chat/completions$", everywhere=True),
    row("openai-completions", "text_completion", rf"{_AZURE}/completions$", everywhere=True),
    row("openai-embeddings", "embeddings", rf"{_AZURE}/embeddings$", everywhere=True),
    row(
        "openai-images",
        "image_generation",
        rf"{_AZURE}/images/(?:generations|edits|variations)$",
        everywhere=True,
    ),
    row(
        "openai-audio",
        "speech",
        rf"{_AZURE}/audio/(?:transcriptions|translations|speech)$",
        everywhere=True,
    ),
    row(
        "openai-chat",
        "chat",
        r"/chat/completions(?:/[^/]+)?(?:/messages)?$",
        methods="POST GET",
        everywhere=True,
    ),
    row(
        "openai-responses",
        "chat",
        r"/responses(?:/compact|/input_tokens)?$",
        methods="POST GET",
        everywhere=True,
    ),
    row(
        "openai-responses",
        "chat",
        r"/responses/(?P<conversation>resp_[^/]+)(?:/input_items)?$",
        methods="GET",
    ),
    row(
        "mistral-conversations",
        "chat",
        r"^/v1/conversations(?:/(?P<conversation>[^/#]+)(?:/restart)?)?(?:#stream)?$",
        r"mistral\.ai$",
    ),
    row("openai-responses", "chat", r"/v1/conversations(?:/(?P<conversation>[^/]+)(?:/items)?)?$"),
    row(
        "openai-completions",
        "text_completion",
        r"/engines/(?P<model>[^/]+)/completions$",
        everywhere=True,
    ),
    row("openai-completions", "text_completion", r"/(?:fim/)?completions$", everywhere=True),
    row(
        "openai-embeddings",
        "embeddings",
        r"/(?:multimodal)?(?:contextualized)?embeddings$",
        everywhere=True,
    ),
    row("openai-moderations", "moderation", r"/(?:chat/)?moderations$", everywhere=True),
    row(
        "openai-images",
        "image_generation",
        r"/images/(?:generations|edits|variations)$",
        everywhere=True,
    ),
    row("openai-images", "video_generation", r"/v1/videos(?:/[^/]+/remix|/edits|/extensions)?$"),
    row(
        "openai-audio", "speech", r"/audio/(?:transcriptions|translations|speech)$", everywhere=True
    ),
    row("openai-assistants", "create_agent", r"/assistants(?:/[^/]+)?$", methods="POST GET"),
    row("openai-assistants", "invoke_agent", rf"{_THREAD}/runs", methods="POST GET"),
    row("openai-assistants", "invoke_agent", r"/threads/runs$"),
    row("openai-assistants", "chat", rf"{_THREAD}/messages", methods="POST GET"),
    row("openai-assistants", "chat", r"/threads$"),
    row(
        "openai-files",
        "upload",
        r"/v1/(?:files|uploads|uploads/[^/]+/parts|containers/[^/]+/files)$",
    ),
    row("openai-files", "download", r"/v1/files/[^/]+/content$", methods="GET"),
    row("openai-files", "search", r"/v1/vector_stores(?:/|$)"),
    row("openai-batches", "batch", r"/v1/(?:batches|fine_tuning/jobs)$"),
    row("openai-traces", "trace", r"/v1/traces/ingest$"),
    row("openai-chat", "chat", r"/v1/agents/completions$"),
    row("openai-documents", "ocr", r"/v1/ocr$"),
    # Anthropic's
    row("anthropic-messages", "chat", r"/v1/messages$", everywhere=True),
    row("anthropic-messages", "count_tokens", r"/v1/messages/count_tokens$", everywhere=True),
    row("anthropic-batches", "batch", r"/v1/messages/batches$"),
    row("anthropic-batches", "batch", r"/v1/messages/batches/[^/]+/results$", methods="GET"),
    row("anthropic-messages", "text_completion", r"/v1/complete$"),
    # local servers
    row(
        "completion",
        "text_completion",
        r"^/(?:completion|infill|generate|api/v1/generate)$",
        r"^(?:localhost|127\.)",
    ),
)
