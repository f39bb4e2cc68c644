from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.consensus.messages import CAP, Type
from vppd.net.frames import (
    ANSWER_CAPS,
    OPENING_CAPS,
    PEER_CAPS,
    REFUSE,
    REQUEST_CAPS,
    Frame,
    FrameError,
    FrameParser,
    encode_frame,
)

CAPS = {1: 40, 2: 0, 200: 1_000}
frames = st.sampled_from(sorted(CAPS)).flatmap(
    lambda type_: st.builds(Frame, st.just(type_), st.binary(max_size=CAPS[type_]))
)


def parse(pieces: Iterable[bytes]) -> tuple[list[Frame], str | None]:
    """Frames before the first one refused, and why that was."""
    parser, found = FrameParser(CAPS), []
    try:
        for piece in pieces:
            found += list(collect(parser.feed(piece), found))
    except FrameError as err:
        return found, str(err)
    return found, None


def collect(source: Iterator[Frame], into: list[Frame]) -> Iterator[Frame]:
    """Adds to ``into`` itself, so that frames before a refused one are kept."""
    into.extend(source_until_error(source, into))
    return iter(())


def source_until_error(source: Iterator[Frame], into: list[Frame]) -> list[Frame]:
    for frame in source:
        into.append(frame)
    return []


@st.composite
def chunked(draw: st.DrawFn, stream: st.SearchStrategy[bytes]) -> list[bytes]:
    data = draw(stream)
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=30).map(sorted))
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


def joined(sequence: list[Frame]) -> bytes:
    return b"".join(encode_frame(*frame) for frame in sequence)
