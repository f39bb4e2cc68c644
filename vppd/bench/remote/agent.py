"""What runs on the other machine: starts things, answers, and leaves nothing behind.

This file is sent over SSH as it is and run with ``python -c``; it knows nothing but the standard
library. It takes one JSON object per line on stdin and answers each with one on stdout. Everything
it makes lies in one fresh folder. When the controller says goodbye, is silent for too long, or its
connection ends, every process started here is killed and the folder removed; a second process, the
guard, does the same when this one is killed.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import platform
import select
import shutil
import signal
import subprocess  # it is what this program is for
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

SILENCE_S = 60.0
"""Longer than this without a word, and the controller is taken for gone."""
KILL_WAIT_S = 5.0
CHUNK = 1 << 20


class Agent:
    """One session.

    Args:
        silence_s: see :data:`SILENCE_S`.
        inside: where its folder is to be; ``None``: where temporary files are.
    """

    def __init__(self, silence_s: float, inside: str | None = None) -> None:
        self.silence_s = silence_s
        self.folder = Path(tempfile.mkdtemp(prefix="vppd-bench-", dir=inside))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.buffer = b""
        self.alive = self._guard()

    def _guard(self) -> int:
        """Leave a process behind that cleans up when this one ends, however it ends."""
        reading, writing = os.pipe()
        if os.fork():
            os.close(reading)
            return writing
        os.close(writing)
        os.setsid()
        for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)
        quiet = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):  # the SSH session must not wait for this process
            os.dup2(quiet, standard)
        os.read(reading, 1)  # nothing is ever written: this returns when the writer is gone
        clean(self.folder)
        os._exit(0)

    # ------------------------------------------------------------ the conversation

    def run(self) -> None:
        """Until goodbye, silence, or the end of the connection."""
        say({"folder": str(self.folder), **facts(self.folder)})
        while True:
            line = self._line()
            if line is None:
                return
            try:
                asked = json.loads(line)
                answer = getattr(self, "do_" + asked.pop("do"))(**asked)
            except Exception as err:  # noqa: BLE001  # whatever it is, the controller is told
                answer = {"error": f"{type(err).__name__}: {err}"}
            if answer is None:
                return
            say(answer)

    def _fill(self) -> bool:
        ready, _, _ = select.select([0], [], [], self.silence_s)
        data = os.read(0, CHUNK) if ready else b""
        self.buffer += data
        return bool(data)

    def _line(self) -> bytes | None:
        while b"\n" not in self.buffer:
            if not self._fill():
                return None
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def _bytes(self, size: int) -> bytes:
        parts, missing = [self.buffer[:size]], size - len(self.buffer)
        self.buffer = self.buffer[size:]
        while missing > 0:
            if not self._fill():
                raise EOFError("the connection ended in the middle of a file")
            parts.append(self.buffer[:missing])
            missing -= len(parts[-1])
            self.buffer = self.buffer[len(parts[-1]) :]
        return b"".join(parts)

    # ------------------------------------------------------------ what it can do

    def do_clock(self) -> dict[str, Any]:
        """What time it is here by both clocks, in nanoseconds."""
        return {"unix_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}

    def do_unpack(self, size: int, into: str) -> dict[str, Any]:
        """A tar archive of that many bytes follows."""
        data = self._bytes(size)
        target = self.folder / into
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and later
                archive.extractall(target, filter="data")
            else:
                archive.extractall(target)  # noqa: S202  # the controller's own archive
        return {"unpacked": size}

    def do_drop(self, name: str) -> dict[str, Any]:
        """Remove a folder in the folder, if it is there."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return {"there": (self.folder / name).exists()}

    def do_start(self, name: str, argv: list[str], *, stdin: bool = False) -> dict[str, Any]:
        """A process in the folder, with the pushed packages; its output goes to two files."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "site")}
        with self._file(name, "out") as out, self._file(name, "err") as err:
            process = subprocess.Popen(  # noqa: S603  # what the controller asks for
                [sys.executable, *argv],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.processes[name] = process
        with (self.folder / "pids").open("a", encoding="ascii") as pids:
            pids.write(f"{process.pid}\n")
        return {"pid": process.pid}

    def _file(self, name: str, kind: str) -> io.BufferedWriter:
        return (self.folder / f"{name}.{kind}").open("wb")

    def do_tell(self, name: str, line: str) -> dict[str, Any]:
        """A line for its standard input."""
        stdin = self.processes[name].stdin
        assert stdin is not None, "started without"  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # why it has ended, it has said
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        return {"told": len(line)}

    def do_hear(self, name: str, offset: int) -> dict[str, Any]:
        """Whole lines of what it has said since, and its exit code, once it has one."""
        code = self.processes[name].poll()  # first: what it says before its end is heard then
        with (self.folder / f"{name}.out").open("rb") as file:
            file.seek(offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.decode(errors="replace").splitlines()
        return {"lines": lines, "offset": offset + len(whole), "code": code}

    def do_poll(self, name: str) -> dict[str, Any]:
        """Its exit code, once it has one."""
        return {"code": self.processes[name].poll()}

    def do_stop(self, name: str) -> dict[str, Any]:
        """Ask it to end, and do not ask twice."""
        process = self.processes[name]
        process.terminate()
        try:
            return {"code": process.wait(KILL_WAIT_S)}
        except subprocess.TimeoutExpired:
            process.kill()
            return {"code": process.wait()}

    def do_read(self, name: str, offset: int) -> dict[str, Any]:
        """A piece of a file of the folder; nothing, at its end."""
        with (self.folder / name).open("rb") as file:
            file.seek(offset)
            return {"base64": base64.b64encode(file.read(CHUNK)).decode("ascii")}

    def do_bye(self) -> None:
        """The end: :func:`main` cleans up."""


def facts(folder: Path) -> dict[str, Any]:
    """What the controller must know to send the right packages, and reports to be read."""
    model = ""
    for source in ("/proc/device-tree/model", "/proc/cpuinfo"):
        with contextlib.suppress(OSError):
            text = Path(source).read_text(errors="replace")
            names = [line for line in text.splitlines() if line.startswith("model name")]
            model = names[0].partition(":")[2].strip() if names else text.split("\0")[0].strip()
            if source != "/proc/cpuinfo" or names:
                break
    return {
        "python": list(sys.version_info[:3]),
        "implementation": sys.implementation.name,
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "libc": list(platform.libc_ver()),
        "cores": os.cpu_count(),
        "model": model[:100],
        "free_mib": shutil.disk_usage(folder).free >> 20,
        "load": os.getloadavg()[0],
    }


def say(answer: dict[str, Any]) -> None:
    """One line to the controller."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def clean(folder: Path) -> None:
    """Kill every process group started in ``folder``, then remove it; twice does no harm."""
    with contextlib.suppress(OSError):
        for line in (folder / "pids").read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(line), signal.SIGKILL)
    for _ in range(50):  # what was being written a moment ago may still appear
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def main(silence_s: float, inside: str | None = None) -> None:
    """Talk, and clean up whatever happens."""
    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: sys.exit(1))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    agent = Agent(silence_s, inside)
    try:
        agent.run()
    finally:
        clean(agent.folder)
        for process in agent.processes.values():
            process.wait(KILL_WAIT_S)
    with contextlib.suppress(OSError):
        say({"removed": not agent.folder.exists()})


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else SILENCE_S, *sys.argv[2:3])
