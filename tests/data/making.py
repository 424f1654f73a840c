"""Videos made on the spot, each frame of which says its number in black and white bars."""

import contextlib
import io
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
from PIL import Image

NUM_BITS = 8


def draw_frame(number, *, height=48, width=64):
    """Returns a frame whose left half shows its number in bars, over a texture that moves."""
    rng = np.random.default_rng(7)
    texture = rng.integers(60, 200, (height, width, 3)).repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
    frame = np.roll(texture, 3 * number, axis=1).astype(np.uint8)
    for bit in range(NUM_BITS):
        top, bottom = bit * height // NUM_BITS, (bit + 1) * height // NUM_BITS
        frame[top:bottom, : width // 2] = 255 if number >> bit & 1 else 0
    return frame


def read_number(frame):
    """Returns the number that a frame shows, at any size."""
    height, width = frame.shape[:2]
    rows = ((np.arange(NUM_BITS) + 0.5) * height / NUM_BITS).astype(int)
    is_white = frame[rows, width // 5].mean(axis=-1) > 127
    return int((is_white << np.arange(NUM_BITS)).sum())


def write_video(
    path,
    *,
    num_frames=40,
    codec="libx264",
    pix_fmt="yuv420p",
    height=48,
    width=64,
    options=None,
    container_options=None,
    ticks=None,
    rotation=None,
    metadata=None,
    first_number=0,
    draw=draw_frame,
):
    """Writes a video of numbered frames at 25 per second, or at the given ticks of 1/60 s."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=25 if ticks is None else 60, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(draw(first_number + number, height=height, width=width), format="rgb24")
            if ticks is not None:
                frame.pts, frame.time_base = ticks[number], Fraction(1, 60)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_audio(path, *, codec, num_blocks=8):
    """Writes silence, 16 blocks a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16000, layout="mono")
        for _ in range(num_blocks):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def encode_picture(number, *, kind="JPEG", height=48, width=64, **options):
    """Returns the bytes of a numbered frame as a picture."""
    file = io.BytesIO()
    Image.fromarray(draw_frame(number, height=height, width=width)).save(file, kind, **{"quality": 95} | options)
    return file.getvalue()


def make_bomb(width, height):
    """Returns a PNG of one pixel that says that it is larger."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def write_packets(path, packets, *, codec="mjpeg", pix_fmt="yuvj420p", height=48, width=64, rate=10):
    """Writes packets as they are, one a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, rate), stream, True
            container.mux(packet)
    return path


def mux_streams(path, *sources, dispositions=None, delay=0.0, skip=lambda place, number: False, options=None):
    """Copies the only stream of each source into one file, `delay` seconds later, without the packets to skip."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(av.open(str(source))) for source in sources]
        target = stack.enter_context(av.open(str(path), "w", options=options or {}))
        packets = []
        for place, source in enumerate(opened):
            stream = target.add_stream_from_template(source.streams[0])
            if dispositions is not None:
                stream.disposition = dispositions[place]
            for number, packet in enumerate(p for p in source.demux() if p.size):
                if skip(place, number):
                    continue
                shift = round(delay / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                packets.append((float(packet.dts * packet.time_base), place, packet))
        for _, _, packet in sorted(packets, key=lambda entry: entry[:2]):
            target.mux(packet)
    return path


def decode_all(path):
    """Returns all frames of a video, decoded from its beginning to its end by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
