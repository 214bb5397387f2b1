from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.settings import KEYS, Exclusion, Intercept, Kubernetes, Settings, check
from milecastle.yamldoc import Mapping, compose

SHIPPED = Path(__file__).parents[1] / "config" / "milecastled.yaml"


def nothing(path):
    return False


def problems(text):
    return [str(problem) for problem in check(text, "/etc/m/m.yaml")[1]]


def test_an_empty_file_gives_the_defaults():
    settings, found = check("", "/etc/m/m.yaml", exists=lambda path: True)
    assert not found
    assert settings == Settings(
        policy=Path("/etc/milecastle/policy.yaml"),
        cgroup="auto",
        state_dir=Path("/var/lib/milecastle"),
        run_dir=Path("/run/milecastle"),
        upstream_ca=(),
        workers=1,
        capture="redacted",
        catalogue=(),
    )


def test_without_a_policy_of_the_host_the_shipped_one_counts():
    settings, _ = check("", "m.yaml", exists=nothing)
    assert settings.policy.parts[-2:] == ("config", "policy.yaml")


def test_every_key_is_read_and_relative_paths_count_from_the_file():
    settings, found = check(
        """\
cgroup: /sys/fs/cgroup/lab
state_dir: state
run_dir: /tmp/run
policy: ../policy.yaml
upstream_ca: [lab.pem, /abs.pem]
workers: 4
capture: metadata
catalogue:
  - mine.yaml
intercept:
  hosts: [llm.example.com, "*.ai.example.com"]
  shape: false
  loopback: [11434]
""",
        "/etc/m/m.yaml",
    )
    assert not found
    assert settings == Settings(
        policy=Path("/etc/m/../policy.yaml"),
        cgroup="/sys/fs/cgroup/lab",
        state_dir=Path("/etc/m/state"),
        run_dir=Path("/tmp/run"),
        upstream_ca=(Path("/etc/m/lab.pem"), Path("/abs.pem")),
        workers=4,
        capture="metadata",
        catalogue=(Path("/etc/m/mine.yaml"),),
        intercept=Intercept(
            ("llm.example.com", "*.ai.example.com"), shape=False, loopback=(11434,)
        ),
    )


def test_every_problem_is_listed_with_its_place_and_a_suggestion():
    assert problems("workers: many\ncaptrue: full\ncapture: ful\nrun_dir: /%s\n" % ("x" * 99)) == [
        "/etc/m/m.yaml:1:10: a whole number is wanted here, this is the text 'many'",
        "/etc/m/m.yaml:2:1: unknown key 'captrue' (did you mean 'capture'?)",
        "/etc/m/m.yaml:3:10: one of redacted, metadata, full is wanted here, "
        "this is the text 'ful' (did you mean 'full'?)",
        "/etc/m/m.yaml:4:10: over 90 bytes (unix sockets need a short path)",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "namespaces: {exclude: [{}]}",
        "namespaces: {exclude: [kube-system]}",
        "namespaces: {exclude: [{pod: kube-system}]}",
        "namespaces: {exclude: [{cgroup: system.slice}]}",
        "namespaces: {exclude: [{container: web}]}",
        "namespaces: {exclude: [{pod: kube-system/*}]}",
        "kubernetes: {}",
        "kubernetes: {source: both}",
        "kubernetes: {source: kubelet, server: 'http://127.0.0.1:10255'}",
        "workers: 0",
        "workers: true",
        "workers: 1.5",
        "cgroup: relative/path",
        "cgroup: [auto]",
        "policy:",
        "upstream_ca: 5",
        'state_dir: "a\\0b"',
        "- a list",
        "just text",
    ],
)
def test_wrong_values_are_one_problem_and_no_settings(line):
    settings, found = check(line + "\n", "m.yaml")
    assert settings is None
    assert len(found) == 1


def test_the_shipped_file_names_every_key_and_says_the_defaults():
    text = SHIPPED.read_text()
    settings, found = check(text, "/etc/milecastle/milecastled.yaml", exists=nothing)
    assert not found
    assert settings == check("", "x", exists=nothing)[0]
    tree, _ = compose(text, "m.yaml")
    assert isinstance(tree, Mapping)
    assert set(tree.entries) | {"policy", "kubernetes"} == set(KEYS)
    assert "# policy: " in text
    assert "# kubernetes:" in text


def test_namespaces_are_excluded_by_what_runs_in_them():
    entries = "[{pod: [kube-system/*, ci/*]}, {cgroup: /ci/*, container: 3f*}]"
    written = f"namespaces: {{exclude: {entries}}}\nkubernetes: {{source: api}}"
    settings, found = check(written, "m.yaml", exists=nothing)
    assert not found
    assert settings.namespaces == (
        Exclusion(pod=("kube-system/*", "ci/*")),
        Exclusion(container=("3f*",), cgroup=("/ci/*",)),
    )


def test_kubernetes_needs_no_more_than_its_source():
    settings, found = check("kubernetes: {source: api}", "m.yaml", exists=nothing)
    assert not found
    assert settings.kubernetes == Kubernetes("api")
    assert settings.kubernetes.token.parts[-1] == "token"


@given(st.text(alphabet="cgroupwkes: []{}\n'\"1-/&*", max_size=100))
def test_garbage_is_problems_or_settings_and_never_an_exception(text):
    settings, found = check(text, "m.yaml", exists=nothing)
    assert (settings is None) == bool(found)


@pytest.mark.parametrize(
    "host",
    ["https://x.example", "x.example:443", "x.example/v1", "*", "*.example", "a*.x.example",
     "LLM.x.example", ".x.example", "x..example", "localhost", "x.example."],
)  # fmt: skip
def test_a_host_that_is_none_is_a_problem_with_its_place(host):
    (problem,) = problems(f"intercept: {{hosts: ['{host}']}}\n")
    assert problem.startswith("/etc/m/m.yaml:1:21: ")


@pytest.mark.parametrize("port", ["0", "65536", "80", "443", "x"])
def test_a_port_that_no_model_server_has_is_a_problem(port):
    (problem,) = problems(f"intercept: {{loopback: [{port}]}}\n")
    assert problem.startswith("/etc/m/m.yaml:1:")
