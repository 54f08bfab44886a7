"""A server's part in logging: exceptions of handlers, the log levels of OpenSIPS, and reopened log files."""

from __future__ import annotations

import errno
import logging

log = logging.getLogger("sipmi.server")


def log_exception(command: str, error: BaseException) -> None:
    """Log an exception of a handler with its traceback."""
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
    """Set the level of the loggers below ``sipmi``, by the numbers of OpenSIPS."""
    default = logging.CRITICAL if level < -3 else logging.DEBUG
    logging.getLogger("sipmi").setLevel(logging.WARNING if level == 0 else _LOG_LEVELS.get(level, default))


def reopen_logs() -> None:
    """Have every file handler reopen its file after a log rotation."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if isinstance(handler, logging.FileHandler):
            handler.acquire()
            try:
                # The next record opens the file, which must never be truncated.
                handler.mode = "a" if handler.mode == "w" else handler.mode
                stream, handler.stream = handler.stream, None
                if stream is not None:
                    stream.close()
            except OSError as error:
                if error.errno != errno.EBADF:
                    log.warning("%s cannot be closed: %s", handler.baseFilename, error)
            finally:
                handler.release()
