"""Reports of single crashes, as pages to be shown: one of your choice, or the gallery of a whole matrix.

    python -m tools.report CRASHED=recipient STEP=3.2 LOST=log         one page in build/reports
    python -m tools.report --matrix full                               a page for every crash of the matrix
    python -m tools.report --matrix full CRASHED=both NETWORK=lossy    the same for a part of it, in another world

`make report` and `make reports` are the same: make report CRASHED=recipient STEP=3.2 LOST="last entry". Each page is
notebook 13, executed with these parameters. A wrong name or value is refused in one sentence, and nothing is written.
An interrupt (Ctrl-C) of the gallery leaves an index of what is done.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import Misuse
from protocol.reports import PARAMETERS, choose, find_worst_act, read_act
from protocol.scenarios import CHOICES, Scenario, list_acts, list_steps
from tools.book import prepare_environment
from tools.notebooks import ROOT

if TYPE_CHECKING:
    from tools.report_pages import Made

REPORTS = ROOT / "build" / "reports"
PAGES = "matrix"  # the pages of the gallery, below its index
MATRICES = {
    "small": "every action on a ledger, its process or its log lost",
    "full": "every step in which the gateway does something durable, and every loss",
}
SMALL = ("nothing", "log")
SEVERAL = {"CRASHED": ("sender", "recipient", "both"), "STEP": CHOICES["step"], "LOST": CHOICES["lost"]}

EPILOGUE = f"""
the parameters; those of the gallery that may have several values, with commas: CRASHED, STEP, LOST
  CRASHED    {", ".join(CHOICES["crashed"])}
  STEP       a step of TABLE 1, 1.1 to 3.9, in which that gateway does something durable
  LOST       {", ".join(CHOICES["lost"])}
  WHEN       {", ".join(CHOICES["when"])}
  ACT        which of the durable acts within the step, from 1; else the action, before its outcome is in the log
  RESTART    {", ".join(CHOICES["restart"])}
  NETWORK    {", ".join(CHOICES["network"])}
  RULES_OFF  names of rules to switch off or of behaviours of the drafts to switch on, with commas

