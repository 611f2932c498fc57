"""What a platform is made of: servers on loopback, started and stopped, and how a person starts a command there."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyspark
from pyarrow import fs

ROOT = Path(__file__).parents[2]
SPARK_HOME = Path(pyspark.__file__).parent
CONSOLE = (sys.executable, "-c", "from churn_spark.cli import console; console()")
WAIT_SECONDS = 120
AWS_SDK = "2.35.4"  # hadoop-project's aws-java-sdk-v2.version for Spark's Hadoop


class SkippedError(Exception):
    """Why a platform cannot be run here."""


@dataclass(frozen=True)
class Place:
    """How commands are started on a platform, and where their tables go."""

    output: str
    environment: Mapping[str, str] = field(default_factory=dict)
    submit: tuple[str, ...] = ()  # what ./spark-submit.sh is given; without, jobs start as other commands do
    settings: tuple[str, ...] = ()  # what commands are given that start their session themselves
    refused: Mapping[str, str] = field(default_factory=dict)  # command -> part of the refusing sentence
    files: fs.FileSystem = field(default_factory=fs.LocalFileSystem)  # of the output

    def command(self, name: str, arguments: Sequence[str]) -> list[str]:
        if self.submit and (ROOT / "jobs" / f"{name}.py").exists():
            return [str(ROOT / "spark-submit.sh"), *self.submit, f"jobs/{name}.py", *arguments]
        return [*CONSOLE, name, *arguments, *self.settings]


def environment(**more: str) -> dict[str, str]:
    """This process's, without what points Spark elsewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    venv = str(Path(sys.executable).parent.parent)
    return {**kept, "CHURN_SPARK_VENV": venv, "SPARK_LOCAL_IP": "127.0.0.1", "PYTHONPATH": str(ROOT), **more}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@contextmanager
