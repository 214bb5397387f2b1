"""The command line itself: help, mistakes, exit codes, and that no traceback reaches anybody."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from milecastle.cli import ca, trust
from milecastle.cli import main as main_module
from milecastle.cli.main import COMMANDS, main

COMMAND = [sys.executable, "-m", "milecastle.cli.main"]


def command(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_that_fits_80_columns(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    assert f"milecastle {name.split()[0]}" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_help_lists_every_command_and_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)
    assert "3 no daemon" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_every_command_is_in_the_documentation():
    text = Path(__file__).parents[2].joinpath("docs", "CLI.md").read_text()
    missing = [name for name in COMMANDS if f"`milecastle {name}" not in text]
    missing += [each.name for each in trust.VARIABLES if f"`{each.name}`" not in text]
    assert not missing


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stauts"], "did you mean 'status'?"),
        (["policy"], "policy check, policy test, policy explain"),
        (["policy", "chek"], "policy check"),
        (["xyzzy"], "--help"),
    ],
)
def test_a_mistyped_command_is_answered_with_the_likely_one(capsys, arguments, words):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["show"], ["status", "--jsn"], ["show", "a", "b"]])
def test_a_wrong_usage_is_exit_code_2(capsys, arguments):
    assert main(arguments) == 2


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("milecastle 0.")


def test_a_fault_of_our_own_is_a_sentence_and_with_debug_a_traceback(cli, daemon, monkeypatch):
    daemon(sessions=[5])  # the daemon never sends this
    code, _, err = cli("sessions")
    assert code == 70
    assert err.startswith("milecastle: AttributeError")
    assert "--debug" in err
    assert "Traceback" not in err
    with pytest.raises(AttributeError):
        cli("sessions", "--debug")


def test_control_c_is_quiet(monkeypatch, capsys):
    def interrupted(_given):
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "run", interrupted)
    assert main(["tail"]) == 130
    assert capsys.readouterr() == ("", "")


def test_exit_codes_as_a_shell_sees_them(tmp_path, daemon, run_dir):
    assert command("--run-dir", tmp_path, "status").returncode == 3
    assert command("nonsense").returncode == 2
    daemon(status={"ready": True})
    done = command("--run-dir", run_dir, "status", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ready": True})
    assert done.stderr == ""


def test_a_reader_that_leaves_early_is_no_error(daemon, run_dir):
    daemon(sessions=[{"id": "a" * 200, "action": "allow"}] * 5000)
    child = subprocess.Popen(
        [*COMMAND, "--run-dir", str(run_dir), "sessions", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.read(10)
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait(10) == 0
    child.stderr.close()


def test_an_output_that_can_not_hold_a_character_gets_an_escape(daemon, run_dir):
    daemon(sessions=[{"id": "日本", "service": "日本", "action": "allow"}])
    surroundings = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = command("--run-dir", run_dir, "sessions", env=surroundings)
    assert done.returncode == 0
    assert "\\u65e5" in done.stdout


def test_status_loads_nothing_that_it_does_not_need(daemon, run_dir):
    daemon(status={"ready": True})
    script = (
        "import sys; from milecastle.cli.main import main;"
        f"main(['--run-dir', {str(run_dir)!r}, 'status']);"
        "print([m for m in ('yaml', 're2', 'mitmproxy', 'cryptography', 'sqlite3', 'asyncio',"
        " 'orjson', 'subprocess') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


# --- trust and ca ---


@pytest.fixture
def certificates(tmp_path, daemon):
    folder = tmp_path / "it's ca"
    folder.mkdir()
    root, bundle = folder / "root.pem", folder / "bundle.pem"
    root.write_text("root")
    bundle.write_text("system and root")
    told = {"certificate": str(root), "bundle": str(bundle)}
    daemon(status={"ready": True, "state_dir": str(tmp_path), "ca": told})
    return root, bundle


def test_trust_env_gives_the_bundle_to_replacers_and_the_root_to_adders(cli_json, certificates):
    root, bundle = certificates
    (variables,) = cli_json("trust", "env")
    assert variables["SSL_CERT_FILE"] == str(bundle)
    assert variables["REQUESTS_CA_BUNDLE"] == str(bundle)
    assert variables["NODE_EXTRA_CA_CERTS"] == str(root)
    assert variables["DENO_CERT"] == str(root)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_reads_the_variables_as_they_are_meant(cli, certificates, shell):
    _, out, _ = cli("trust", "env")
    script = out + 'printf %s "$SSL_CERT_FILE"'
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == str(certificates[1])


def test_fish_has_a_syntax_of_its_own(cli, certificates):
    _, out, _ = cli("trust", "env", "--shell", "fish")
    assert out.startswith("set -gx SSL_CERT_FILE '")
    assert "it\\'s ca" in out


def test_a_bundle_of_ones_own_is_not_replaced_in_silence(cli, certificates, monkeypatch):
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", "/corp/root.pem")
    code, out, err = cli("trust", "env")
    assert code == 0
    assert "NODE_EXTRA_CA_CERTS was /corp/root.pem" in err
    assert "/corp" not in out


def test_run_starts_the_command_with_the_variables_and_passes_on_its_exit_code(
    certificates, run_dir
):
    script = "import os, sys; print(os.environ['SSL_CERT_FILE'], sys.argv); sys.exit(42)"
    done = command("--run-dir", run_dir, "run", "--", sys.executable, "-c", script, "--json", "x")
    assert done.returncode == 42
    assert done.stdout == f"{certificates[1]} ['-c', '--json', 'x']\n"


@pytest.mark.parametrize("rest", [[], ["--"], ["--", "/no/such/command"]])
def test_run_without_a_command_says_what_is_wanted(cli, certificates, rest):
    code, _, err = cli("run", *rest)
    assert code == 2
    assert "milecastle:" in err


def test_certificates_that_are_not_there_are_told(cli, certificates):
    certificates[1].unlink()
    code, _, err = cli("trust", "env")
    assert (code, "can't be read" in err) == (2, True)


def test_ca_path_prints_the_certificates_file(cli, cli_json, certificates):
    assert cli("ca", "path")[1] == f"{certificates[0]}\n"
    (told,) = cli_json("ca", "path")
    assert told == {"certificate": str(certificates[0]), "bundle": str(certificates[1])}


def test_ca_path_works_without_a_daemon_where_the_ca_is_at_its_usual_place(
    cli, tmp_path, monkeypatch
):
    monkeypatch.setattr(ca, "STATE_DIR", tmp_path)
    assert cli("ca", "path")[0] == 3
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "root.pem").write_text("root")
    assert cli("ca", "path") == (0, f"{tmp_path}/ca/root.pem\n", "")


def test_ca_rotate_asks_first_and_only_root_may(cli, certificates, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    code, _, err = cli("ca", "rotate")
    assert code == 2
    assert "--yes" in err or "only root" in err
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root" in cli("ca", "rotate", "--yes")[2]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a CA")
def test_ca_rotate_makes_a_new_ca(cli_json, tmp_path, monkeypatch, run_dir):
    monkeypatch.setattr(ca, "OWNER", "root")
    state = tmp_path / "state"
    (first,) = cli_json("ca", "rotate", "--yes", "--state-dir", state)
    before = Path(first["root"]).read_text()
    (second,) = cli_json("ca", "rotate", "--yes", "--state-dir", state)
    assert Path(second["root"]).read_text() != before
