"""One WebSocket as an application has it: say something, hear until a type comes, and so on.

    talk.py URL SCRIPT

SCRIPT is a JSON list of steps: a message to send, or ``{"until": TEXT}``, which waits for a message
that holds the text. ``$ID`` in a message is the id of the response that was heard last. Prints what
was heard as a JSON list. Trust comes from the environment.
"""

import json
import sys

from websockets.sync.client import connect

SECONDS = 15


def main() -> None:
    url, script = sys.argv[1:]
    heard: list[str] = []
    with connect(url, open_timeout=SECONDS) as socket:
        for step in json.loads(script):
            if "until" not in step:
                socket.send(json.dumps(step).replace("$ID", response_id(heard)))
                continue
            while True:
                message = socket.recv(SECONDS)
                heard.append(message if isinstance(message, str) else message.decode())
                if step["until"] in heard[-1]:
                    break
    print(json.dumps(heard))


def response_id(heard: list[str]) -> str:
    """Return the id of the last response, "" where there was none."""
    told = json.loads(heard[-1]) if heard else {}
    return str(told.get("response", {}).get("id", ""))


if __name__ == "__main__":
    main()