def service(command: Sequence[str], log: Path, *, ready: str, **more: str) -> Iterator[None]:
    """A server in a process group of its own, from the words that say it is ready until it is ended."""
    with log.open("w") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment(**more), start_new_session=True
        )
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while ready not in log.read_text(errors="replace"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{Path(command[0]).name} did not start: {log}")
            time.sleep(0.3)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


# -- platforms ------------------------------------------------------------------------------------------


@contextmanager
def laptop(folder: Path) -> Iterator[Place]:
    yield Place(str(folder / "out"), settings=("--set", "spark.conf.spark.master=local[2]"))


@contextmanager
def connect(folder: Path) -> Iterator[Place]:
    """A Spark Connect server; its clients have neither Java nor RDDs."""
    try:
        import pyspark.sql.connect.session  # noqa: F401
    except ImportError as lacking:
        raise SkippedError(f"{lacking}: pip install 'churn-spark[connect]'") from None
    port = free_port()
    conf = {
        "spark.connect.grpc.binding.address": "127.0.0.1", "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false",
        "spark.driver.memory": "2g", "spark.sql.shuffle.partitions": "2",
        "spark.sql.catalogImplementation": "in-memory",
    }  # fmt: skip
    command = [
        str(SPARK_HOME / "bin/spark-submit"), "--master", "local[2]",
        "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
        *(word for key, value in conf.items() for word in ("--conf", f"{key}={value}")), "spark-internal",
    ]  # fmt: skip
    with service(
        command, folder / "server.log", ready="Spark Connect server started",
        SPARK_HOME=str(SPARK_HOME), PYSPARK_PYTHON=sys.executable, PYTHONPATH="",
    ):  # fmt: skip
        yield Place(
            str(folder / "out"),
            {"SPARK_REMOTE": f"sc://127.0.0.1:{port}"},
            refused={"train": "needs Spark's barrier mode"},
        )


@contextmanager
def standalone(folder: Path) -> Iterator[Place]:
    """A master and two workers of one core each that know each other by a secret."""
    conf = folder / "conf"
    conf.mkdir()
    own = {
        "spark.authenticate": "true", "spark.authenticate.secret": secrets.token_hex(16),
        "spark.master.rest.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
        "spark.executor.memory": "1g", "spark.driver.memory": "1g", "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }  # fmt: skip
    (conf / "spark-defaults.conf").touch(mode=0o600)
    (conf / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in own.items()))
    known = {"SPARK_HOME": str(SPARK_HOME), "SPARK_CONF_DIR": str(conf)}
    start = str(SPARK_HOME / "bin/spark-class"), "org.apache.spark.deploy"
    master = f"spark://127.0.0.1:{free_port()}"
    where = ["--host", "127.0.0.1", "--webui-port"]
    with ExitStack() as servers:
        servers.enter_context(service(
            [start[0], f"{start[1]}.master.Master", "--port", master.rpartition(":")[2], *where, str(free_port())],
            folder / "master.log", ready="I have been elected leader", **known, PYTHONPATH="",
        ))  # fmt: skip
        for number in (1, 2):
            servers.enter_context(service(
                [start[0], f"{start[1]}.worker.Worker", master, "--cores", "1", "--memory", "1g",
                 "--work-dir", str(folder / f"work{number}"), *where, str(free_port())],
                folder / f"worker{number}.log", ready="Successfully registered with master", **known, PYTHONPATH="",
            ))  # fmt: skip
        yield Place(
            str(folder / "out"),
            {"SPARK_CONF_DIR": str(conf), "PYSPARK_PYTHON": sys.executable},
            submit=("--master", master),
            settings=("--set", f"spark.conf.spark.master={master}"),
        )


@contextmanager
def s3(folder: Path) -> Iterator[Place]:
    """An S3 server in memory (moto), reached by Hadoop's own client."""
    moto = shutil.which("moto_server") or os.environ.get("MOTO_SERVER")
    if not moto:
        raise SkippedError(
            "moto_server, which stands in for S3, is not installed: pip install 'moto[server]'"
        )
    address = f"http://127.0.0.1:{free_port()}"
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    conf = {
        "spark.master": "local[2]", "spark.jars": ",".join(jars("s3", hadoop_aws())),
        "spark.hadoop.fs.s3a.endpoint": address, "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
    }  # fmt: skip
    start = [moto, "-H", "127.0.0.1", "-p", address.rpartition(":")[2]]
    with service(start, folder / "s3.log", ready="Running on", PYTHONPATH=""):
        urllib.request.urlopen(urllib.request.Request(f"{address}/churn", method="PUT"), timeout=30).close()
        files = fs.S3FileSystem(
            access_key="test", secret_key="test", region="us-east-1", endpoint_override=address
        )
        settings = tuple(word for k, v in conf.items() for word in ("--set", f"spark.conf.{k}={v}"))
        yield Place("s3a://churn/out", keys, settings=settings, files=files)


def hadoop_aws() -> list[str]:
    """Hadoop's S3 client of the version that this Spark has, and the AWS library that it was built with."""
    found = next((SPARK_HOME / "jars").glob("hadoop-client-api-*.jar"))
    version = found.stem.removeprefix("hadoop-client-api-")
    return [f"org.apache.hadoop:hadoop-aws:{version}", f"software.amazon.awssdk:bundle:{AWS_SDK}"]


def jars(name: str, artifacts: Sequence[str]) -> list[str]:
    """These artifacts from Maven Central, kept in `.platforms`."""
    if not shutil.which("mvn"):
        raise SkippedError("Maven, which fetches its jars, is not there")
    folder = ROOT / ".platforms" / name
    for artifact in artifacts:
        _, kind, version = artifact.split(":")
        if not (folder / f"{kind}-{version}.jar").exists():
            command = [
                "mvn",
                "-q",
                "-B",
                "dependency:copy",
                f"-Dartifact={artifact}",
                f"-DoutputDirectory={folder}",
            ]
            if subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode:
                raise SkippedError(f"{artifact} cannot be fetched by Maven")
    return [str(folder / f"{kind}-{version}.jar") for _, kind, version in (a.split(":") for a in artifacts)]


PLATFORMS = {"laptop": laptop, "connect": connect, "standalone": standalone, "s3": s3}
