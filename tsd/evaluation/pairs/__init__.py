"""A folder of generated videos against a folder of real ones: other systems' output through the same measures."""
