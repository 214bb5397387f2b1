import shlex
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milecastle.host import ExecutableHashes, ProcessTable
from milecastle.host.arguments import masked
from milecastle.host.masking import MASK, mask

MASKED = [
    ('curl -H "Authorization: Bearer sk-abc"', 'curl -H "Authorization: Bearer [MASKED]"'),
    ('curl -H "authorization:Basic YTpi"', 'curl -H "authorization:Basic [MASKED]"'),
    ('curl -H "x-api-key: hush"', 'curl -H "x-api-key: [MASKED]"'),
    ('curl -H "Cookie: a=b; c=d"', 'curl -H "Cookie: [MASKED]"'),
    ("curl -u ada:hunter2 https://h", "curl -u ada:[MASKED] https://h"),
    ("curl -sSu ada:hunter2 https://h", "curl -sSu ada:[MASKED] https://h"),
    ("curl -uada:hunter2 https://h", "curl -uada:[MASKED] https://h"),
    ("curl --user=ada:hunter2 https://h", "curl --user=ada:[MASKED] https://h"),
    ("curl -u hush: https://h", "curl -u [MASKED]: https://h"),
    ("curl -b session=hush https://h", "curl -b session=[MASKED] https://h"),
    ("sudo curl -u ada:hunter2 h", "sudo curl -u ada:[MASKED] h"),
    ("tool --api-key=hush run", "tool --api-key=[MASKED] run"),
    ("tool --password hush run", "tool --password [MASKED] run"),
    ("tool --openaiApiKey hush", "tool --openaiApiKey [MASKED]"),
    ('tool --password "two words"', "tool --password [MASKED]"),
    ("env TOKEN=hush LANG=C tool", "env TOKEN=[MASKED] LANG=C tool"),
    ("env OPENAI_API_KEY=hush tool", "env OPENAI_API_KEY=[MASKED] tool"),
    ("docker run -e DB_PASSWORD=hush img", "docker run -e DB_PASSWORD=[MASKED] img"),
    ("git clone https://ada:hu@sh@h/x.git", "git clone https://ada:[MASKED]@h/x.git"),
    ("git clone https://averylongsinglecredential@h/x", "git clone https://[MASKED]@h/x"),
    ("psql postgres://ada:hush@db/x", "psql postgres://ada:[MASKED]@db/x"),
    ('x "Server=h;Password=hush;Database=d"', 'x "Server=h;Password=[MASKED];Database=d"'),
    ("sshpass -p hush ssh -p 22 h", "sshpass -p [MASKED] ssh -p 22 h"),
    ("sshpass -phush ssh -p 22 h", "sshpass -p[MASKED] ssh -p 22 h"),
    ("mysql -uroot -phush -h db", "mysql -uroot -p[MASKED] -h db"),
    ("docker login -u ada -p hush reg", "docker login -u ada -p [MASKED] reg"),
    ("redis-cli -a hush ping", "redis-cli -a [MASKED] ping"),
    ("openssl rsa -passin pass:hush", "openssl rsa -passin pass:[MASKED]"),
    ("java -Dapp.keyStorePassword=hush A", "java -Dapp.keyStorePassword=[MASKED] A"),
    ("aws configure set aws_secret_key hush", "aws configure set aws_secret_key [MASKED]"),
    ("x 'https://h/v1?model=m&key=AIzaSyA1234567890abcdefghijklmnopqrstuv&alt=sse'",
     "x 'https://h/v1?model=m&key=[MASKED]&alt=sse'"),
    ("x 'https://h/v1?access_token=hush&alt=sse'", "x 'https://h/v1?access_token=[MASKED]&alt=sse'"),
    ("""x -d '{"api_key": "hush hush", "model": "m"}'""",
     """x -d '{"api_key": "[MASKED]", "model": "m"}'"""),
    ("x ghp_0123456789abcdefABCDEF", "x [MASKED]"),
    ("x AKIAZ7QK4MNW2XPLVBTR", "x [MASKED]"),
    ("x kB7vQ2mX9pL4nR8tY3wZ6cD1", "x [MASKED]"),
    ("x --opaque=kB7vQ2mX9pL4nR8tY3wZ6cD1", "x --opaque=[MASKED]"),
    ("x 'sh -c' 'curl -u a:hush h; mysql -phush db'",
     "x 'sh -c' 'curl -u a:[MASKED] h; mysql -p[MASKED] db'"),
    ("sh -c 'export TOKEN=hush && tool --password \"a b\" go'",
     "sh -c 'export TOKEN=[MASKED] && tool --password [MASKED] go'"),
    ("x '-----BEGIN PRIVATE KEY-----hush-----END PRIVATE KEY-----'",
     "x '-----BEGIN PRIVATE KEY-----[MASKED]-----END PRIVATE KEY-----'"),
]  # fmt: skip

