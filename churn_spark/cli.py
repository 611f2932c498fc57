"""The command line: arguments in, exit code out. `main` never ends the process; only `console` does."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from churn_spark import __version__
from churn_spark.errors import ChurnError, ConfigError

log = logging.getLogger("churn_spark")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the last words go to standard output or error."""
    arguments = [_dashes(a) for a in (sys.argv[1:] if argv is None else argv)]
    try:
        options = _parser().parse_args(arguments)
        _set_up_logging(options)
        return int(options.command(options, arguments))
    except ChurnError as problem:
        return _fail(problem.lines(), problem.exit_code)
    except SystemExit as end:  # argparse's --help and --version
        return int(end.code or 0)
    except OSError as problem:
        where = f"where: {problem.filename}" if problem.filename else "where: disk or network"
        return _fail(
            [f"error: {type(problem).__name__}: {problem.strerror}", where, "next: check the path"], 23
        )
    except KeyboardInterrupt:
        return _fail(["error: interrupted", "next: run the same command again; finished work is kept"], 1)


def console() -> NoReturn:
    """The console script."""
    sys.exit(main())


# -- jobs -----------------------------------------------------------------------------------------------


def _job(name: str) -> Callable[[argparse.Namespace, Sequence[str]], int]:
    def command(options: argparse.Namespace, arguments: Sequence[str]) -> int:
        config = _config(options)
        from churn_spark.jobs.prepare import prepare
        from churn_spark.jobs.run import Run
        from churn_spark.jobs.score import score
        from churn_spark.jobs.train import train

        run = Run(name, config, argv=arguments, limit=options.limit, dry=options.dry_run)
        try:
            if name == "score":
                score(run, score_date=options.score_date, until=options.until, model_name=options.model)
            else:
                {"prepare": prepare, "train": train}[name](run)
            run.publish()
        except BaseException as problem:
            known = _known(problem)
            code = run.finish(known)
            details = [] if run.dry else [f"details: {run.folder}/error.txt"]
            if options.verbose:
                log.error("the whole of it:", exc_info=problem)
            if isinstance(known, ChurnError):
                return _fail(known.lines(), code)
            if isinstance(problem, KeyboardInterrupt):
                raise
            return _fail([f"error: {type(problem).__name__}, which was not foreseen", *details], code)
        run.finish()
        _say(_summary(run))
        return 0

    return command


def _known(problem: BaseException) -> BaseException:
    """Errors that Spark has wrapped, unwrapped; others as they are."""
    if isinstance(problem, ChurnError) or not isinstance(problem, Exception):
        return problem
    from churn_spark.spark.failures import explain

    return explain(problem) or problem


def _summary(run: Any) -> list[str]:
    lines = []
    for step in run.steps:
        facts = " · ".join(f"{k} {_shown(v)}" for k, v in step.items() if k not in ("step", "seconds"))
        lines.append(f"{step['step']:<9} {step['seconds']:7.1f} s  {facts}")
    where = "nothing was written (dry run)" if run.dry else f"run record: {run.folder}/run.json"
    return [*lines, where, f"next: {_next(run)}"]


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _next(run: Any) -> str:
    """The next command to type, with the same options."""
    options = shlex.join(a for a in run.record["argv"][1:] if a != "--dry-run")
    if run.dry:
        return f"the same without --dry-run: {_command(run.job)} {options}".rstrip()
    if run.job == "score":
        return f"the call list and other queries are in conf/sql; the table is {run.tables.location('churn_scores')}"
    if run.job == "train":
        return f"open the report, then: {_command('score')} {options}".rstrip()
    return f"{_command('train')} {options}".rstrip()


def _command(job: str) -> str:
    """How a job was and will be started: by spark-submit, or by the console script."""
    started = Path(sys.argv[0])
    return f"./spark-submit.sh jobs/{job}.py" if started.parent.name == "jobs" else f"churn-spark {job}"


# -- other commands -------------------------------------------------------------------------------------


