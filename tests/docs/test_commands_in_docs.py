"""Every ``chimap`` command on the pages is one that the command line takes: command, flags, choices, methods and parameters."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from chimap.cli import COMMANDS, parse
from chimap.errors import InputError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks)", re.M | re.S
)
# Where the shell takes over: pipes, redirections, the next command.
_SHELL = {"|", "||", "&&", ";", "&", ">", ">>", "2>"}


def commands_in(text: str) -> list[str]:
    """The chimap commands in the fenced blocks of a page, each on one line."""
    found = []
    for block in _FENCE.finditer(text):
        if block["language"].split()[:1] not in ([], ["sh"], ["bash"], ["console"], ["text"]):
            continue
        for line in re.sub(r"\\\n\s*", " ", block["text"]).splitlines():
            words = re.match(r"\s*(?:\$ )?(?:\S*/)?chimap (.*)", line)
            if words:
                found.append(words[1].strip())
    return found


def arguments_of(command: str) -> list[str]:
    """The words of a command as the shell hands them on, without what follows a pipe or a redirection."""
    # A variable or a substitution stands for some word; a number suits every flag.
    words = shlex.split(re.sub(r"\$\([^)]*\)|\$\{[^}]*\}|\$\w+", "1", command), comments=True)
    end = next((i for i, w in enumerate(words) if w in _SHELL), len(words))
    return words[:end]


def check(argv: list[str]) -> None:
    """Parse as `chimap` does, and check methods and parameters as `chimap run` does before it reads anything."""
    if argv[0].startswith("-"):
        assert argv[0] in ("--help", "--version")
        return
    if argv[0] == "COMMAND":
        return
    assert argv[0] in COMMANDS, f"there is no command {argv[0]}"
    module = importlib.import_module(f"chimap.cli.{COMMANDS[argv[0]][0]}")
    try:
        args = parse(argv[0], module, argv[1:])
    except SystemExit as e:  # --help
        assert e.code == 0
        return
    if argv[0] == "run":
        module.options_of(args)


CASES = [
    pytest.param(command, id=f"{page.relative_to(ROOT)}: {command[:60]}")
    for page in PAGES
    for command in commands_in(page.read_text())
]


def test_commands_are_found():
    # The pages have dozens; none would mean that the search is broken.
    assert len(CASES) > 40


@pytest.mark.parametrize("command", CASES)
def test_command_is_taken(command, capsys):
    check(arguments_of(command))


@pytest.mark.parametrize(
    "command",
    [
        "run in out --no-such-flag",
        "run in out --method-inversion nosuch",
        "run in out --set inversion.nosuch=1",
        "invert --field f.nii.gz",
        "simulate out --object torus",
        "invert --method tkd --no-such-flag --help",
    ],
)
def test_what_does_not_exist_is_noticed(command):
    with pytest.raises(InputError):
        check(arguments_of(command))


def test_the_shell_is_taken_off():
    page = "```sh\n$ chimap check IN --json > a.json  # look\nls\n.venv/bin/chimap run $A \\\n    out | tee log\n```\n"
    assert [arguments_of(c) for c in commands_in(page)] == [["check", "IN", "--json"], ["run", "1", "out"]]
