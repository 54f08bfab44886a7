"""systemd and udev, told that their files have changed."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess

log = logging.getLogger("sipmi.affinity")

#: Seconds that each of them may take.
LONGEST = 30.0
COMMANDS = (("systemctl", "daemon-reload"), ("udevadm", "control", "--reload"))


def reload() -> None:
    """Tell those that run. A failure is logged: the files are read at the next boot in any case."""
    if not os.path.isdir("/run/systemd/system"):
        return
    for command in COMMANDS:
        if shutil.which(command[0]) is None:
            continue
        try:
            subprocess.run(command, check=True, timeout=LONGEST, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("%s failed, the files count from the next boot on: %s", " ".join(command), error)
