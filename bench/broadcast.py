#!/usr/bin/env python3
"""bench/broadcast.py PORT SOCKETS SECONDS: opens so many WebSockets to /ws, has the first send 32 bytes of text, waits until each of
them has it, and again until the time is up. Prints how many messages were delivered, and how many a second. Used by classes.py.
"""
import resource
import select
import socket
import sys
import time

HANDSHAKE = (b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
TEXT = b"x" * 32
FROM_CLIENT = bytes([0x81, 0x80 | len(TEXT), 0, 0, 0, 0]) + TEXT  # masked with zeros
FROM_SERVER = bytes([0x81, len(TEXT)]) + TEXT
PATIENCE = 20


def main():
    port, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    conns = [opened(port) for _ in range(count)]
    poll = select.epoll()
    by_fd = {conn.fileno(): conn for conn in conns}
    for fd, conn in by_fd.items():
        conn.setblocking(False)
        poll.register(fd, select.EPOLLIN)
    delivered, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        conns[0].sendall(FROM_CLIENT)
        one_round(poll, by_fd)
        delivered += count
    print(delivered, delivered / (time.monotonic() - began))


def opened(port):
    conn = socket.create_connection(("127.0.0.1", port), PATIENCE)
    conn.sendall(HANDSHAKE)
    received = b""
    while b"\r\n\r\n" not in received:
        piece = conn.recv(4096)
        if not piece:
            sys.exit(f"refused: {received[:100]}")
        received += piece
    if not received.startswith(b"HTTP/1.1 101"):
        sys.exit(f"refused: {received[:100]}")
    return conn


def one_round(poll, by_fd):
    missing = dict.fromkeys(by_fd, len(FROM_SERVER))
    until = time.monotonic() + PATIENCE
    while missing:
        if time.monotonic() > until:
            sys.exit(f"{len(missing)} sockets wait for the message")
        for fd, _ in poll.poll(1):
            missing[fd] -= len(by_fd[fd].recv(4096))
            if not missing[fd]:
                del missing[fd]


if __name__ == "__main__":
    main()
