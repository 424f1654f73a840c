"""What merging did to a video, drawn over its frames: arrays (`maps`), pixels (`render`), files (`video_file`)."""

from vidtldr_jax.visualize.maps import LayerMap, leave_patches, make_layer_maps, spread_groups, spread_saliency
from vidtldr_jax.visualize.render import Drawing, draw_merge_map, draw_overlay_frames, draw_saliency, draw_strip
from vidtldr_jax.visualize.video_file import write_image, write_video

__all__ = [
    "Drawing",
    "LayerMap",
    "draw_merge_map",
    "draw_overlay_frames",
    "draw_saliency",
    "draw_strip",
    "leave_patches",
    "make_layer_maps",
    "spread_groups",
    "spread_saliency",
    "write_image",
    "write_video",
]
