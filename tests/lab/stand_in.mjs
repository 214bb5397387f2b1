// The stand-in for the providers: aimock with an MCP server at /mcp and an A2A agent at /a2a.
//
//   node stand_in.mjs FIXTURES JOURNAL_LENGTH PORT

import { A2AMock, LLMock, MCPMock } from "@copilotkit/aimock";

const [fixtures, journal, port] = process.argv.slice(2);
const mock = new LLMock({
  port: Number(port), logLevel: "warn", journalMaxEntries: Number(journal),
});
mock.loadFixtureFile(fixtures);

const mcp = new MCPMock({ serverInfo: { name: "lab", version: "1" } });
mcp.addTool({
  name: "look_up",
  description: "Look a word up in the lab.",
  inputSchema: { type: "object", properties: { query: { type: "string" } } },
});
mcp.onToolCall("look_up", () => "Hello! The lab hears you.");
mock.mount("/mcp", mcp);

const a2a = new A2AMock();
a2a.registerAgent({ name: "lab", description: "Answers in the lab.", version: "1" });
a2a.onMessage("lab", /./, [{ text: "Hello! The lab hears you." }]);
mock.mount("/a2a", a2a);

await mock.start();
