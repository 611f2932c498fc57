"""The commands of `churn-spark`, one function each: options in, work done, last words said, exit code out."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from churn_spark.errors import Cancelled, ChurnError, ConfigError
from churn_spark.last_words import explained, fail, job_command, say, summary
from churn_spark.settings.layers import build_config, load_config, merge_layers
from churn_spark.settings.locations import check_names, check_there, is_table_name
from churn_spark.settings.sections import json_schema

Command = Callable[[argparse.Namespace, Sequence[str]], int]

log = logging.getLogger(__name__)


def named(options: argparse.Namespace) -> dict[str, Any]:
    """The named options that are settings."""
    given = {key: getattr(options, key) for key in ("raw", "output", "models")}
    return {key: value for key, value in given.items() if value is not None}


def settings(options: argparse.Namespace) -> Any:
    """The merged settings of a command. Raises ConfigError."""
    for value in [*options.config, *options.set, getattr(options, "model", "")]:
        if "{{" in value:
            raise ConfigError("a value holds an unresolved {{ }} placeholder", fix="pass the resolved value")
    return load_config(options.config, settings=options.set, options=named(options))


def opened(options: argparse.Namespace) -> Any:
    """The merged settings of a command that reads what runs left; a session is there where files need one."""
    config = settings(options)
    if config.needs_hadoop:
        from churn_spark.spark.session import get_session

        get_session(config.spark.app_name, conf=config.spark.conf)
    return config


# -- jobs -----------------------------------------------------------------------------------------------


def job(name: str) -> Command:
    """The command of a job: a run with its record, lock and last words."""

    def command(options: argparse.Namespace, arguments: Sequence[str]) -> int:
        config = settings(options)
        check_names(config.raw, config.output.path, config.models or "")
        check_there(config.raw, form=config.input.format)
        from churn_spark.jobs.run import Run
        from churn_spark.jobs.signals import cancellable
        from churn_spark.jobs.task_values import set_task_values

        run = Run(name, config, argv=arguments, limit=options.limit, dry=options.dry_run)
        with cancellable(), run.private():
            try:
                if config.needs_hadoop:
                    run.spark  # noqa: B018 - the job's own, before the first file asks for any
                _work(run, options)
            except BaseException as problem:
                return _failed(run, problem)
            lines = summary(run)  # while the session still knows its master
            run.finish()
        set_task_values(run.record)
        say(lines)
        return 0

    return command


def _work(run: Any, options: argparse.Namespace) -> None:
    from churn_spark.jobs.prepare import prepare
    from churn_spark.jobs.score import score
    from churn_spark.jobs.train import train

    if run.job == "score":
        score(run, score_date=options.score_date, until=options.until, model_name=options.model)
    else:
        {"prepare": prepare, "train": train}[run.job](run)


def _failed(run: Any, problem: BaseException) -> int:
    cause = explained(problem)
    log.debug("the whole of it:", exc_info=problem)
    code = run.finish(cause)
    if isinstance(cause, ChurnError):
        return fail(cause.lines(), code)
    details = [] if run.dry else [f"details: {run.folder}/error.txt"]
    if isinstance(cause, Cancelled | KeyboardInterrupt):
        again = "next: run the same command again; finished text work is kept"
        return fail([f"error: the run was cancelled ({code - 128})", *details, again], code)
    return fail([f"error: {type(cause).__name__}, which was not foreseen", *details], code)


def _without(arguments: Sequence[str], option: str) -> list[str]:
    """Arguments without an option and its value."""
    pairs = zip(["", *arguments], arguments, strict=False)
    return [word for before, word in pairs if option not in (before, word, word.partition("=")[0])]


# -- other commands -------------------------------------------------------------------------------------


def init(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = settings(options)
    if options.to is not None and options.to.exists():
        raise ConfigError("the file is there already", where=f"--to {options.to}", fix="name a new one")
    check_there(config.raw, form=config.input.format)
    from churn_spark.jobs.init import propose
    from churn_spark.spark.session import get_session

    spark = get_session(config.spark.app_name, conf=config.spark.conf)
    text = propose(spark, config)
    if options.to is None:
        say([text])
        return 0
    options.to.write_text(text, encoding="utf-8")
    again = job_command("train", [*_without(arguments[1:], "--to"), "--config", str(options.to)])
    say([f"wrote {options.to}: read it, then: {again}"])
    return 0


def config(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    if options.what == "schema":
        say([json.dumps(json_schema(), indent=2)])
        return 0
    merged, origin = merge_layers(options.config, settings=options.set, options=named(options))
    build_config(merged, origin)
    say([f"{key}: {json.dumps(_at(merged, key))}  # {source}" for key, source in sorted(origin.items())])
    return 0


def _at(tree: Any, key: str) -> Any:
    while key:
        part = key if key in tree else key.partition(".")[0]
        tree, key = tree[part], key.removeprefix(part).removeprefix(".")
    return tree


def tables(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = settings(options)
    from churn_spark.contract.ddl import FORMS
    from churn_spark.contract.published import published

    if is_table_name(config.output.path) and options.form != "markdown":
        raise ConfigError(
            "the tables of a catalog are defined already", where="output", fix="give the folder of the files"
        )
    say([FORMS[options.form](published(config.contract), config.output.path).rstrip()])
    return 0


def rollback(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = opened(options)
    if options.score_date:
        return _rollback_scores(options, config)
    from churn_spark.jobs.lock import lock
    from churn_spark.spark.training.registry import rollback

    now = dt.datetime.now(dt.UTC)
    with lock(config.folder, "train", "rollback"):
        model_id = rollback(config.models_path, at=now)
    say(
        [
            f"champion is {model_id} again",
            f"next: {job_command('score', arguments[1:])}",
        ]
    )
    return 0


def _rollback_scores(options: argparse.Namespace, config: Any) -> int:
    from churn_spark.jobs.lock import lock
    from churn_spark.spark.publishing import recover, rollback
    from churn_spark.spark.session import get_session
    from churn_spark.spark.tables import SCORED_TABLES, Tables

    with lock(config.folder, "score", "rollback"):
        spark, tables = get_session(config.spark.app_name, conf=config.spark.conf), Tables.of(config)
        recover(tables, spark)
        day = f"score_date={options.score_date.isoformat()}"
        run_id = rollback(tables, spark, SCORED_TABLES, partition=day, to=options.to)
    say([f"{' and '.join(SCORED_TABLES)} of {options.score_date} are those of run {run_id} again"])
    return 0


def recover(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Complete or give up what was interrupted, and mend pointers."""
    config = opened(options)
    from churn_spark.jobs.state import recover

    say(recover(config, give_up=options.abandon))
    return 0


