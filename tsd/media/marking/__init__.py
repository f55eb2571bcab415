"""The invisible mark: 32 bits in the pixels of every generated video (docs/responsible-use.md). ``embed.Mark`` writes
it into frames, ``detect.find`` looks for it; only numpy and OpenCV are needed."""
