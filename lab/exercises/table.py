"""All exercises, in the order in which they are done. One row and one folder make an exercise."""

from lab.exercises.checks import certificate
from lab.exercises.exercise import Exercise, ExerciseError

EXERCISES = (
    Exercise(
        1,
        "her-certificate",
        15,
        "A client's certificate is no secret: in TLS 1.2 it crosses the wire in plaintext.",
        "SHA-256",
        certificate.check,
    ),
)


def find_exercise(number: str) -> Exercise:
    """The exercise of this number or name; ExerciseError where there is none."""
    for one in EXERCISES:
        if number in (str(one.number), f"{one.number:02}", one.name, one.folder):
            return one
    known = ", ".join(str(one.number) for one in EXERCISES)
    raise ExerciseError(f"there is no exercise {number}; there are {known}")