def verify(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Say what is damaged, and what mends it."""
    config = opened(options)
    from churn_spark.jobs.state import verify

    damages = verify(config)
    say(damages or ["pointers, packages, published dates and text cache are as they were written"])
    return 23 if damages else 0


def history(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = opened(options)
    from churn_spark.spark.training.registry import history

    entries = history(config.models_path)
    shown = [f"{e['since'][:19]} to {e['until'][:19] or 'now':<19}  {e['model_id']}  {e['run_id']}  {e['why']}"
             for e in entries]  # fmt: skip
    say(shown or ["there was no champion yet; next: churn-spark train"])
    return 0


def explain(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = opened(options)
    from churn_spark.jobs.explain import explain

    say(explain(config, options.customer))
    return 0


def export(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = opened(options)
    from churn_spark.jobs.export import export

    done = export(config, top=options.top, file_format=options.format, day=options.score_date, to=options.to)
    say([f"{done.rows} customers to contact of {done.score_date}: {done.path}"])
    return 0


def call_list(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """The call list for people."""
    config = opened(options)
    from churn_spark.jobs.export import write_call_list

    done = write_call_list(
        config, top=options.top, form=options.form or "html", day=options.score_date, to=options.to
    )
    say([f"{done.rows} customers to contact of {done.score_date}: {done.path}"])
    return 0


def effect(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Compare the recommended of a past date with its holdout."""
    config = opened(options)
    from churn_spark.jobs.effect import effect

    say(effect(config, options.score_date))
    return 0


def cache(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    config = opened(options)
    by_content = options.status is not None or options.like is not None
    if (options.what == "drop") != (bool(options.identity) or by_content) or (
        options.identity and by_content
    ):
        raise ConfigError(
            "drop needs either --identity or --status and --like, show and compact take none of them",
            fix="see `churn-spark cache show`",
        )
    from churn_spark.jobs.lock import lock
    from churn_spark.spark.notes.cache import Cache, described, hit_rates
    from churn_spark.spark.session import get_session

    cache = Cache(config.text_cache, f"cache-{options.what}-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}")
    spark = get_session(config.spark.app_name, conf=config.spark.conf)
    if options.what == "compact":
        with lock(cache.folder, "compact", cache.run_id):
            cache.compact(spark)
    elif by_content:
        with lock(cache.folder, "compact", cache.run_id):
            dropped = cache.drop_summaries(spark, status=options.status, like=options.like)
        say([f"dropped {dropped:,} summaries; the next run asks for them again"])
    elif options.what == "drop":
        cache.drop(options.identity)
    lines = described(cache, spark) or ["the text cache is empty"]
    say([*lines, *hit_rates(f"{config.folder}/_runs"), f"the cache is in {cache.folder}"])
    return 0


def unlock(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Remove the locks of runs that are gone."""
    from churn_spark.jobs.lock import unlock

    say(unlock(settings(options).folder, force=options.force))
    return 0


def doctor(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Look at this machine, and at the places that were named."""
    from churn_spark.jobs.doctor import checks, place_checks

    places = {name: place for name in ("output", "models") if (place := getattr(options, name))}
    results = [*checks(), *place_checks(places)]
    say(
        [
            f"{'ok  ' if c.ok else 'FAIL'} {c.name:<10} {c.found}" + ("" if c.ok else f" -> {c.cure}")
            for c in results
        ]
    )
    return 0 if all(c.ok for c in results) else 23


def sample(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from churn_spark.jobs.sample import write_table
    from churn_spark.sample.customers import write_csv
    from churn_spark.sample.lives import write_tables

    if options.lives:
        folder, months = Path(options.output_path), options.panel or 24
        written = write_tables(folder, options.rows, seed=options.seed, months=months)
        say([f"wrote {path}" for path in written])
        return 0
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
        say([f"wrote {path}"])
    return 0
