"""The commands for a course: `grade`, `export` and `class`. Each imports what it needs when it is called."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lab.commands.options import RUNS, Json

Roster = Annotated[Path, typer.Option(help="CSV with a column `student`.")]
Secret = Annotated[Path, typer.Option(help="The course's secret, a file that is made if it is not there.")]


def grade(
    folders: Annotated[list[Path], typer.Argument(help="One of each student, with her name.", metavar="FOLDER...")],
    roster: Annotated[Path | None, typer.Option(help="Name those as well who handed nothing in.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the table there, as CSV.")] = None,
    as_json: Json = False,
) -> None:
    """Judge handed-in runs and answers anew, for a teacher. Status 0: nothing found; 1: findings."""
    from lab.course.call import grade_folders

    sys.exit(grade_folders(folders, roster, csv, as_json))


export_app = typer.Typer(help="Write what a course needs elsewhere.", rich_markup_mode=None)


@export_app.command(name="tokens")
def export_tokens_command(roster: Roster, secret: Secret = Path("course.secret"), as_json: Json = False) -> None:
    """Print each student's token, with which her lab prints receipts."""
    from lab.course.call import export_tokens

    sys.exit(export_tokens(roster, secret, as_json))


@export_app.command(name="receipts")
def export_receipts_command(
    graded: Annotated[Path, typer.Argument(help="What `grade --csv` wrote.", metavar="GRADES.csv")],
    secret: Annotated[Path, typer.Option(help="The course's secret.")] = Path("course.secret"),
    as_json: Json = False,
) -> None:
    """Print a receipt for each right answer in a table of grades."""
    from lab.course.call import export_receipts

    sys.exit(export_receipts(graded, secret, as_json))


@export_app.command(name="ctfd")
def export_ctfd_command(
    roster: Roster,
    secret: Secret = Path("course.secret"),
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")] = Path("ctfd"),
    as_json: Json = False,
) -> None:
    """Write the exercises as challenges for CTFd, with a flag for each student."""
    from lab.course.call import export_ctfd

    sys.exit(export_ctfd(roster, secret, output, as_json))


class_app = typer.Typer(help="A lab for each student, on this host, in containers.", rich_markup_mode=None)
ClassRuns = Annotated[Path, typer.Option("--runs", help="Has a folder of runs for each student, and the class's file.")]
Compose = Annotated[Path, typer.Option(help="The lab's compose file.")]


@class_app.command(name="up")
def class_up_command(
    roster: Roster,
    runs: ClassRuns = RUNS,
    compose: Compose = Path("compose.yaml"),
    name: Annotated[str, typer.Option(help="What the names of its compose projects begin with.")] = "class",
    network: Annotated[str, typer.Option(help="A private /20 for all labs; a free one if not given.")] = "",
    first_port: Annotated[int, typer.Option(min=1024, max=65535, help="Of the labs' pages, on loopback.")] = 8451,
    every: Annotated[float, typer.Option(min=0, max=60, help="Seconds between two starts.")] = 4,
    as_json: Json = False,
) -> None:
    """Start a lab for each student of the roster. Status 0: all have started or worked."""
    from lab.course.call import class_up

    sys.exit(class_up(roster, runs, compose, name, network, first_port, every, as_json))


@class_app.command(name="status")
def class_status_command(
    roster: Annotated[Path | None, typer.Option(help="Show those as well who have no lab.")] = None,
    runs: ClassRuns = RUNS,
    compose: Compose = Path("compose.yaml"),
    as_json: Json = False,
) -> None:
    """Show who has what and who is stuck. Status 0: all have started or worked."""
    from lab.course.call import class_status

    sys.exit(class_status(roster, runs, compose, as_json))


@class_app.command(name="down")
def class_down_command(
    students: Annotated[
        list[str] | None, typer.Argument(help="Whose; all if not given.", metavar="[STUDENT...]")
    ] = None,
    roster: Annotated[Path | None, typer.Option(help="Only those of this roster.")] = None,
    runs: ClassRuns = RUNS,
    compose: Compose = Path("compose.yaml"),
    as_json: Json = False,
) -> None:
    """Take labs down with all that they had, but for their runs."""
    from lab.course.call import class_down

    sys.exit(class_down(students or [], roster, runs, compose, as_json))


@class_app.command(name="restart")
def class_restart_command(
    student: str, runs: ClassRuns = RUNS, compose: Compose = Path("compose.yaml"), as_json: Json = False
) -> None:
    """Stop one student's lab and start a new run in it."""
    from lab.course.call import class_again

    sys.exit(class_again(student, False, runs, compose, as_json))


@class_app.command(name="reset")
def class_reset_command(
    student: str, runs: ClassRuns = RUNS, compose: Compose = Path("compose.yaml"), as_json: Json = False
) -> None:
    """Take one student's lab down and start it as at the beginning, with new keys. Earlier runs stay."""
    from lab.course.call import class_again

    sys.exit(class_again(student, True, runs, compose, as_json))
