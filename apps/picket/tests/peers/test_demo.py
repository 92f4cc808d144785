"""The first command of the README."""

import os
import subprocess
import sys

from harness import picket


def test_the_demo_shows_the_whole_story_and_says_so(tmp_path):
    # The private Python environment goes into a cache folder of its own, as on a first run.
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([picket(), "demo"], env=env, capture_output=True, text=True, timeout=110)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    assert done.returncode == 0


def test_without_python_the_demo_runs_the_function_as_an_executable_and_says_so(tmp_path):
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    env = {**os.environ, "PATH": str(nothing), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([picket(), "demo"], env=env, capture_output=True, text=True, timeout=110)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    assert done.returncode == 0
    assert "no Python" in done.stdout
    assert "the same function runs as an executable" in done.stdout
