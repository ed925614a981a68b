"""Options and arguments that several commands of `certreplay` have."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]
NewRuns = Annotated[Path, typer.Option("--runs", help="Where the run's own directory is made.")]
Runs = Annotated[Path, typer.Option("--runs", help="The directory that holds the runs.")]
RunFolder = Annotated[
    Path | None,
    typer.Argument(help="A run's directory, or its name in --runs; the newest if not given.", metavar="[RUN]"),
]
RUNS = Path("runs")
Student = Annotated[
    str, typer.Option(help="Whose run it is: it stands in alice's certificates.", envvar="CERTREPLAY_STUDENT")
]
