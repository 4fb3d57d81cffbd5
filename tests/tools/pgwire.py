"""The simple query protocol of PostgreSQL over a Unix socket: enough for tests, and no package needed.

A statement has committed when query() returned: the server's CommandComplete and ReadyForQuery were read."""
import socket
import struct


class ServerError(Exception):
    """The server answered with an error; sqlstate is its five-letter code."""

    def __init__(self, fields):
        super().__init__(fields.get("M", "?"))
        self.sqlstate = fields.get("C", "")
        self.severity = fields.get("V", fields.get("S", ""))


class Connection:
    def __init__(self, directory, port, database, user="postgres", timeout=60):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(f"{directory}/.s.PGSQL.{port}")
        self.file = self.sock.makefile("rb")
        params = b"".join(s.encode() + b"\0" for s in ("user", user, "database", database)) + b"\0"
        self.sock.sendall(struct.pack("!II", len(params) + 8, 196608) + params)
        while True:
            kind, body = self._message()
            if kind == b"R" and struct.unpack("!I", body[:4])[0] != 0:
                raise ServerError({"M": "the server asks for a password"})
            if kind == b"E":
                raise ServerError(self._fields(body))
            if kind == b"Z":
                return

    def _message(self):
        head = self.file.read(5)
        if len(head) < 5:
            raise ConnectionError("the server closed the connection")
        (length,) = struct.unpack("!I", head[1:])
        body = self.file.read(length - 4)
        if len(body) < length - 4:
            raise ConnectionError("the server closed the connection")
        return head[:1], body

    @staticmethod
    def _fields(body):
        return {f[:1].decode(): f[1:].decode(errors="replace") for f in body.split(b"\0") if f}

    def query(self, text):
        """Rows as tuples of str or None; of several statements, all rows."""
        data = text.encode() + b"\0"
        self.sock.sendall(b"Q" + struct.pack("!I", len(data) + 4) + data)
        rows, error = [], None
        while True:
            kind, body = self._message()
            if kind == b"D":
                rows.append(self._row(body))
            elif kind == b"E":
                error = ServerError(self._fields(body))
                if error.severity in ("FATAL", "PANIC"):
                    raise error
            elif kind == b"Z":
                if error:
                    raise error
                return rows

    @staticmethod
    def _row(body):
        (count,) = struct.unpack("!H", body[:2])
        pos, row = 2, []
        for _ in range(count):
            (length,) = struct.unpack("!i", body[pos:pos + 4])
            pos += 4
            if length < 0:
                row.append(None)
            else:
                row.append(body[pos:pos + length].decode())
                pos += length
        return tuple(row)

    def close(self):
        try:
            self.sock.sendall(b"X" + struct.pack("!I", 4))
        except OSError:
            pass
        self.file.close()
        self.sock.close()
