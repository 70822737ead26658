"""What Windows lacks is not needed: the modules and signals that only Unix has are hidden here."""

import dataclasses
import os
import subprocess
import sys

from conftest import SCRIPT, flags

from pix2pix.runs import checkpoint_files

WITHOUT_UNIX = """
import signal, sys
for module in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[module] = None
for name in ("SIGHUP", "SIGKILL", "SIGUSR1"):
    delattr(signal, name)
from pix2pix.command_line import main
main(sys.argv[1:])
"""


def test_training_needs_nothing_that_only_unix_has(small):
    config = dataclasses.replace(small, name="elsewhere", depth=2, steps=2)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX, "train", *flags(config)],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = config.run_folder
    assert [path.name for path in checkpoint_files.checkpoints(folder)] == ["ckpt-2"]
