"""Videos: decoded, upscaled frame by frame on the servers, encoded; everything else copied. Wants the extra [video].

from edsr_client import Upscaler
from edsr_client.video import VideoOptions

with Upscaler("localhost:8000") as upscaler:
    upscaler.upscale_video("in.mp4", "out.mp4", options=VideoOptions(crf=16))
"""

from .options import VideoOptions, VideoProgress, VideoResult
from .run import upscale_video

__all__ = ["VideoOptions", "VideoProgress", "VideoResult", "upscale_video"]
