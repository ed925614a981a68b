"""What reading and writing captures can fail with; every text is one line for people."""


class CaptureFileError(Exception):
    """A capture file that cannot be read or written, or has nothing to read; the text says which, where and why."""


class CutOffError(CaptureFileError):
    """A capture file that ends in the middle of a packet, as one does that is still written."""
