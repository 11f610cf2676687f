"""Generated conversations from which outcrop.tiny-v1 learns to copy, to cite and to call."""
