"""Faults in the sending: resets, silence, dribble, bodies cut short or without an end."""

import asyncio
import socket
import zlib
from functools import lru_cache

from .bad_bytes import flatten
from .fault_kinds import Fault, Params
from .protocol import Connection
from .replies import Ask, Reply, chunk, split

PIECE = 1 << 18
FOREVER = 1 << 30


async def refuse_connections(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Close the listener and reset every connection, this one too."""
    wire.service.refuse(p["for_s"])
    wire.cut(reset=True)


async def rst_before_headers(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Reset before the first byte."""
    wire.cut(reset=True)


async def close_before_headers(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Close politely before the first byte."""
    wire.cut()


async def rst_after_headers(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Reset once the headers have arrived."""
    wire.write(reply.head())
    await wire.drain()
    await asyncio.sleep(p["pause_s"])
    wire.cut(reset=True)


async def rst_mid_body(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Reset in the middle of the body."""
    body = b"".join(reply.pieces())
    wire.write(reply.head() + body[: int(len(body) * p["fraction"])])
    await wire.drain()
    await asyncio.sleep(p["pause_s"])
    wire.cut(reset=True)


async def black_hole(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Take the request and say nothing; close after `for_s` if that is set."""
    await asyncio.sleep(FOREVER if p["for_s"] is None else p["for_s"])
    wire.cut()


async def drip(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Send byte by byte; with `head` the headers too."""
    body = b"".join(reply.pieces())
    if p["head"]:
        body = reply.head() + body
    else:
        wire.write(reply.head())
    for piece in split(body, p["bytes"]):
        wire.write(piece)
        await asyncio.sleep(p["every_s"])
    wire.finish(reply.status)


async def stall(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Send a part of the body, or of the stream, and no more."""
    pieces = reply.pieces()
    if len(pieces) == 1:
        pieces = split(pieces[0], 16)
    wire.write(reply.head() + b"".join(pieces[: int(len(pieces) * p["fraction"])]))
    await asyncio.sleep(FOREVER if p["for_s"] is None else p["for_s"])
    wire.cut()


async def short_body(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Close before the declared length is reached."""
    body = flatten(reply).body
    wire.write(reply.head() + body[: int(len(body) * p["fraction"])])
    wire.cut()


async def content_length_long(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Declare more bytes than there are, and leave the client waiting for them."""
    reply.length = len(flatten(reply).body) + p["by"]
    wire.write(reply.head() + reply.body)
    await asyncio.sleep(FOREVER)


async def chunk_cut(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Close inside a chunk, or, `at` "before_end", with all but the last, empty chunk sent."""
    reply.framing = "chunked"
    *chunks, last, _ = reply.pieces()
    if p["at"] == "mid_chunk":
        last = last[: len(last) // 2]
    wire.write(reply.head() + b"".join(chunks) + last)
    wire.cut()


async def huge_body(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Send a valid reply of many bytes."""
    start, middle, end = flatten(reply).body.partition(b'"usage"')
    start += b'"padding":"'
    end = b'",' + middle + end
    reply.length = max(p["bytes"], len(start) + len(end))
    wire.write(reply.head() + start)
    left = reply.length - len(start) - len(end)
    while left > 0:
        await wire.drain()
        wire.write(b"x" * min(left, PIECE))
        left -= min(left, PIECE)
    wire.write(end)
    await wire.drain()
    wire.finish(reply.status)


async def endless_body(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Send a body that does not end, up to `bytes`; in chunks, so no length warns of it."""
    reply.events = None
    reply.framing = "chunked"
    start = b"data: " if ask.stream else b'{"padding":"'
    wire.write(reply.head() + chunk(start))
    piece = chunk(b"x" * (PIECE // 4))
    for _ in range(p["bytes"] // len(piece)):
        await wire.drain()
        wire.write(piece)
    wire.cut()


@lru_cache(maxsize=4)
def gzip_bomb_body(start: bytes, end: bytes, size: int) -> bytes:
    """Gzip `size` bytes of spaces between two ends: one megabyte is compressed and repeated."""
    spaces = b" " * (1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    tail = packer.compress(end) + packer.flush(zlib.Z_FINISH)
    blocks = size >> 20
    check = zlib.crc32(start)
    for _ in range(blocks):
        check = zlib.crc32(spaces, check)
    check = zlib.crc32(end, check)
    length = (len(start) + (blocks << 20) + len(end)) & 0xFFFFFFFF
    trailer = check.to_bytes(4, "little") + length.to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + head + block * blocks + tail + trailer


async def gzip_bomb(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Send about a thousandth of what the body unpacks to: valid JSON with many spaces in it."""
    body = flatten(reply).body
    packed = await asyncio.to_thread(gzip_bomb_body, body[:1], body[1:], p["bytes"])
    reply.headers["Content-Encoding"] = "gzip"
    reply.body = packed
    wire.respond(reply)


async def double_reply(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Send the reply twice; the second lies in wait for the next request."""
    wire.write(reply.wire())
    wire.respond(reply)


async def late(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Answer in full after a time; a client that has left by then pays all the same."""
    await asyncio.sleep(p["delay_s"])
    wire.respond(reply)


async def continue_100(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Send interim responses first, unasked."""
    wire.write(b"HTTP/1.1 100 Continue\r\n\r\n" * p["times"])
    await asyncio.sleep(p["pause_s"])
    wire.respond(reply)


async def close_after(p: Params, ask: Ask, reply: Reply, wire: Connection) -> None:
    """Close after a whole reply that did not announce it; its end comes with its last byte.

    Where it came later, the next request could be under way, and nobody knew whether it was read.
    """
    sock = wire.transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    wire.respond(reply, close=True)


_PAUSE = {"pause_s": 0.05}

WIRE_FAULTS = [
    Fault("refuse_connections", 15, "wire", refuse_connections, {"for_s": 1.0}, bills=False),
    Fault("rst_before_headers", 16, "wire", rst_before_headers, {}),
    Fault("close_before_headers", 16, "wire", close_before_headers, {}),
    Fault("rst_after_headers", 16, "wire", rst_after_headers, _PAUSE),
    Fault("rst_mid_body", 16, "wire", rst_mid_body, {"fraction": 0.5, **_PAUSE}),
    Fault("close_after", 16, "wire", close_after, {}),
    Fault("black_hole", 17, "wire", black_hole, {"for_s": None}),
    Fault("drip", 18, "wire", drip, {"bytes": 1, "every_s": 1.0, "head": False}),
    Fault("stall", 18, "wire", stall, {"fraction": 0.5, "for_s": None}),
    Fault("short_body", 19, "wire", short_body, {"fraction": 0.5}),
    Fault("chunk_cut", 19, "wire", chunk_cut, {"at": "mid_chunk"}),
    Fault("content_length_long", 26, "wire", content_length_long, {"by": 20}),
    Fault("huge_body", 26, "wire", huge_body, {"bytes": 100_000_000}),
    Fault("endless_body", 26, "wire", endless_body, {"bytes": 1 << 33}),
    Fault("gzip_bomb", 26, "wire", gzip_bomb, {"bytes": 1 << 30}),
    Fault("continue_100", 33, "wire", continue_100, {"times": 1, **_PAUSE}),
    Fault("late", 34, "wire", late, {"delay_s": 5.0}),
    Fault("double_reply", 34, "wire", double_reply, {}),
]
