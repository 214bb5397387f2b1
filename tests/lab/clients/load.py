"""Call again and again for some seconds, each time on a new connection; tell how each call went.

    python -I load.py HOST SECONDS PROMPT

Prints one JSON object a line: ``begun`` and ``ended`` (CLOCK_MONOTONIC, s), ``status`` or
``error``, and ``issuer``: whose certificate was served, which tells the agent from the provider.
"""

import http.client
import json
import ssl
import sys
import time

host, seconds, prompt = sys.argv[1], float(sys.argv[2]), sys.argv[3]
body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}]})
HEADERS = {"content-type": "application/json"}
context = ssl.create_default_context()


def call() -> dict:
    told = {"begun": time.monotonic(), "status": None, "error": None, "issuer": None}
    connection = http.client.HTTPSConnection(host, timeout=5, context=context)
    try:
        connection.connect()
        issuer = dict(field[0] for field in connection.sock.getpeercert()["issuer"])
        told["issuer"] = issuer.get("commonName")
        connection.request(
            "POST", "/v1/chat/completions", body, {"content-type": "application/json"}
        )
        answer = connection.getresponse()
        answer.read()
        told["status"] = answer.status
    except (OSError, http.client.HTTPException) as error:
        told["error"] = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return told | {"ended": time.monotonic()}


end = time.monotonic() + seconds
while time.monotonic() < end:
    print(json.dumps(call()), flush=True)
    time.sleep(0.02)
