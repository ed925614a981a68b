"""`python -m bench [NAME...] [--quick] [--write]`: runs the benches and prints what they found, as Markdown."""

import argparse
import importlib
import sys

from bench import report

BENCHES = ("attempt", "commands", "matrix", "captures", "live", "idle", "page")


def main() -> None:
    """Runs the benches that are named, or all."""
    it = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    it.add_argument("name", nargs="*", help=f"{', '.join(BENCHES)} (all)")
    it.add_argument("--quick", action="store_true", help="little of everything: to see that the benches work")
    it.add_argument("--write", action="store_true", help=f"also put the tables into docs/{report.FILE.name}")
    arguments = it.parse_args()
    for name in arguments.name:
        if name not in BENCHES:
            it.error(f"there is no bench {name!r}; there are {', '.join(BENCHES)}")
    for name in arguments.name or BENCHES:
        print(f"bench {name} ...", file=sys.stderr, flush=True)
        section: report.ReportSection = importlib.import_module(f"bench.{name}").run(arguments.quick)
        print(f"## {name}\n\n{section.text()}\n", flush=True)
        if arguments.write:
            report.write(name, section)


if __name__ == "__main__":
    main()
