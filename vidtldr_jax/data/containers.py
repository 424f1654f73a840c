"""Which files FFmpeg may open: formats that are one self-contained file.

A playlist (HLS, ffconcat, DASH, SDP), a pattern of picture names or a script makes FFmpeg open further files and
addresses, whatever the suffix says; an MLV goes on in a.m00, a.m01 and so forth. So only the formats listed here are
opened, all of which carry their own content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_VIDEO: Final = (
    *("3gp", "4xm", "anm", "apng", "apv", "asf", "asf_o", "av1", "avi", "avs", "avs2", "avs3", "bethsoftvid", "bfi"),
    *("bink", "bmv", "c93", "cavsvideo", "cdg", "cdxl", "cine", "derf", "dfa", "dhav", "dirac", "dnxhd", "dv", "dxa"),
    *("ea", "evc", "film_cpk", "filmstrip", "flic", "flv", "frm", "gdv", "gif", "gxf", "h261", "h263", "h264", "hevc"),
    *("hnm", "hxvs", "idcin", "iff", "ifv", "ingenient", "ipmovie", "ipu", "iss", "iv8", "ivf", "ivr", "jpegxl_anim"),
    *("jv", "kux", "live_flv", "lmlm4", "luodat", "lvf", "lxf", "m4v", "matroska", "mgsts", "mjpeg", "mjpeg_2000"),
    *("mm", "mods", "moflex", "mov", "mp4", "mpeg", "mpegts", "mpegvideo", "msnwctcp", "mtv", "mv", "mvi"),
    *("mxf", "mxg", "nc", "nsv", "nut", "nuv", "obu", "ogg", "paf", "pdv", "pmp", "pva", "r3d", "rl2", "rm", "roq"),
    *("rpl", "ser", "sga", "simbiosis_imx", "smjpeg", "smk", "smush", "swf", "thp", "tiertexseq", "tmv", "txd", "ty"),
    *("usm", "vc1", "vc1test", "vividas", "vivo", "vmd", "vvc", "wc3movie", "webm", "wsvqa", "wtv", "xmv", "yop"),
    "yuv4mpegpipe",
)
# One picture each, read by content: no "image2", which takes a name with "%d" for a pattern of names.
_PICTURES: Final = (
    *("bmp_pipe", "dds_pipe", "dpx_pipe", "exr_pipe", "fits", "gem_pipe", "hdr_pipe", "ico", "j2k_pipe", "jpeg_pipe"),
    *("jpegls_pipe", "jpegxl_pipe", "jpegxs_pipe", "pam_pipe", "pbm_pipe", "pcx_pipe", "pfm_pipe", "pgm_pipe"),
    *("pgmyuv_pipe", "pgx_pipe", "phm_pipe", "pictor_pipe", "png_pipe", "ppm_pipe", "psd_pipe", "qdraw_pipe"),
    *("qoi_pipe", "sgi_pipe", "sunrast_pipe", "tiff_pipe", "vbn_pipe", "webp_pipe", "xwd_pipe"),
)
# Sound is opened to say that it is sound, or that its only picture is a cover.
_SOUND: Final = (
    *("aac", "ac3", "aiff", "amr", "ape", "au", "caf", "dsf", "dts", "eac3", "flac", "mlp", "mp3", "mpc", "mpc8"),
    *("oma", "truehd", "tta", "voc", "w64", "wav", "wv"),
)
_BEGINNINGS_OF_LISTS: Final = (b"ffconcat version", b"#EXTM3U", b"v=0", b"<?xml", b"<MPD", b"RTSPtext", b"[playlist]")
_ENOUGH_TO_TELL: Final = 4096

#: For FFmpeg: what may be opened, by which means, and nothing that a QuickTime file points at.
SAFE_OPTIONS: Final = {
    "format_whitelist": ",".join((*_VIDEO, *_PICTURES, *_SOUND)),
    "protocol_whitelist": "file",
    "enable_drefs": "0",
}


def find_kind_of_text(path: Path) -> str | None:
    """Return what kind of text a file is: "a playlist" or "a text file"; None if it is not text.

    Args:
      path: of a regular file.

    Raises:
      OSError: it can't be read.
    """
    with path.open("rb") as file:
        begin = file.read(_ENOUGH_TO_TELL).removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin.startswith(_BEGINNINGS_OF_LISTS):
        return "a playlist"
    is_text = bool(begin) and all(byte >= 0x20 or byte in b"\t\n\f\r\x1b" for byte in begin)
    return "a text file" if is_text else None
