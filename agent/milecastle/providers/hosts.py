"""Host -> ``gen_ai.provider.name``, and the provider that a format speaks for elsewhere."""

from __future__ import annotations

import re

SUFFIXES: dict[str, str] = {
    "openai.com": "openai",
    "chatgpt.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "cognitiveservices.azure.com": "azure.ai.openai",
    "services.ai.azure.com": "azure.ai.inference",
    "models.ai.azure.com": "azure.ai.inference",
    "inference.ai.azure.com": "azure.ai.inference",
    "models.github.ai": "azure.ai.inference",
    "anthropic.com": "anthropic",
    "claude.ai": "anthropic",
    "claude.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "cloudcode-pa.googleapis.com": "gcp.gen_ai",
    "gemini.google.com": "gcp.gemini",
    "amazonaws.com": "aws.bedrock",
    "api.aws": "aws.bedrock",
    "cohere.com": "cohere",
    "cohere.ai": "cohere",
    "mistral.ai": "mistral_ai",
    "deepseek.com": "deepseek",
    "groq.com": "groq",
    "perplexity.ai": "perplexity",
    "x.ai": "x_ai",
    "grok.com": "x_ai",
    "ml.cloud.ibm.com": "ibm.watsonx.ai",
    "moonshot.ai": "moonshot_ai",
    "moonshot.cn": "moonshot_ai",
    "kimi.com": "moonshot_ai",
    "openrouter.ai": "openrouter",
    "together.xyz": "together_ai",
    "together.ai": "together_ai",
    "fireworks.ai": "fireworks_ai",
    "cerebras.ai": "cerebras",
    "sambanova.ai": "sambanova",
    "nvidia.com": "nvidia",
    "deepinfra.com": "deepinfra",
    "ai21.com": "ai21",
    "aleph-alpha.com": "aleph_alpha",
    "writer.com": "writer",
    "voyageai.com": "voyage_ai",
    "jina.ai": "jina_ai",
    "replicate.com": "replicate",
    "replicate.net": "replicate",
    "huggingface.co": "huggingface",
    "huggingface.cloud": "huggingface",
    "snowflakecomputing.com": "snowflake",
    "databricks.com": "databricks",
    "z.ai": "zhipu_ai",
    "bigmodel.cn": "zhipu_ai",
    "githubcopilot.com": "github_copilot",
    "copilot.microsoft.com": "microsoft_copilot",
    "ollama.com": "ollama",
    "dashscope.aliyuncs.com": "alibaba_cloud",
    "dashscope-intl.aliyuncs.com": "alibaba_cloud",
    "minimax.io": "minimax",
    "cloudflare.com": "cloudflare",
    "cursor.sh": "cursor",
    "codeium.com": "windsurf",
    "tavily.com": "tavily",
    "pinecone.io": "pinecone",
    "elevenlabs.io": "elevenlabs",
}
"""Longest suffix wins. The first names of each provider are OTel's where OTel has one."""

SAGEMAKER = re.compile(r"^runtime\.sagemaker\.")
VERTEX = re.compile(r"^[a-z0-9-]+-aiplatform\.googleapis\.com$")
"""``us-central1-aiplatform``: the region is part of the label, so no suffix fits."""

BY_FORMAT: dict[str, str] = {
    "anthropic": "anthropic",
    "gemini": "gcp.gemini",
    "bedrock": "aws.bedrock",
    "cohere": "cohere",
    "ollama": "ollama",
    "mcp": "mcp",
    "openai": "openai",
    "sagemaker": "aws.sagemaker",
}
"""First word of a format's name -> provider, for hosts that the table doesn't know."""


def provider(host: str, wire: str) -> str:
    """Return the provider's name for a host (lower case, no port)."""
    if SAGEMAKER.match(host):
        return "aws.sagemaker"
    if VERTEX.match(host):
        return "gcp.vertex_ai"
    rest = host
    while rest:
        if (name := SUFFIXES.get(rest)) is not None:
            return name
        rest = rest.partition(".")[2]
    return BY_FORMAT.get(wire.partition("-")[0], wire)
