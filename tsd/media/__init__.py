"""Files in and out, in one place: video, audio, faces."""
