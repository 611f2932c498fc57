"""The command line: arguments in, exit code out. `main` never ends the process; only `console` does."""

from __future__ import annotations

import argparse
import datetime as dt
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from churn_spark import __version__, commands, last_words, logs
from churn_spark.errors import Cancelled, ChurnError, ConfigError

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the last words go to standard output or error."""
    arguments = [_dashes(a) for a in (sys.argv[1:] if argv is None else argv)]
    try:
        options = _parser().parse_args(arguments)
        logs.set_up(as_json=options.log_format == "json", level=_level(options))
        return int(options.command(options, arguments))
    except SystemExit as end:  # argparse's --help and --version
        return int(end.code or 0)
    except (Cancelled, KeyboardInterrupt) as signal:
        again = "next: run the same command again; finished work is kept"
        return last_words.fail(["error: interrupted", again], getattr(signal, "exit_code", 130))
    except Exception as problem:
        return _fail(problem)


def console() -> None:
    """The console script: returns on success, since a platform may take any SystemExit for a failure."""
    code = main()
    if code:
        sys.exit(code)


def _fail(problem: Exception) -> int:
    cause = last_words.explained(problem)
    log.debug("the whole of it:", exc_info=problem)
    if isinstance(cause, ChurnError):
        return last_words.fail(cause.lines(), cause.exit_code)
    unforeseen = f"error: {type(cause).__name__}, which was not foreseen"
    return last_words.fail([unforeseen, "next: the same command with -v says where"], 1)


def _level(options: argparse.Namespace) -> int:
    return logging.DEBUG if options.verbose else logging.WARNING if options.quiet else logging.INFO


# -- arguments ------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, fix=f"see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="churn-spark", description="Predict customer churn from tables and free text.")
    parser.add_argument("--version", action="version", version=f"churn-spark {__version__}")
    group = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for add in (
        _add_jobs,
        _add_settings,
        _add_models,
        _add_results,
        _add_call_list,
        _add_effect,
        _add_upkeep,
        _add_sample,
    ):
        add(group)
    return parser


def _add_jobs(group: Any) -> None:
    for name, text in (
        ("prepare", "validate the raw table and fill the text cache"),
        ("train", "raw table -> model package, metrics and report"),
        ("score", "raw snapshot -> churn_scores of one date"),
    ):
        job = _add(group, name, text, commands.job(name))
        job.add_argument("--limit", type=_positive, metavar="N", help="first N customers by hash of the key")
        job.add_argument(
            "--dry-run", action="store_true", help="say what would be done and what text would cost"
        )
        job.add_argument(
            "--model", default="champion", metavar="NAME", help="champion, challenger or a model_id"
        )
        job.add_argument(
            "--score-date", type=_date, default=dt.datetime.now(dt.UTC).date(), metavar="YYYY-MM-DD",
            help="the as-of day of a scoring run (default: today, UTC)",
        )  # fmt: skip
        job.add_argument(
            "--until", type=_date, metavar="YYYY-MM-DD",
            help="score every day from --score-date to this one, each by the champion of that day",
        )  # fmt: skip


def _add_settings(group: Any) -> None:
    init = _add(group, "init", "look at a table and propose its columns as a settings layer", commands.init)
    init.add_argument("--to", type=Path, metavar="PATH", help="the YAML file to write (default: print it)")
    config = _add(group, "config", "show the merged settings, or their JSON Schema", commands.config)
    config.add_argument("what", choices=["show", "schema"])
    tables = _add(
        group, "tables", "every published table: documentation, or DDL for a dialect", commands.tables
    )
    tables.add_argument(
        "form", nargs="?", default="markdown", choices=["markdown", "spark", "duckdb", "trino", "bigquery"]
    )


def _add_models(group: Any) -> None:
    back = _add(
        group, "rollback", "the previous champion, or the previous scores of a date, again", commands.rollback
    )
    back.add_argument(
        "--score-date", type=_date, metavar="YYYY-MM-DD", help="scores of this day, not the champion"
    )
    back.add_argument("--to", metavar="RUN_ID", help="with --score-date: the run whose scores to put back")
    _add(group, "history", "who was champion when, and why", commands.history)


def _add_results(group: Any) -> None:
    explain = _add(group, "explain", "one customer's score, reasons and summary", commands.explain)
    explain.add_argument("--customer", required=True, metavar="ID")
    export = _add(group, "export", "the call list: whom to contact, best first, as a file", commands.export)
    export.add_argument(
        "--top", type=_positive, default=500, metavar="N", help="at most so many (default: 500)"
    )
    export.add_argument("--format", choices=["csv", "parquet", "json"], default="csv")
    export.add_argument("--score-date", type=_date, metavar="YYYY-MM-DD", help="default: the newest")
    export.add_argument(
        "--to", type=Path, metavar="PATH", help="default: <output>/exports/call_list_DATE.FORMAT"
    )


def _add_effect(group: Any) -> None:
    text = (
        "what contact changed: who left of a date's recommended and of its holdout, by the raw table of today"
    )
    effect = _add(group, "effect", text, commands.effect)
    effect.add_argument("--score-date", type=_date, required=True, metavar="YYYY-MM-DD")


def _add_call_list(group: Any) -> None:
    people = _add(
        group, "call-list", "the call list for people: a page, a workbook or CSV", commands.call_list
    )
    forms = people.add_mutually_exclusive_group()
    for form, text in (("html", "a page to work from and to print (default)"), ("xlsx", "a workbook"),
                       ("csv", "for Excel: with a byte order mark, and no cell that runs as a formula")):  # fmt: skip
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=text)
    people.add_argument(
        "--top", type=_positive, default=100, metavar="N", help="at most so many (default: 100)"
    )
    people.add_argument("--score-date", type=_date, metavar="YYYY-MM-DD", help="default: the newest")
    people.add_argument(
        "--to", type=Path, metavar="PATH", help="default: <output>/exports/call_list_DATE.FORM"
    )


def _add_upkeep(group: Any) -> None:
    recover = _add(
        group, "recover", "complete a publish that was interrupted; mend pointers", commands.recover
    )
    recover.add_argument(
        "--abandon", action="store_true", help="give the publish up: what was live before is put back"
    )
    _add(group, "verify", "check packages, published dates and text cache for damage", commands.verify)
    cache = _add(group, "cache", "what the text cache holds; fewer files; one identity less", commands.cache)
    cache.add_argument("what", nargs="?", default="show", choices=["show", "compact", "drop"])
    cache.add_argument("--identity", metavar="X", help="of `drop`: an identity as `show` names it")
    cache.add_argument("--status", metavar="S", help="of `drop`: summaries of this status, e.g. truncated")
    cache.add_argument(
        "--like", metavar="P", help="of `drop`: summaries like this SQL pattern, e.g. '%%sorry%%'"
    )
    unlock = _add(group, "unlock", "remove the locks of runs that are gone", commands.unlock)
    unlock.add_argument("--force", action="store_true", help="also a lock that seems to be held")
    doctor = "check Java, packages, model files, memory and disk; with --output, what can be done there"
    _add(group, "doctor", doctor, commands.doctor)


def _add_sample(group: Any) -> None:
    sample = _add(group, "sample", "generate a sample customer table", commands.sample, common=False)
    sample.add_argument("--rows", type=_positive, default=5000)
    sample.add_argument("--seed", type=int, default=42)
    sample.add_argument("--output", dest="output_path", required=True, metavar="PATH")
    sample.add_argument("--format", choices=["csv", "parquet"], default="csv")
    sample.add_argument(
        "--panel", type=_positive, metavar="MONTHS", help="monthly snapshots of each customer"
    )
    sample.add_argument(
        "--lives",
        action="store_true",
        help="a folder of customers.csv, tickets.csv, events.csv and truth.csv",
    )
    sample.add_argument("--truth", action="store_true", help="also write the true probability of every row")


def _add(
    group: Any, name: str, text: str, command: commands.Command, *, common: bool = True
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=text, description=text)
    parser.add_argument("--version", action="version", version=f"churn-spark {__version__}")
    parser.set_defaults(command=command)
    if common:
        _add_common(parser)
    _add_logging(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", action="append", default=[], metavar="PATH", help="YAML layer; repeatable"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="one setting; repeatable"
    )
    parser.add_argument("--raw", metavar="PATH_OR_TABLE", help="input file, folder, glob or table")
    parser.add_argument("--output", metavar="PATH_OR_SCHEMA", help="where the tables go")
    parser.add_argument("--models", metavar="PATH", help="model packages (default <output>/models)")


def _add_logging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-format", choices=["text", "json"], default="text")
    parser.add_argument("-v", "--verbose", action="store_true", help="debug messages and whole stack traces")
    parser.add_argument("-q", "--quiet", action="store_true", help="warnings and the result only")


def _dashes(argument: str) -> str:
    """Accept --score_date for --score-date: schedulers pass it so."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return int(text)


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a date YYYY-MM-DD") from None
