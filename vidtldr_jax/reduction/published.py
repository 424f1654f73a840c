"""The schedules that vid-TLDR was published with: UMT of two sizes on nine data sets.

    find_published("msrvtt", "b16").r  # (600, 200, 100)

They are for 12 frames of 224 x 224 pixels, patches of 16 x 16: 2352 tokens. GMACs are those of the video encoder as its
authors counted them: products of matrices, convolutions and 5 operations per number of a LayerNorm.

Source: arXiv 2403.13347 and the official release's configs.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SIZES: Final = {"b16": "umt-b16", "l16": "umt-l16"}  # size -> preset
PLAIN_GMACS: Final = {"b16": 303.3, "l16": 984.6}


class PublishedSchedule(NamedTuple):
    """A schedule of one model on one data set.

    Attributes:
      data_set: "msrvtt", "msvd", ... for retrieval; "msrvtt_qa" and "msvd_qa" for questions.
      size: "b16" or "l16".
      r: tokens that each of the first layers absorbs.
      gmacs: giga multiply-accumulates of the video encoder, as published.
      note: what the paper says otherwise, or "".
    """

    data_set: str
    size: str
    r: tuple[int, ...]
    gmacs: float
    note: str = ""


PUBLISHED: Final = (
    PublishedSchedule("msrvtt", "b16", (600, 200, 100), 178.0),
    PublishedSchedule("msvd", "b16", (450, 250, 200), 181.3, "the paper's figure says 182.2"),
    PublishedSchedule("activitynet", "b16", (500,), 227.6),
    PublishedSchedule("didemo", "b16", (250, 150, 150, 150), 212.8, "the paper's figure says 183.6"),
    PublishedSchedule("lsmdc", "b16", (400, 150, 150), 206.2),
    PublishedSchedule("ssv2_label", "b16", (200, 200, 200, 100), 212.9),
    PublishedSchedule("ssv2_template", "b16", (400, 300), 203.7),
    PublishedSchedule("msrvtt_qa", "b16", (600, 200), 188.5),
    PublishedSchedule("msvd_qa", "b16", (600, 200), 188.5),
    PublishedSchedule("msrvtt", "l16", (550, 400), 543.4),
    PublishedSchedule("msvd", "l16", (600, 200, 100, 100), 528.6),
    PublishedSchedule("activitynet", "l16", (600, 300), 563.1),
    PublishedSchedule("didemo", "l16", (800, 100), 559.0),
    PublishedSchedule("lsmdc", "l16", (250, 250, 200, 200), 583.7),
    PublishedSchedule("ssv2_label", "l16", (450, 250, 100), 610.9),
    PublishedSchedule("ssv2_template", "l16", (350, 300, 100, 50), 615.7),
    PublishedSchedule("msrvtt_qa", "l16", (400, 400, 100), 569.8),
    PublishedSchedule("msvd_qa", "l16", (400, 400, 100), 569.8),
)


def find_published(data_set: str, size: str) -> PublishedSchedule:
    """Return the published schedule of a model on a data set.

    Args:
      data_set: as in `PUBLISHED`.
      size: "b16" or "l16".

    Returns:
      The schedule and its cost as published.

    Raises:
      ValueError: none was published.
    """
    for one in PUBLISHED:
        if (one.data_set, one.size) == (data_set, size):
            return one
    data_sets = ", ".join(dict.fromkeys(one.data_set for one in PUBLISHED))
    raise ValueError(
        f"schedules were published for {data_sets} with {', '.join(SIZES)}; got {data_set!r} with {size!r}; choose of "
        "these."
    )
