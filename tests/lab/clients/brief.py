"""Live briefly: some calls, each on a connection of its own, and be gone.

    python -I -S brief.py HOST PORT TAG COUNT

Port 443 is called with TLS, any other in plain text. Every prompt says who asks
(``caller PID TAG``), so that what is recorded can be held against it. Next to nothing is
imported: the time is the network's. Prints the milliseconds that it lived, by the kernel's clock.
"""

import os
import socket
import sys
import time

HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
    "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
)
BODY = '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"caller %d %s"}]}'


def age() -> float:
    """Return the milliseconds since this process began."""
    with open("/proc/self/stat") as file:
        begun = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - begun) * 1000


def main(host: str, port: int, tag: str, count: int) -> None:
    body = BODY % (os.getpid(), tag)
    request = (HEAD % (host, len(body), body)).encode()
    peer = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][:2]
    connections = [socket.create_connection(peer, timeout=10) for _ in range(count)]
    if port == 443:
        import ssl

        context = ssl.create_default_context()
        connections = [context.wrap_socket(c, server_hostname=host) for c in connections]
    for connection in connections:
        connection.sendall(request)
    for connection in connections:
        answer = b""
        while data := connection.recv(65536):
            answer += data
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            sys.exit(f"not answered: {answer[:80]!r}")
    print(round(age()))


main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
