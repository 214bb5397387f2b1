"""A stand-in for the daemon: a real unix socket that speaks wire.CONTROL by the tables."""

import socket
import threading

from milecastle import wire


class RefusedError(Exception):
    pass


class FakeDaemon:
    """Answers each request from ``answers`` (a value, or a function of the body)."""

    def __init__(self, run_dir, **answers):
        self.run_dir = run_dir
        self.answers = answers
        self.events = []
        self.asked = []
        self.broken = []
        run_dir.mkdir(exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(run_dir / "control.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._client(connection)

    def _client(self, connection):
        decoder = wire.Decoder()
        while data := connection.recv(65536):
            for frame in decoder.feed(data):
                try:
                    wire.check(frame, wire.CONTROL, "client", "serving")
                except wire.WireError as error:
                    self.broken.append(error)
                    return
                self.asked.append((frame.kind, frame.body))
                connection.sendall(self._answer(frame))
                if frame.kind == "tail":
                    for event in self.events:
                        connection.sendall(wire.encode(wire.Frame(0, "event", {"event": event})))
                    return

    def _answer(self, frame):
        answer = self.answers.get(frame.kind)
        if isinstance(answer, bytes):
            return answer
        try:
            result = answer(frame.body) if callable(answer) else answer
        except RefusedError as refusal:
            body = {"code": "unknown", "message": str(refusal)}
            return wire.encode(wire.Frame(frame.id, "error", body))
        return wire.encode(wire.Frame(frame.id, "ok", {"result": result}))
