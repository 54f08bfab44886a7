"""What a server does to Python's logging: exceptions of handlers, levels as OpenSIPS has them, files opened again."""

from __future__ import annotations

import errno
import logging

log = logging.getLogger("sipmi.server")


def log_exception(command: str, error: BaseException) -> None:
    log.error("command %s failed", command, exc_info=(type(error), error, error.__traceback__))


#: OpenSIPS' log levels, from alert to debug, as Python has them.
_LOG_LEVELS = {
    -3: logging.CRITICAL,
    -2: logging.CRITICAL,
    -1: logging.ERROR,
    1: logging.WARNING,
    2: logging.INFO,
    3: logging.INFO,
}


def set_log_level(level: int) -> None:
    """Sets the level of the loggers below ``sipmi``, as OpenSIPS counts levels."""
    default = logging.CRITICAL if level < -3 else logging.DEBUG
    logging.getLogger("sipmi").setLevel(logging.WARNING if level == 0 else _LOG_LEVELS.get(level, default))


def reopen_logs() -> None:
    """Has every handler that writes to a file open it again, so that a rotated log is let go of."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if isinstance(handler, logging.FileHandler):
            handler.acquire()
            try:
                # It opens the file when it writes next, and never to begin it anew.
                handler.mode = "a" if handler.mode == "w" else handler.mode
                stream, handler.stream = handler.stream, None
                if stream is not None:
                    stream.close()
            except OSError as error:
                if error.errno != errno.EBADF:
                    log.warning("%s cannot be closed: %s", handler.baseFilename, error)
            finally:
                handler.release()
