"""Which files of a folder are videos and which are pictures, as far as names tell.

A file that is named on its own is opened whatever it is called; suffixes choose among the files of a folder. What has
another suffix is left out and counted in a note.
"""

from __future__ import annotations

from typing import Final

IMAGE_SUFFIXES: Final = (
    *(".avif", ".avifs", ".bmp", ".dib", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)

# Containers and bare streams that FFmpeg decodes. A suffix that mostly stands for something else (.bin, .dat, .mod,
# .swf, .yuv, whose size nothing tells) is not here.
VIDEO_SUFFIXES: Final = (
    *(".264", ".265", ".266", ".3g2", ".3gp", ".3gpp", ".amv", ".apng", ".asf", ".av1", ".avc", ".avi", ".avs2"),
    *(".bik", ".cine", ".dav", ".dif", ".divx", ".dv", ".dvr-ms", ".evo", ".f4v", ".flc", ".fli", ".flv", ".gif"),
    *(".gxf", ".h261", ".h263", ".h264", ".h265", ".h266", ".h26l", ".hevc", ".ismv", ".ivf", ".ivr", ".kux", ".lrv"),
    *(".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mk3d", ".mkv", ".moflex"),
    *(".mov", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg", ".mpg4", ".mpv", ".mts", ".mxf", ".mxg", ".nsv", ".nut"),
    *(".nuv", ".obu", ".ogm", ".ogv", ".ogx", ".pva", ".qt", ".r3d", ".rm", ".rmvb", ".roq", ".ser", ".smk", ".thp"),
    *(".tod", ".tp", ".trp", ".ts", ".ty", ".usm", ".vc1", ".viv", ".vob", ".vro", ".vvc", ".webm", ".wm", ".wmv"),
    *(".wtv", ".xmv", ".xvid", ".y4m", ".yop"),
)
# Mostly sound; a video where the file says so.
SOUND_OR_VIDEO_SUFFIXES: Final = (".ogg",)
