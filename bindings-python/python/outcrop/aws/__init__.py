"""The AWS SDKs for Python, answered in this process."""