the matrices
{chr(10).join(f"  {name:<9}  {words}" for name, words in MATRICES.items())}
"""


def read_settings(words: list[str], named: str, *more: str) -> dict[str, str]:
    """NAME=VALUE as it stands on the command line, and variables that make was given, which it has exported.

    `more` are names that may stand there beside the parameters.
    """
    wrong = [word for word in words if word.find("=") < 1]
    if wrong:
        raise Misuse(f"a parameter is NAME=VALUE, as in CRASHED=sender, not {wrong[0]!r}")
    settings = {name: os.environ.get(name, "") for name in named.split()}
    settings |= dict(word.split("=", 1) for word in words)
    known = (*PARAMETERS, *more)
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise Misuse(f"there is no parameter {', '.join(unknown)}; the parameters are {', '.join(known)}")
    return settings


def compute_matrix(name: str, settings: dict[str, str]) -> list[Scenario]:
    """The scenarios of the gallery, in the order of its tables. Misuse if a value is wrong or nothing is left."""
    if name not in MATRICES:
        raise Misuse(f"MATRIX is one of {', '.join(MATRICES)}; not {name!r}")
    wanted = {key: _split(key, settings.get(key, "")) for key in SEVERAL}
    rest = {key: value for key, value in settings.items() if key not in SEVERAL}
    choose(**rest | {"ACT": None})  # what is wrong with every crash is said once, of none of them
    act = read_act(rest["ACT"]) if rest.get("ACT") else 1
    losses = wanted["LOST"] or (SMALL if name == "small" else SEVERAL["LOST"])
    places = [
        (crashed, step)
        for crashed in wanted["CRASHED"] or SEVERAL["CRASHED"]
        for step in list_steps(crashed)
        if step in (wanted["STEP"] or SEVERAL["STEP"])
        and (name == "full" or find_worst_act(crashed, step) > 1)
        and act <= len(list_acts(crashed, step))
    ]
    if not places:
        raise Misuse(f"the matrix {name} has no crash like that; it has {MATRICES[name]}")
    return [choose(CRASHED=crashed, STEP=step, LOST=lost, **rest) for (crashed, step), lost in product(places, losses)]


def _split(name: str, text: str) -> list[str]:
    """Several values with commas. Misuse for one that is none."""
    values = list(dict.fromkeys(each.strip() for each in text.split(",") if each.strip()))
    wrong = [each for each in values if each not in SEVERAL[name]]
    if wrong:
        raise Misuse(f"{name} of the gallery is some of {', '.join(SEVERAL[name])}, with commas; not {wrong[0]!r}")
    return values


def write_report(scenario: Scenario, folder: Path) -> int:
    from tools.report_press import make_one

    made = make_one(scenario, folder)
    print(scenario.words)
    if made.failure:
        print(f"The notebook broke off, and there is no page: {made.failure}")
        return 1
    print(("" if made.end["has_recovered"] else "Not recovered. ") + made.end["ending"])
    print(f"\nThe report is {show_path(folder / made.page)}; open it in a browser.")
    return 0


def write_reports(chosen: list[Scenario], folder: Path, jobs: int | None) -> int:
    """The gallery. 0 if all reports were made, 1 if one broke off, 130 after an interrupt."""
    from tqdm import tqdm

    from tools.report_pages import write_gallery
    from tools.report_press import make_many

    shutil.rmtree(folder / PAGES, ignore_errors=True)
    for old in ("index.html", "summary.txt"):
        (folder / old).unlink(missing_ok=True)
    made: list[Made] = []
    is_cut = False
    reports = make_many(chosen, folder / PAGES, "../index.html", jobs)
    with tqdm(total=len(chosen), unit="report", desc="reports", leave=False, disable=None) as bar, closing(reports):
        try:
            for each in reports:
                made.append(each)
                bar.update()
        except KeyboardInterrupt:
            is_cut = True
    order = {scenario: number for number, scenario in enumerate(chosen)}
    made.sort(key=lambda each: order[each.scenario])
    index = write_gallery(chosen, made, folder, PAGES)
    print((folder / "summary.txt").read_text(encoding="utf-8"))
    for each in made:
        if each.failure:
            print(f"broke off: {each.scenario.words} {each.failure}")
    print(f"{'Interrupted; what is done' if is_cut else 'The gallery'} is in {show_path(index)}; open it in a browser.")
    return 130 if is_cut else int(any(each.failure for each in made))


def make_folder(path: Path) -> Path:
    """Misuse if nothing can be written there; a folder that is there already stays as it is."""
    folder = path.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misuse(f"--out is a folder, there already or to be made, not {str(path)!r}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise Misuse(f"--out is a folder that can be written to, not {str(path)!r}")
    return folder


def show_path(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.report",
        description=__doc__,
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="parameters, see below")
    parser.add_argument("--matrix", metavar="NAME", help=f"make a gallery: {' or '.join(MATRICES)}")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="how many processes make the gallery (default: one per core)"
    )
    parser.add_argument("--out", type=Path, default=REPORTS, metavar="FOLDER", help="where to (default: build/reports)")
    parser.add_argument("--named", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(options.settings, options.named, *(() if options.matrix is None else ("MATRIX",)))
        matrix = settings.pop("MATRIX", "") or options.matrix
        if options.jobs is not None and options.jobs < 1:
            raise Misuse(f"--jobs is a number of processes from 1, not {options.jobs}")
        chosen = [choose(**settings)] if matrix is None else compute_matrix(matrix, settings)
        folder = make_folder(options.out)
    except Misuse as refusal:
        print(refusal, file=sys.stderr)
        return 2
    prepare_environment()
    if matrix is None:
        return write_report(chosen[0], folder)
    return write_reports(chosen, folder, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
