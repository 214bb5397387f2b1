"""The formats that are only fields: one row each.

Sources: the providers' API references (OpenAI, Cohere, Voyage, Jina, IBM watsonx.ai, Aleph Alpha,
AI21, Writer, Hugging Face TGI and Inference, Replicate, Amazon Titan, Meta Llama and Mistral on
Bedrock, ElevenLabs, Tavily), and the recorded exchanges.
"""

from __future__ import annotations

from collections.abc import Mapping

from milecastle.providers.fields import Fields

_CHOICE = ("choices/*/finish_reason",)

FIELDS: Mapping[str, Fields] = {
    "openai-completions": Fields(
        asks=("prompt", "suffix", "input_extra", "input_prefix", "input_suffix"),
        answers=("choices/*/text", "content"),
        grows=("choices/*/text", "value", "content"),
        reasons=_CHOICE,
        error="openai",
    ),
    "openai-embeddings": Fields(asks=("input", "inputs/*/content", "inputs"), error="openai"),
    "openai-moderations": Fields(asks=("input",), error="openai"),
    "openai-images": Fields(
        asks=("prompt",),
        answers=("data/*/revised_prompt",),
        media=("data/*/b64_json", "data/*/url", "image", "mask", "b64_json"),
        error="openai",
    ),
    "openai-audio": Fields(
        asks=("input", "instructions", "prompt"),
        answers=("text",),
        grows=("delta",),
        repeats=("text",),
        error="openai",
    ),
    "rerank": Fields(
        asks=("query", "documents", "instruction", "passages"),
        answers=("results/*/document", "data/*/document"),
        usages=("usage", "meta/billed_units", "meta/tokens"),
    ),
    "cohere-embed": Fields(
        asks=("texts", "inputs/*/content", "input"),
        media=("images",),
        usages=("meta/billed_units",),
    ),
    "cohere-generate": Fields(
        asks=("prompt",),
        answers=("generations/*/text",),
        grows=("text",),
        usages=("meta/billed_units", "response/meta/billed_units"),
        reasons=("generations/*/finish_reason", "finish_reason"),
    ),
    "cohere-task": Fields(  # summarize, classify, tokenize
        asks=("text", "inputs", "examples", "additional_command"),
        answers=("summary", "classifications/*/prediction"),
        usages=("meta/billed_units",),
    ),
    "watsonx-generation": Fields(
        asks=("input", "moderations"),
        answers=("results/*/generated_text",),
        grows=("results/*/generated_text",),
        parameters=("", "parameters"),
        usages=("results/0",),
        reasons=("results/*/stop_reason",),
    ),
    "aleph-alpha": Fields(
        asks=("prompt", "query", "completion_expected"),
        answers=("completions/*/completion", "answers/*/answer", "summary"),
        grows=("completion",),
        models=("model", "model_version"),
        usages=("",),
        reasons=("completions/*/finish_reason",),
        error="error",
    ),
    "ai21-completion": Fields(
        asks=("prompt", "context", "question", "text", "segments"),
        answers=("completions/*/data/text", "answer", "suggestions/*/text", "summary"),
        reasons=("completions/*/finishReason/reason",),
        error="detail",
    ),
    "huggingface": Fields(
        asks=("inputs", "query", "text_inputs"),
        answers=(
            "generated_text",
            "*/generated_text",
            "*/summary_text",
            "*/translation_text",
            "summary_text",
            "answer",
            "*/*/generated_text",
        ),
        grows=("token/text",),
        repeats=("generated_text",),
        parameters=("", "parameters"),
        usages=("details", "0/details"),
        reasons=("details/finish_reason",),
        error="error",
    ),
    "sagemaker": Fields(
        asks=("inputs", "prompt", "text_inputs", "instances", "text", "input"),
        messages=("messages",),
        answers=(
            "generated_text",
            "*/generated_text",
            "0/generation/content",
            "*/generation",
            "generated_texts",
            "predictions",
            "choices/*/text",
            "choices/*/message/content",
            "outputs/*/text",
            "generation",
        ),
        grows=("token/text", "choices/*/delta/content", "choices/*/text", "outputs/*"),
        parameters=("", "parameters"),
        reasons=_CHOICE,
    ),
    "replicate": Fields(
        asks=("input",),
        answers=("output",),
        models=("model", "version"),
        parameters=("input",),
        usages=("metrics",),
        reasons=(),
        error="detail",
    ),
    "titan": Fields(
        asks=("inputText", "textToImageParams/text", "taskType"),
        answers=("results/*/outputText",),
        grows=("outputText",),
        media=("images", "inputImage"),
        parameters=("textGenerationConfig",),
        usages=("", "results/0", "amazon-bedrock-invocationMetrics"),
        reasons=("results/*/completionReason", "completionReason"),
        error="aws",
    ),
    "bedrock-agent": Fields(
        asks=("inputText", "input/text", "retrievalQuery/text", "input/textPrompt/text"),
        system=("instruction",),
        answers=("output/text", "retrievalResults/*/content/text"),
        models=(
            "foundationModel",
            "retrieveAndGenerateConfiguration/knowledgeBaseConfiguration/modelArn",
        ),
        conversations=("sessionId",),
        grows=("", "text"),
        error="aws",
    ),
    "llama": Fields(
        asks=("prompt",),
        answers=("generation",),
        grows=("generation",),
        media=("images",),
        usages=("", "amazon-bedrock-invocationMetrics"),
        reasons=("stop_reason",),
        error="aws",
    ),
    "mistral-text": Fields(
        asks=("prompt",),
        answers=("outputs/*/text",),
        grows=("outputs/*/text",),
        usages=("amazon-bedrock-invocationMetrics",),
        reasons=("outputs/*/stop_reason",),
        error="aws",
    ),
    "stability": Fields(
        asks=("text_prompts", "prompt", "negative_prompt"),
        media=("artifacts/*/base64", "images", "image", "init_image"),
        error="aws",
    ),
    "cloudflare": Fields(  # Workers AI
        asks=("prompt", "text", "query", "texts"),
        messages=("messages",),
        answers=("result/response", "result/summary", "result/translated_text", "result/text"),
        grows=("response",),
        media=("result/image", "image"),
        usages=("usage", "result/usage"),
        tools=True,
    ),
    "search": Fields(  # Tavily, Exa, Brave: what an agent asks the web, and what it reads there
        asks=("query", "q", "question", "urls", "url"),
        answers=("answer", "results/*/content", "results/*/text", "results/*/raw_content"),
        error="detail",
    ),
    "vector-query": Fields(asks=("query", "inputs", "text"), answers=("matches/*/metadata",)),
    "speech": Fields(asks=("text",), answers=("text",), error="detail"),  # ElevenLabs
    "dashscope": Fields(
        asks=("input/prompt", "input/texts", "input/text"),
        messages=("input/messages",),
        answers=("output/text", "output/choices/*/message/content"),
        grows=("output/text",),
        parameters=("parameters",),
        ids=("request_id",),
        reasons=("output/finish_reason", "output/choices/*/finish_reason"),
    ),
    "yandex": Fields(
        asks=("messages/*/text",),
        answers=("result/alternatives/*/message/text",),
        models=("modelUri",),
        parameters=("completionOptions",),
        usages=("result/usage",),
        reasons=("result/alternatives/*/status",),
    ),
    "kserve": Fields(
        asks=("inputs", "text_input"), answers=("text_output", "outputs"), grows=("text_output",)
    ),
    "completion": Fields(  # llama.cpp /completion and /infill, SGLang /generate, KoboldCpp
        asks=("prompt", "text", "input_prefix", "input_suffix", "input_extra"),
        answers=("content", "text", "results/*/text", "*/content"),
        grows=("content", "text", "token"),
        parameters=("", "sampling_params"),
        usages=("meta_info", "timings"),
        reasons=("stop_type",),
        error="openai",
    ),
}
