// One call through a provider's own Node SDK; prints what happened as one JSON object.
//
//   node sdk.mjs PROVIDER PROMPT [--api chat|responses] [--stream]
//
// The answer has the shape of sdk.py's. Trust and address family come from the environment
// (NODE_EXTRA_CA_CERTS, NODE_OPTIONS=--dns-result-order=ipv6first).

import { parseArgs } from "node:util";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { api: { type: "string", default: "chat" }, stream: { type: "boolean", default: false } },
});
const [provider, prompt] = positionals;
const { api, stream } = values;
const options = { apiKey: "lab-key-not-a-secret", maxRetries: 0, timeout: 30_000 };
const messages = [{ role: "user", content: prompt }];

const calls = {
  "openai chat": () =>
    new OpenAI(options).chat.completions.create({ model: "gpt-4o-mini", messages, stream }),
  "openai responses": () =>
    new OpenAI(options).responses.create({ model: "gpt-4o-mini", input: prompt, stream }),
  "anthropic chat": () =>
    new Anthropic(options).messages.create({
      model: "claude-haiku-4-5", max_tokens: 200, messages, stream,
    }),
};

const whole = (answer) =>
  answer.choices?.[0].message.content ??
  answer.output_text ??
  answer.content.map((block) => block.text ?? "").join("");

const grown = (event) => {
  if (event.choices) return event.choices[0]?.delta?.content ?? "";
  if (event.type === "response.output_text.delta") return event.delta;
  if (event.type === "content_block_delta") return event.delta.text ?? "";
  return "";
};

const told = { pid: process.pid, text: "", arrivals: [], error: null };
const begun = performance.now();
const note = (text) => {
  told.text += text;
  told.arrivals.push((performance.now() - begun) / 1000);
};

try {
  const answer = await calls[`${provider} ${api}`]();
  if (stream) {
    for await (const event of answer) {
      const text = grown(event);
      if (text) note(text);
    }
  } else {
    note(whole(answer));
  }
} catch (error) {
  told.error = {
    kind: error.constructor.name,
    status: error.status ?? null,
    message: error.message,
    body: error.error ?? null,
  };
}
console.log(JSON.stringify(told));
