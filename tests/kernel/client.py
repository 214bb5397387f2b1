"""What the tests' clients do: operations in, results out, both as JSON. Runs on the system Python.

python3 -I -S client.py '[{"do": "tcp", "to": "198.51.100.5"}]'
"""

import errno
import json
import os
import socket
import sys
import threading

SO_COOKIE = 57


def made(op, kind):
    family = socket.AF_INET6 if ":" in op["to"] else socket.AF_INET
    sock = socket.socket(family, kind, op.get("protocol", 0))
    sock.settimeout(5)
    if op.get("device"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, op["device"].encode())
    if op.get("source"):
        sock.bind((op["source"], 0))
    return sock


def cookie(sock):
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


def tcp(op):
    """Connect, read the greeting, say who we seem to talk to."""
    with made(op, socket.SOCK_STREAM) as sock:
        result = {"cookie": cookie(sock), "pid": os.getpid()}
        sock.connect((op["to"], op.get("port", 443)))
        result["peer"] = sock.getpeername()[:2]
        result["local"] = sock.getsockname()[:2]
        if not op.get("hasty"):
            result["said"] = sock.recv(64).decode().strip()
        return result


def fast_open(op):
    """Connect by sending (RFC 7413)."""
    with made(op, socket.SOCK_STREAM) as sock:
        result = {"cookie": cookie(sock), "pid": os.getpid()}
        sock.settimeout(None)  # else EINPROGRESS
        sock.sendto(b"early", socket.MSG_FASTOPEN, (op["to"], op.get("port", 443)))
        result["peer"] = sock.getpeername()[:2]
        result["said"] = sock.recv(64).decode().strip()
        return result


def in_thread(op):
    """Connect from a thread that is not the first."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(tcp(op) | {"tid": threading.get_native_id()})
    )
    thread.start()
    thread.join()
    return results[0]


def handed(op):
    """Let another process connect a socket that was made here."""
    with made(op, socket.SOCK_STREAM) as sock:
        child = os.fork()
        if not child:
            try:
                sock.connect((op["to"], op.get("port", 443)))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return {"pid": child, "cookie": cookie(sock), "said": sock.recv(64).decode().strip()}


def udp(op):
    """Send one datagram from a socket that is connected or not; read the answer."""
    with made(op, socket.SOCK_DGRAM) as sock:
        to = (op["to"], op.get("port", 443))
        result = {"cookie": cookie(sock), "pid": os.getpid()}
        if op.get("connected"):
            sock.connect(to)
            result["connected"] = sock.getpeername()[:2]
            if op.get("silent"):
                return result
            sock.send(b"ping")
        else:
            sock.sendto(b"ping", to)
        result["said"] = sock.recv(64).decode()
        return result


def resolve():
    """For each line of stdin, ask a resolver on loopback and let it answer with those bytes.

    A line is ``HEX`` or ``unasked HEX``; without a question, the answer comes out of the blue.
    ``stream HEX HEX`` sends the pieces on a TCP connection.
    """
    for line in sys.stdin:
        if line.startswith("stream"):
            print(stream([bytes.fromhex(piece) for piece in line.split()[1:]]), flush=True)
            continue
        *unasked, answer = line.split()
        answer = bytes.fromhex(answer)
        address = "::1" if os.environ.get("FAMILY") == "6" else "127.0.0.53"
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        asks, resolver = (socket.socket(family, socket.SOCK_DGRAM) for _ in "ab")
        with asks, resolver:
            resolver.bind((address, 53))
            asks.bind((address, 0))
            if not unasked:
                asks.sendto((answer + bytes(12))[:2] + bytes(10), (address, 53))
            resolver.sendto(answer, asks.getsockname())
            asks.settimeout(5)
            print(len(asks.recv(65535)), flush=True)


def stream(pieces):
    """Ask over TCP, answer with these pieces, one segment each."""
    server = socket.create_server(("127.0.0.53", 53))
    asks = socket.create_connection(("127.0.0.53", 53))
    resolver, _ = server.accept()
    with server, asks, resolver:
        asks.send(bytes(2))
        resolver.recv(2)
        resolver.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            resolver.send(piece)
        got = 0
        while got < sum(map(len, pieces)):
            got += len(asks.recv(65535))
        return got


DOES = {"tcp": tcp, "udp": udp, "fast_open": fast_open, "in_thread": in_thread, "handed": handed}


def attempt(op):
    try:
        return DOES[op["do"]](op)
    except TimeoutError:
        return {"error": "timeout"}
    except OSError as error:
        return {"error": errno.errorcode.get(error.errno, str(error))}


if __name__ == "__main__":
    if sys.argv[1] == "resolve":
        resolve()
        sys.exit()
    print(json.dumps([attempt(op) for op in json.loads(sys.argv[1])]))
