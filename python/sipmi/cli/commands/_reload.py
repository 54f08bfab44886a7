"""``sipmi serve --reload``: begin again, in the same process, when a file of the app changes."""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import time
import traceback
from pathlib import Path
from typing import Callable, NoReturn

from ..ending import OK, Failure, complain

#: Seconds between two looks at the files.
PAUSE = 0.5


def serve_again(app: str, serve: Callable[[], int]) -> int:
    """Serves; when a file has changed, this process runs the same command line anew.

    A mistake in the app does not end it: it waits until the mistake is corrected.
    """
    files = Files(app)
    changed = False

    def look(*_: object) -> None:
        nonlocal changed
        if not changed and files.have_changed():
            changed = True
            os.kill(os.getpid(), signal.SIGTERM)

    # No thread: with several processes, this one forks.
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, PAUSE, PAUSE)
    try:
        code = serve()
        if code == OK and not changed:
            return OK
    except Failure as error:
        complain(error.code, str(error), error.hint)
    except Exception as error:
        traceback.print_exc()
        files.add_those_of(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    while not changed and not files.have_changed():
        time.sleep(PAUSE)
    print(f"{app} has changed, beginning again", file=sys.stderr, flush=True)
    return begin_again()


def begin_again() -> NoReturn:
    """Runs this command line anew, in this process."""
    os.execv(sys.executable, [sys.executable, "-m", "sipmi", *sys.argv[1:]])


class Files:
    """The files that an app is made of: itself, and the modules that are not installed."""

    def __init__(self, app: str) -> None:
        self._app = Path(app if Path(app).exists() else app.rpartition(":")[0])
        self._installed = [str(Path(path).resolve()) for path in sysconfig.get_paths().values()]
        self._installed.append(str(Path(__file__).resolve().parent.parent))
        self._began = time.time_ns()
        self._seen = {self._app: modified(self._app)}

    def have_changed(self) -> bool:
        """Return whether a file was written since this process started."""
        for module in list(sys.modules.values()):
            name = getattr(module, "__file__", None)
            path = Path(name) if isinstance(name, str) else None
            if path is not None and path not in self._seen and not self._is_installed(path):
                self._seen[path] = modified(path)
        return any(modified(path) != then or then > self._began for path, then in self._seen.items())

    def add_those_of(self, error: Exception) -> None:
        """Return the file of a module that failed to be imported, from its error."""
        names = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            names.append(error.filename)
        for path in map(Path, names):
            if path.is_file() and not self._is_installed(path):
                self._seen.setdefault(path, modified(path))

    def _is_installed(self, path: Path) -> bool:
        return str(path.resolve()).startswith(tuple(self._installed))


def modified(path: Path) -> int:
    """When it was written last, in nanoseconds; 0 when it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
