"""What reading and writing captures can fail with; every text is one line for people."""


class CaptureFileError(Exception):
    """A capture file that cannot be read or written, or has nothing to read; the text says which, where and why."""
