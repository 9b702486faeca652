#!/usr/bin/env python3
"""Thumbnails from a cache: drawn on a miss, served on a hit.

    pip install pillow python-memcached
    cargo run --release &
    python examples/thumbnails.py 127.0.0.1:11211

A gallery shows the same pictures again and again. Making a picture small takes milliseconds; asking a cache for the
small one takes a fraction of that. The key says everything the thumbnail depends on, so nothing ever has to be
deleted: a picture that changes gets another digest, and with it another key.
"""

import hashlib
import io
import math
import random
import sys
import time

import memcache
from PIL import Image

PICTURES = 12
VISITS = 200
SIZE = (160, 120)
DAY = 24 * 60 * 60


def main():
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:11211"
    cache = memcache.Client([address])
    if not cache.get_stats():
        sys.exit(f"nothing answers at {address}; start one with: cargo run --release")

    print(f"drawing {PICTURES} pictures of 1600 x 1200")
    gallery = [draw(number) for number in range(PICTURES)]
    visits = random.Random(7).choices(gallery, k=VISITS)

    without = time.perf_counter()
    expected = [shrink(picture) for picture in visits]
    without = time.perf_counter() - without

    misses = 0
    cached = time.perf_counter()
    for picture, wanted in zip(visits, expected):
        small, was_there = thumbnail(cache, picture)
        misses += not was_there
        assert small == wanted, "the cache gave something else than was put in"
    cached = time.perf_counter() - cached

    hits = VISITS - misses
    print(f"{VISITS} visits without a cache: {without * 1000:8.1f} ms")
    print(f"{VISITS} visits with a cache:    {cached * 1000:8.1f} ms, {misses} computed, {hits} served from memory")
    print(f"time saved: {(without - cached) * 1000:.1f} ms, {100 * (1 - cached / without):.0f} %")


def thumbnail(cache, picture):
    """The picture made small, and whether the cache had it."""
    key = f"thumbnail:{SIZE[0]}x{SIZE[1]}:{hashlib.sha256(picture).hexdigest()}"
    small = cache.get(key)
    if small is not None:
        return small, True
    small = shrink(picture)
    cache.set(key, small, time=DAY)
    return small, False


def shrink(picture):
    """What the cache saves: decoding, scaling, encoding."""
    image = Image.open(io.BytesIO(picture))
    image.thumbnail(SIZE, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def draw(number):
    """A picture of rings, as a camera would hand it over: a JPEG of some hundred kilobytes."""
    small = Image.new("RGB", (400, 300))
    centre = (200 + 150 * math.cos(number), 150 + 100 * math.sin(number))
    pixels = []
    for y in range(300):
        for x in range(400):
            ring = math.sin(math.dist((x, y), centre) / (4 + number))
            pixels.append((int(127 + 127 * ring), x * 255 // 400, y * 255 // 300))
    small.putdata(pixels)
    out = io.BytesIO()
    small.resize((1600, 1200)).save(out, "JPEG", quality=92)
    return out.getvalue()


if __name__ == "__main__":
    main()
