"""A model server that speaks as much of Ollama's API as a test needs: `ollama.py ADDRESS PORT`."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Model(BaseHTTPRequestHandler):
    """Answers each chat with what was asked, word by word."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._send({"models": [{"name": "llama3.2:1b"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = asked["messages"][-1]["content"] if "messages" in asked else asked.get("prompt", "")
        if not asked.get("stream", True):
            self._send({"model": asked["model"], "message": message(f"you said: {said}"), **ENDED})
            return
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in f"you said: {said}".split(" "):
            self._chunk({"model": asked["model"], "message": message(word + " "), "done": False})
        self._chunk({"model": asked["model"], "message": message(""), **ENDED})
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, value):
        line = json.dumps(value).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _send(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


ENDED = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 7}


def message(text):
    return {"role": "assistant", "content": text}


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Model).serve_forever()
