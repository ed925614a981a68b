"""What the services in compose.yaml run, a hidden command each. Each imports what it needs when it is called."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lab.catalogue.plan import KeyType
from lab.commands.options import Student
from lab.exits import AS_EXPECTED, NOT_AS_EXPECTED, bad_input, run_to_end
from lab.printable import say

if TYPE_CHECKING:
    from lab.events.run import Run
    from lab.judging.judgement import Judgement

classroom_app = typer.Typer(help="What the services in compose.yaml run.", hidden=True, rich_markup_mode=None)


@classroom_app.command()
def check() -> None:
    """Look whether the class can begin."""
    from lab.staging import classroom

    environ = os.environ
    classroom.check(
        environ.get("CERTREPLAY_SUBNET", ""), environ["CERTREPLAY_RUNS"], environ.get("CERTREPLAY_STUDENT", "")
    )


@classroom_app.command()
def authority(
    key_type: Annotated[KeyType, typer.Option(help="What kind of keys the certificates have.")] = "p256",
    student: Student = "",
) -> None:
    """Issue the bundles and name the run."""
    from lab.catalogue.plan import short_story
    from lab.staging import classroom

    classroom.start_run(short_story(key_type).of(student), os.environ.get("CERTREPLAY_PROJECT", ""))


@classroom_app.command()
def request(
    key_type: Annotated[KeyType, typer.Option(help="What kind of key alice makes.")] = "p256",
) -> None:
    """Make alice a key of her own, and a request for a certificate."""
    from lab.staging import classroom

    classroom.request_certificate(key_type)


@classroom_app.command(name="control")
def control_command(
    gateway: Annotated[list[str], typer.Option(help="[self-signed=]HOST:PORT of a gateway; once for each.")],
) -> None:
    """Try the stolen bundle at every gateway, after the attacker."""
    from attacker.call import parse_gateway
    from lab.process import BadInput
    from lab.staging import classroom

    try:
        targets = list(map(parse_gateway, gateway))
    except BadInput as error:
        bad_input(str(error))
    run_to_end(classroom.run_control(targets))


@classroom_app.command()
def follow() -> None:
    """Follow the parts, tell the story, judge."""
    import asyncio

    from lab.document import Break, Paragraph
    from lab.judging.verdicts import JudgedRun
    from lab.process import stop_signal
    from lab.staging import classroom
    from lab.story import acts as story
    from lab.views import terminal

    shown = terminal.Terminal(prefix=classroom.PREFIX)
    teller = story.Teller()
    once = bool(os.environ.get("CERTREPLAY_ONCE"))

    def watch(run: "Run", judgement: "Judgement | None") -> None:
        was_done = teller.done
        shown.show(teller.update(JudgedRun(run), over=judgement is not None))
        if teller.done and not was_done and not once:
            stays = f"The run is in runs/{run.name}. The lab keeps running for the class; press Ctrl-C to stop it."
            shown.show([Break(), Paragraph(stays)])

    async def run() -> "Judgement":
        return await classroom.follow(stop_signal(tether=False), once, watch)

    sys.exit(AS_EXPECTED if asyncio.run(run()).as_expected else NOT_AS_EXPECTED)


@classroom_app.command(name="page")
def page_command(
    port: Annotated[
        int, typer.Option(envvar="CERTREPLAY_PAGE_PORT", min=1, max=65535, help="Where the host has the page.")
    ],
) -> None:
    """Serve the page of the run that goes on."""
    import asyncio

    from lab.page import showing
    from lab.process import stop_signal, until_told
    from lab.staging import classroom

    if why := classroom.why_not_shown():
        say(f"certreplay: {why}", error=True)

    async def run() -> None:
        await until_told(stop_signal(tether=False), showing.show_published(classroom.run_to_show, port))

    asyncio.run(run())
