"""What the README says one can type, typed."""

import os
import pathlib
import re
import subprocess
import sys

import harness

README = pathlib.Path(__file__).parents[4] / "README.md"


def blocks(section):
    """The shell code blocks of one section."""
    text = README.read_text().split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)


def test_what_the_readme_types_by_hand_does_what_it_says(tmp_path, request):
    server = harness.Server(tmp_path / "picket-data")
    request.addfinalizer(server.kill)
    server.start()
    *story, refused = blocks("The same by hand")
    programs = [pathlib.Path(program).parent for program in (harness.picket(), sys.executable)]
    env = {
        **os.environ,
        "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
        "AWS_PAGER": "",
    }

    def typed(script):
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            **{"cwd": tmp_path, "env": env, "capture_output": True, "text": True, "timeout": 100},
        )

    done = typed("\n".join(story))
    assert done.returncode == 0, done.stderr
    assert '"thingName": "Pump7"' in done.stdout
    last = typed("\n".join([story[0], *re.findall(r"(?s)pump\(\) {.*?\n}", "".join(story)), refused]))
    assert last.returncode != 0
    assert "Connection Refused" in last.stderr, last.stderr
    server.stop()
