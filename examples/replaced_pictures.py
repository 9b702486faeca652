#!/usr/bin/env python3
"""Thumbnails of pictures that get replaced: each size is drawn once for each picture, however many clients ask.

    cargo run --release &
    python examples/replaced_pictures.py 127.0.0.1:11211

Thumbnails say which picture they are derived from (D), so replacing the picture is all there is to do: every size of it
is gone at once, and nobody keeps a list of sizes to delete. The first client that misses one gets the lease to draw it
(W), the others wait for it (Z). What was drawn from a picture that has been replaced meanwhile is refused (U, EX).
"""

import collections
import socket
import sys
import threading
import time

CLIENTS = 8
SIZES = ("small", "medium", "large")
PICTURES = 5
KEY = "picture:42"


class Cache:
    """The three commands of the meta protocol that this takes."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.stream = socket.create_connection((host, int(port)), timeout=10).makefile("rwb")

    def ask(self, line, data=None):
        self.stream.write(line.encode() + b"\r\n" + (b"" if data is None else data + b"\r\n"))
        self.stream.flush()
        code, *words = self.stream.readline().decode().split()
        value = None
        if code == "VA":
            value = self.stream.read(int(words.pop(0)) + 2)[:-2]
        return code, value, {word[0]: word[1:] for word in words}

    def get(self, key, *flags):
        return self.ask(" ".join(["mg", key, "v", *flags]))

    def set(self, key, value, *flags):
        return self.ask(" ".join(["ms", key, str(len(value)), *flags]), value)[0]


def thumbnail(cache, size, drawn):
    key = f"thumbnail:42:{size}"
    while True:
        # A miss makes an empty item for 30 seconds; longer than that nobody waits for who draws.
        _, small, flags = cache.get(key, "N30")
        if "W" in flags:
            return draw_and_store(cache, key, size, drawn)
        if "Z" not in flags:
            return small
        time.sleep(0.005)


def draw_and_store(cache, key, size, drawn):
    while True:
        _, picture, flags = cache.get(KEY, "c")
        small = draw(picture, size)
        drawn.append((picture, size))
        if cache.set(key, small, "T3600", f"D{KEY}", f"U{flags['c']}") == "HD":
            return small
        # The picture has been replaced while we drew.


def draw(picture, size):
    time.sleep(0.05)  # Decoding, scaling and encoding take their time.
    return picture + b", " + size.encode()


def main():
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:11211"
    drawn = []
    for number in range(PICTURES):
        picture = b"picture number %d" % number
        cache = Cache(address)
        assert cache.set(KEY, picture) == "HD"
        before = len(drawn)

        def visit(results):
            cache = Cache(address)
            results += [(size, thumbnail(cache, size, drawn)) for size in SIZES for _ in range(3)]

        results = []
        visitors = [threading.Thread(target=visit, args=(results,)) for _ in range(CLIENTS)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        assert len(results) == CLIENTS * len(SIZES) * 3, "a visitor failed"
        for size, small in results:
            assert small == picture + b", " + size.encode(), f"an old thumbnail was shown: {small}"
        print(f"{picture.decode()}: {len(results)} thumbnails shown to {CLIENTS} clients, {len(drawn) - before} drawn")

    counts = collections.Counter(drawn)
    assert len(counts) == PICTURES * len(SIZES) and set(counts.values()) == {1}, counts
    print("every size of every picture was drawn once, and no old one was shown")


if __name__ == "__main__":
    main()
