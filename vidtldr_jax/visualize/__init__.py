"""What merging did to a video: arrays (`maps`), a clip's history, pixels (`render`), files, a page for a browser."""

from vidtldr_jax.visualize.history import Answer, ClipHistory, make_history, record_history
from vidtldr_jax.visualize.maps import LayerMap, drop_class_tokens, make_layer_maps, spread_groups, spread_saliency
from vidtldr_jax.visualize.page import make_page, write_page
from vidtldr_jax.visualize.panels import draw_merge_map, draw_reconstruction, draw_saliency
from vidtldr_jax.visualize.reconstruct import reconstruct_frames
from vidtldr_jax.visualize.render import draw_overlay_frames, draw_strip
from vidtldr_jax.visualize.video_file import write_gif, write_image, write_video

__all__ = [
    "Answer",
    "ClipHistory",
    "LayerMap",
    "draw_merge_map",
    "draw_overlay_frames",
    "draw_reconstruction",
    "draw_saliency",
    "draw_strip",
    "drop_class_tokens",
    "make_history",
    "make_layer_maps",
    "make_page",
    "reconstruct_frames",
    "record_history",
    "spread_groups",
    "spread_saliency",
    "write_gif",
    "write_image",
    "write_page",
    "write_video",
]