KEPT = [
    "git checkout 0123456789abcdef0123456789abcdef01234567",
    "git clone git@github.com:ada/wall.git",
    "docker run -p 80:80 -u 1000:1000 sha256:" + "0123456789abcdef" * 4,
    "runc exec 550e8400-e29b-41d4-a716-446655440000",
    "kubectl logs api-server-7d9f8b6c5d-x2x4z -n kube-system --tail=100",
    "/nix/store/0c5cfvbd0p8sfczfrkpdpl7l7wd6qlp9-python3-3.12.4/bin/python3 ask.py",
    "node /home/ada/.nvm/v22/lib/node_modules/@anthropic-ai/claude-code/cli.js -p 'mend the wall'",
    "vllm serve meta-llama/Meta-Llama-3.1-405B-Instruct-FP8 --max-model-len 4096",
    "x Qwen2.5-Coder-32B-Instruct-GPTQ-Int4 claude-3-5-sonnet-20241022 gpt-4o-mini-2024-07-18",
    "x arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v2:0",
    "x --max-tokens 100 --token-limit 5 --tokenizer bpe --password-file /etc/pw --author Ada",
    "x --password-stdin --key-file server.pem --secret-name wall -v secret:/run/secret",
    "x --no-sandbox --enable-features=WebContentsForceDarkAndOtherLongFeatures2024",
    "mvn -Dtest=VeryLongIntegrationTestNameForTheWall2Test#aMethodThatIsNamedVerbosely verify",
    "npm i x@sha512-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU47DEQpj8HBSa+/TImW==",
    "ssh -p 22 -i ~/.ssh/id_ed25519 ada@host.example",
    "curl -sSL https://api.openai.com/v1/chat/completions -o out.json --cacert /etc/ca.pem",
]


def in_shell_words(text):
    return " ".join(text.replace("'", "").replace('"', "").split())


@pytest.mark.parametrize(("given", "expected"), MASKED)
def test_the_value_goes_and_the_rest_stays_readable(given, expected):
    told = " ".join(masked(shlex.split(given)))
    assert in_shell_words(told) == in_shell_words(expected)


@pytest.mark.parametrize("line", KEPT)
def test_ordinary_arguments_stay(line):
    assert masked(shlex.split(line)) == tuple(shlex.split(line))


SECRETS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=6).map(
    lambda text: f"q9{text}"
)
CARRIERS = st.sampled_from(
    [
        ["curl", "-H", "Authorization: Bearer {}"],
        ["curl", "-u", "ada:{}"],
        ["curl", "-b", "sid={}"],
        ["curl", "https://ada:{}@host/"],
        ["x", "--api-key={}"],
        ["x", "--password", "{}"],
        ["env", "GITHUB_TOKEN={}"],
        ["mysql", "-p{}"],
        ["sshpass", "-p", "{}"],
        ["sh", "-c", "echo; TOKEN={} tool"],
        ["sh", "-c", "sh -c 'tool --password {}'"],
        ["x", '{{"nested": {{"client_secret": "{}"}}}}'],
        ["x", "https://host/?access_token={}&x=1"],
    ]
)


@given(CARRIERS, SECRETS, st.lists(st.text(max_size=12), max_size=3))
def test_a_secret_is_gone_wherever_it_is_carried(carrier, secret, others):
    argv = [word.format(secret) for word in carrier]
    told = masked([*argv, *others])
    assert secret not in " ".join(told)
    assert MASK in " ".join(told[: len(argv)])
    assert len(told) == len(argv) + len(others)


@given(
    st.text(
        "0123456789abcdefABCDEFGHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz", min_size=40, max_size=40
    )
)
def test_what_is_masked_once_stays_as_it_is(text):
    once = mask(f"see {text} and --token={text}")
    assert mask(once) == once
    assert text not in once.split("--token")[1]


@given(st.lists(st.text()))
def test_any_arguments_are_answered_by_as_many(argv):
    told = masked(argv)
    assert len(told) == len(argv)
    assert masked(argv) == told


@pytest.mark.parametrize(
    "text",
    ["a=" * 8192, "-" * 16384, "://:" * 4096, "'\"" * 8192, "authorization:" * 1170, "A1" * 8192,
     " -u" * 5461, "eyJ" * 5461, "password:" * 1820, "\\" * 16384, "bearer " * 2340,
     "sk-" * 5461, "-----BEGIN PRIVATE KEY-----" * 606, "a-1/" * 4096, "--token " * 2048],
)  # fmt: skip
def test_hostile_arguments_cost_milliseconds(text):
    begun = time.process_time()
    masked(["sh", "-c", text])
    masked(text.split())
    assert time.process_time() - begun < 1


def test_a_process_is_never_shown_with_its_password():
    table = ProcessTable(ExecutableHashes())
    with subprocess.Popen(["sleep", "5"]) as plain, subprocess.Popen(
        ["sh", "-c", "sleep 5; #", "--api-key=hush-hush"]
    ) as child:  # fmt: skip
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            process = table.identify(child.pid, 0, time.monotonic_ns())
            if process and process.argv[:1] == ("sh",):
                break
        again = table.identify(child.pid, 0, time.monotonic_ns())
        child.kill()
        plain.kill()
    assert process.argv[-1] == "--api-key=[MASKED]"
    assert again is process
    assert "hush" not in repr(table._seen)
