"""``video-salmonn doctor`` as a user runs it."""

import json

from typer.testing import CliRunner

from video_salmonn.cli import doctor
from video_salmonn.cli.main import app


def test_doctor_finds_this_installation_fit():
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 0 and found["ok"]
    checks = {check["name"]: check for check in found["checks"]}
    assert {"python", "torch", "torch works", "codecs", "connector works"} <= checks.keys()
    assert all(check["ok"] or check["optional"] for check in checks.values())
    assert all(check["remedy"] for check in checks.values() if not check["ok"])
    table = CliRunner().invoke(app, ["doctor"])
    assert table.exit_code == 0 and table.stdout.splitlines()[-1] == "ready"


def test_doctor_reports_what_breaks_with_a_remedy_and_fails(monkeypatch):
    def check_torch():
        raise OSError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "check_torch", check_torch)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and not found["ok"]
    (broken,) = [check for check in found["checks"] if not check["ok"] and not check["optional"]]
    assert "libtorch.so" in broken["detail"] and broken["remedy"]
    table = CliRunner().invoke(app, ["doctor"])
    assert table.exit_code == 1 and "not ready" in table.stdout