def _init(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = _config(options)
    from churn_spark.jobs.init import as_yaml, guess_columns
    from churn_spark.spark.input.sources import read_undeclared
    from churn_spark.spark.session import get_session

    spark = get_session(config.spark.app_name, conf=config.spark.conf)
    frame = read_undeclared(spark, config.raw, settings=config.input, rows=INIT_ROWS)
    text = as_yaml(guess_columns(frame, max_auc=config.leakage.max_auc), raw=config.raw)
    if options.to is None:
        _say([text])
        return 0
    if options.to.exists():
        raise ConfigError("the file is there already", where=f"--to {options.to}", fix="name a new one")
    options.to.write_text(text, encoding="utf-8")
    _say([f"wrote {options.to}: read it, then: churn-spark train --raw {config.raw} --config {options.to}"])
    return 0


INIT_ROWS = 20_000


def _config_command(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from churn_spark.settings.layers import build_config, merge_layers
    from churn_spark.settings.sections import json_schema

    if options.what == "schema":
        _say([json.dumps(json_schema(), indent=2)])
        return 0
    merged, origin = merge_layers(options.config, settings=options.set, options=_named(options))
    build_config(merged, origin)
    _say([f"{key}: {json.dumps(_at(merged, key))}  # {source}" for key, source in sorted(origin.items())])
    return 0


def _at(tree: Any, key: str) -> Any:
    while key:
        part = key if key in tree else key.partition(".")[0]
        tree, key = tree[part], key.removeprefix(part).removeprefix(".")
    return tree


def _tables(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = _config(options)
    from churn_spark.contract.ddl import FORMS
    from churn_spark.contract.published import published
    from churn_spark.settings.locations import is_table_name

    if is_table_name(config.output) and options.form != "markdown":
        raise ConfigError(
            "the tables of a catalog are defined already", where="output", fix="give the folder of the files"
        )
    _say([FORMS[options.form](published(config.contract), config.output).rstrip()])
    return 0


def _rollback(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = _config(options)
    if options.score_date:
        return _rollback_scores(options, config)
    from churn_spark.jobs.run import lock
    from churn_spark.spark.training.registry import rollback

    now = dt.datetime.now(dt.UTC)
    with lock(config.folder, "train", "rollback"):
        model_id = rollback(config.models_path, at=now)
    _say(
        [
            f"champion is {model_id} again",
            f"next: churn-spark score --raw {config.raw} --output {config.output}",
        ]
    )
    return 0


def _rollback_scores(options: argparse.Namespace, config: Any) -> int:
    from churn_spark.jobs.run import lock
    from churn_spark.spark.publishing import recover, rollback
    from churn_spark.spark.session import get_session
    from churn_spark.spark.tables import SCORED_TABLES, Tables

    with lock(config.folder, "score", "rollback"):
        spark, tables = get_session(config.spark.app_name, conf=config.spark.conf), Tables.of(config)
        recover(tables, spark)
        day = f"score_date={options.score_date.isoformat()}"
        run_id = rollback(tables, spark, SCORED_TABLES, partition=day, to=options.to)
    _say([f"{' and '.join(SCORED_TABLES)} of {options.score_date} are those of run {run_id} again"])
    return 0


def _history(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = _config(options)
    from churn_spark.spark.training.registry import history

    entries = history(config.models_path)
    shown = [f"{e['since'][:19]} to {e['until'][:19] or 'now':<19}  {e['model_id']}  {e['run_id']}  {e['why']}"
             for e in entries]  # fmt: skip
    _say(shown or ["there was no champion yet; next: churn-spark train"])
    return 0


def _explain(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = _config(options)
    from churn_spark.jobs.explain import explain

    _say(explain(config, options.customer))
    return 0


def _export(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = _config(options)
    from churn_spark.jobs.export import export

    done = export(config, top=options.top, file_format=options.format, day=options.score_date, to=options.to)
    _say([f"{done.rows} customers to contact of {done.score_date}: {done.path}"])
    return 0


def _cache(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = _config(options)
    if (options.what == "drop") != bool(options.identity):
        raise ConfigError(
            "drop needs --identity, show and compact take none", fix="see `churn-spark cache show`"
        )
    from churn_spark.jobs.run import lock
    from churn_spark.spark.notes.cache import Cache, described, hit_rates
    from churn_spark.spark.session import get_session

    cache = Cache(config.text_cache, f"cache-{options.what}-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}")
    spark = get_session(config.spark.app_name, conf=config.spark.conf)
    if options.what == "compact":
        with lock(cache.folder, "compact", cache.run_id):
            cache.compact(spark)
    elif options.what == "drop":
        cache.drop(options.identity)
    lines = described(cache, spark) or ["the text cache is empty"]
    _say([*lines, *hit_rates(f"{config.folder}/_runs"), f"the cache is in {cache.folder}"])
    return 0


def _doctor(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from churn_spark.jobs.doctor import checks

    results = checks()
    _say(
        [
            f"{'ok  ' if c.ok else 'FAIL'} {c.name:<10} {c.found}" + ("" if c.ok else f" -> {c.cure}")
            for c in results
        ]
    )
    return 0 if all(c.ok for c in results) else 23


def _sample(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from churn_spark.jobs.sample import write_table
    from churn_spark.sample.customers import write_csv

    forms: list[tuple[Any, str]] = [("raw" if options.format == "csv" else "clean", options.output_path)]
    if options.truth:
        stem, dot, ending = options.output_path.rpartition(".")
        forms.append(("truth", f"{stem}_truth{dot}{ending}" if dot else f"{options.output_path}_truth"))
    for form, path in forms:
        how = {"seed": options.seed, "months": options.panel, "form": form}
        if path.endswith(".csv"):
            write_csv(Path(path), options.rows, **how)
        else:
            write_table(Path(path), options.rows, file_format=options.format, **how)
        _say([f"wrote {path}"])
    return 0


# -- arguments ------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, fix=f"see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="churn-spark", description="Predict customer churn from tables and free text.")
    parser.add_argument("--version", action="version", version=f"churn-spark {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, text in (
        ("prepare", "validate the raw table and fill the text cache"),
        ("train", "raw table -> model package, metrics and report"),
        ("score", "raw snapshot -> churn_scores of one date"),
    ):
        job = _add(commands, name, text, _job(name))
        _add_common(job)
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
    init = _add(commands, "init", "look at a table and propose its columns as a settings layer", _init)
    init.add_argument("--to", type=Path, metavar="PATH", help="the YAML file to write (default: print it)")
    _add_common(init)
    config = _add(commands, "config", "show the merged settings, or their JSON Schema", _config_command)
    config.add_argument("what", choices=["show", "schema"])
    _add_common(config)
    tables = _add(commands, "tables", "every published table: documentation, or DDL for a dialect", _tables)
    tables.add_argument(
        "form", nargs="?", default="markdown", choices=["markdown", "spark", "duckdb", "trino", "bigquery"]
    )
    _add_common(tables)
    back = _add(
        commands, "rollback", "the previous champion, or the previous scores of a date, again", _rollback
    )
    back.add_argument(
        "--score-date", type=_date, metavar="YYYY-MM-DD", help="scores of this day, not the champion"
    )
    back.add_argument("--to", metavar="RUN_ID", help="with --score-date: the run whose scores to put back")
    _add_common(back)
    _add_common(_add(commands, "history", "who was champion when, and why", _history))
    cache = _add(commands, "cache", "what the text cache holds; fewer files; one identity less", _cache)
    cache.add_argument("what", nargs="?", default="show", choices=["show", "compact", "drop"])
    cache.add_argument("--identity", metavar="X", help="of `drop`: an identity as `show` names it")
    _add_common(cache)
    explain = _add(commands, "explain", "one customer's score, reasons and summary", _explain)
    explain.add_argument("--customer", required=True, metavar="ID")
    _add_common(explain)
    export = _add(commands, "export", "the call list: whom to contact, best first, as a file", _export)
    export.add_argument(
        "--top", type=_positive, default=500, metavar="N", help="at most so many (default: 500)"
    )
    export.add_argument("--format", choices=["csv", "parquet", "json"], default="csv")
    export.add_argument("--score-date", type=_date, metavar="YYYY-MM-DD", help="default: the newest")
    export.add_argument(
        "--to", type=Path, metavar="PATH", help="default: <output>/exports/call_list_DATE.FORMAT"
    )
    _add_common(export)
    _add_logging(_add(commands, "doctor", "check Java, packages, model files, memory and disk", _doctor))
    sample = _add(commands, "sample", "generate a sample customer table", _sample)
    sample.add_argument("--rows", type=_positive, default=5000)
    sample.add_argument("--seed", type=int, default=42)
    sample.add_argument("--output", dest="output_path", required=True, metavar="PATH")
    sample.add_argument("--format", choices=["csv", "parquet"], default="csv")
    sample.add_argument(
        "--panel", type=_positive, metavar="MONTHS", help="monthly snapshots of each customer"
    )
    sample.add_argument("--truth", action="store_true", help="also write the true probability of every row")
    _add_logging(sample)
    return parser


def _add(commands: Any, name: str, text: str, command: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--version", action="version", version=f"churn-spark {__version__}")
    parser.set_defaults(command=command)
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
    _add_logging(parser)


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


def _named(options: argparse.Namespace) -> dict[str, Any]:
    found = {key: getattr(options, key) for key in ("raw", "output", "models")}
    return {key: value for key, value in found.items() if value is not None}


def _config(options: argparse.Namespace) -> Any:
    from churn_spark.settings.layers import load_config

    for value in [*options.config, *options.set, getattr(options, "model", "")]:
        if "{{" in value:
            raise ConfigError("a value holds an unresolved {{ }} placeholder", fix="pass the resolved value")
    return load_config(options.config, settings=options.set, options=_named(options))


# -- words ----------------------------------------------------------------------------------------------


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time_ = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time_,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(line)


def _set_up_logging(options: argparse.Namespace) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JsonLines()
        if options.log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if options.verbose else logging.WARNING if options.quiet else logging.INFO)


def _say(lines: Sequence[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _fail(lines: Sequence[str], code: int) -> int:
    sys.stderr.write("\n".join(lines[:3]) + "\n")
    sys.stderr.flush()
    return code
