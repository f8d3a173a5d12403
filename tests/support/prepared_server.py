"""The program that forks workers for tests; `support.prepared` starts it and has the other end of its socket."""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

MODULES = ("device", "edge", "fit", "codec", "fork_server")


def main() -> None:
    """Fork a worker for each request, and tell how each ended, until the socket is closed."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    for module in MODULES:
        importlib.import_module(f"codecbench.workers.process.{module}")
    lives: dict[int, socket.socket] = {}
    wakes, woken = socket.socketpair()
    for end in (wakes, woken):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(wakes, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wakes:
                    wakes.recv(4096)
                    tell_ends(lives)
                    continue
                folder, descriptors, _, _ = socket.recv_fds(requests, 4096, 3)
                if not folder:
                    end_all(lives)
                    return
                start(Path(folder.decode()), descriptors, lives, (requests, wakes, woken, selector))


def start(folder: Path, descriptors: list[int], lives: dict[int, socket.socket], own: tuple[object, ...]) -> None:
    """Fork a worker that is told what it is by a file of this folder."""
    connection, life, log = descriptors
    server = os.getpid()
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(life)
        for opened in (*own, *lives.values()):
            opened.close()  # type: ignore[attr-defined]
        become(folder, connection, log, server)
    os.close(connection)
    os.close(log)
    lives[child] = socket.socket(fileno=life)
    lives[child].send(str(child).encode())


def become(folder: Path, connection: int, log: int, server: int) -> None:
    """Run the program of a worker, as `WorkerProcess` would start it."""
    status = 1
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        request = json.loads((folder / "request.json").read_text())
        (folder / "request.json").unlink()
        role, threads, memory_bytes = request["words"]
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(folder / "home")
        sys.path[:] = [str(folder / "home"), *os.environ["PYTHONPATH"].split(os.pathsep)]
        sys.argv[1:] = [role, str(connection), str(threads), str(memory_bytes), str(server)]
        import numpy as np

        from codecbench.workers.process.__main__ import main as work

        np.random.seed()
        work()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def tell_ends(lives: dict[int, socket.socket]) -> None:
    """Send the status of every worker that has ended."""
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not child:
            return
        with lives.pop(child) as life, suppress(OSError):  # nobody may ask
            life.send(str(os.waitstatus_to_exitcode(status)).encode())


def end_all(lives: dict[int, socket.socket]) -> None:
    """Kill the workers that are left."""
    for child in lives:
        os.killpg(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
