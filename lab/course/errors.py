"""What a teacher's call can get wrong."""


class CourseError(Exception):
    """A roster, a hand-in, a secret or a class that cannot be used; the text says why and what to do."""
