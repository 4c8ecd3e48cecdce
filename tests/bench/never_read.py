"""Readers that open a watch and never read a byte of it: HTTP/2 by hand, since every library reads.

Must not know: what is measured.
"""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, DATA = 4, 1, 0
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags, stream, payload):
    """A frame (RFC 9113, 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name, value):
    """A header as HPACK literal without index (RFC 7541, 6.2.2); texts below 127 bytes."""
    def text(part):
        encoded = part.encode("ascii")
        assert len(encoded) < 127, name
        return bytes([len(encoded)]) + encoded
    return b"\0" + text(name) + text(value)


def field(number, payload):
    """A length-delimited field of a protobuf message shorter than 128 bytes."""
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


class NeverRead:
    """Sockets with a watch each, for a `with` block; HTTP/2's first window of 65,535 bytes is what each may be sent."""

    def __init__(self, address, key, accounts):
        self.address, self.key, self.accounts, self.sockets = address, key, accounts, []

    def __enter__(self):
        host, port = self.address.rsplit(":", 1)
        for account in self.accounts:
            reader = socket.create_connection((host, int(port)), timeout=10)
            # What the kernel keeps for it is not the service's memory; little, so that the service feels it soon.
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(self._watch(account))
            self.sockets.append(reader)
        return self

    def _watch(self, account):
        message = field(1, field(1, account.encode("ascii")))
        body = b"\0" + struct.pack(">I", len(message)) + message
        headers = [(":method", "POST"), (":scheme", "http"), (":authority", "bench"),
                   (":path", "/tallystick.credits.v1.CreditService/WatchCredits"),
                   ("content-type", "application/grpc"), ("te", "trailers"), ("authorization", f"Bearer {self.key}")]
        block = b"".join(header(*one) for one in headers)
        return (PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, END_HEADERS, 1, block)
                + frame(DATA, END_STREAM, 1, body))

    def __exit__(self, *_):
        for reader in self.sockets:
            reader.close()
