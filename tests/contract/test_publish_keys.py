"""Keys that come and go: rotation, several people, teams, an SSH agent, a PKCS#11 token (SoftHSM)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.contract.publishing import PASSPHRASE, Client, quick_key
from tests.contract.test_publish_cli import shell  # noqa: F401 - a fixture

from overseer.errors import PublishError
from overseer.publish import keys
from overseer.publish.agent import find, fingerprint
from overseer.publish.places import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.test_publish_cli import Shell


def begun(shell: Shell) -> Client:  # noqa: F811
    """Have a repository with a release, and a client that trusts its first root."""
    shell.begin()
    shell.repo("publish", shell.release("1.0"))
    root = (shell.folder / "overseer-repo" / "root.json").read_bytes()
    client = Client(
        str(shell.folder / "client"), Folder(str(shell.folder / "overseer-repo" / "public")), root
    )
    assert client.refresh() == {"1.0"}
    return client


def new_key(folder: Path, name: str) -> str:
    """Make a key as people do, with ssh-keygen; return its URI."""
    quick_key(str(folder / name))
    return f"file:{name}"


@pytest.mark.parametrize("which", ["online", "offline"])
def test_a_key_is_rotated_and_clients_follow(shell: Shell, which: str) -> None:  # noqa: F811
    """The old key is good for nothing more, and what was published is there as before."""
    client = begun(shell)
    quick_key(str(shell.folder / "overseer-repo" / "keys" / f"{which}-2.key"))  # as if it had been killed
    said = shell.repo("rotate", which)
    assert "root 1 becomes 2" in said
    assert client.refresh() == {"1.0"}
    (shell.folder / "overseer-repo" / "keys" / f"{which}.key").unlink()
    shell.repo("publish", shell.release("1.1"))
    shell.repo("renew")
    assert client.refresh() == {"1.0", "1.1"}
    assert "all is well" in shell.repo("verify", "--deep")
    kept = (shell.folder / "overseer-repo" / "repo.json").read_text()
    assert f"keys/{which}-2.key" in kept
    assert f"keys/{which}.key" not in kept


def test_a_lost_online_key_is_replaced_without_it(shell: Shell) -> None:  # noqa: F811
    """The root's key alone is enough."""
    client = begun(shell)
    (shell.folder / "overseer-repo" / "keys" / "online.key").unlink()
    assert "cannot be used" in shell.repo("rotate", "online", status=1)
    assert client.refresh() == {"1.0"}
    shell.repo("rotate", "online", "--lost", "--new-key", new_key(shell.folder, "another"))
    assert client.refresh() == {"1.0"}
    shell.repo("renew")


def test_two_of_three_people_sign_a_root(shell: Shell) -> None:  # noqa: F811
    """A file goes from one to the next; it counts when two of the three have signed, and not before."""
    client = begun(shell)
    people = {name: new_key(shell.folder, name) for name in ("ann", "bob", "eve")}
    added = [word for uri in people.values() for word in ("--add", f"root={uri}")]
    old = re.findall(r"key (\w+): file:\S+offline", shell.repo("init", "app"))[0]
    shell.repo("root", "export", "new", *added, "--remove", f"root={old}", "--threshold", "root=2")
    assert "still wanted: the new root wants 2 signatures and has 0" in shell.repo("sign", "new")
    assert "has 0" in shell.repo("root", "import", "new", status=1)
    assert "root: 1 signatures become 2" in shell.repo("--key", people["ann"], "root", "sign", "new")
    assert "has 1" in shell.repo("root", "import", "new", status=1)
    assert "complete" in shell.repo("--key", people["eve"], "sign", "new")
    assert "root 2 is published" in shell.repo("root", "import", "new")
    assert "in use already" in shell.repo("root", "import", "new")
    assert client.refresh() == {"1.0"}
    shell.repo("root", "export", "next")
    assert "none of the keys that sign this is here" in shell.repo("sign", "next", status=1)
    for name in ("bob", "ann"):
        shell.repo("--key", people[name], "sign", "next")
    assert "root 3 is published" in shell.repo("root", "import", "next")
    assert client.refresh() == {"1.0"}


def test_a_root_that_could_not_be_used_is_not_made(shell: Shell) -> None:  # noqa: F811
    """More signatures than keys, a role that does not exist, a key that is not there."""
    begun(shell)
    wrong = {
        ("--threshold", "root=2"): "root would want 2 signatures of 1 keys",
        ("--threshold", "root=many"): "'many' is no number",
        ("--threshold", "root"): "not of the form ROLE=VALUE",
        ("--remove", "root=ffff"): "ffff names 0 keys of root",
        ("--add", "boot=file:overseer-repo/keys/online.key"): "boot is none of the roles",
        ("--add", "root=gnupg:1234"): "can only be verified where GnuPG is installed",
        ("--add", "root=smoke:1"): "is none of file, ssh-agent, hsm",
    }
    for options, reason in wrong.items():
        assert reason in shell.repo("root", "export", "new", *options, status=1)
    assert not (shell.folder / "new").exists()


def test_a_team_signs_its_own_names_and_no_others(shell: Shell) -> None:  # noqa: F811
    """With a folder and a key of its own; what is left to it nobody else publishes by mistake."""
    client = begun(shell)
    key = new_key(shell.folder, "web")
    assert "web-* is left to web" in shell.repo("delegate", "web", "--path", "web-*", "--add", key)
    online = "file:overseer-repo/keys/online.key"
    place = str(shell.folder / "overseer-repo" / "public")
    team = ("-d", "team", "--key", key, "--key", online)
    shell.repo(*team, "init", "web", "--to", place, "--join", "overseer-repo/root.json")
    shell.release("5.0", name="web.py")
    assert "publish it with --role web" in shell.repo(*team, "publish", "web.py", status=1)
    assert "published: web-5.0-any.py" in shell.repo(*team, "publish", "web.py", "--role", "web")
    assert "app-1.1-any.py is none of them" in shell.repo(
        "--key", key, "publish", shell.release("1.1"), "--role", "web", status=1
    )
    assert client.refresh() == {"1.0"}
    assert "all is well" in shell.repo("verify", "--deep")
    assert "5.0  any" in shell.repo("list")


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an SSH agent."""
    if not shutil.which("ssh-agent"):
        pytest.skip("LOUD SKIP: there is no ssh-agent here")
    socket = str(tmp_path / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # it says where it listens, once it does
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.usefixtures("agent")
def test_a_key_in_an_ssh_agent_signs(shell: Shell) -> None:  # noqa: F811
    """Its owner opens it once; what it signs is a plain Ed25519 signature."""
    client = begun(shell)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "mine"], check=True, cwd=shell.folder
    )
    subprocess.run(["ssh-add", "-q", "mine"], check=True, cwd=shell.folder)
    listed = subprocess.run(["ssh-add", "-l"], check=True, capture_output=True, text=True).stdout.split()[1]
    line = find(listed)
    assert (shell.folder / "mine.pub").read_bytes().startswith(line)
    os.unlink(shell.folder / "mine")
    shell.repo("rotate", "offline", "--new-key", f"ssh-agent:{listed}")
    (shell.folder / "overseer-repo" / "keys" / "offline.key").unlink()
    shell.repo("publish", shell.release("1.1"))
    assert client.refresh() == {"1.0", "1.1"}
    subprocess.run(["ssh-add", "-q", "-D"], check=True)
    assert f"the SSH agent holds no key {listed}" in shell.repo("publish", shell.release("1.2"), status=1)


def test_an_agent_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the variable that names it, or by the socket that does not answer."""
    assert fingerprint(b"").startswith("SHA256:")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(PublishError, match="SSH_AUTH_SOCK is not set"):
        keys.public("ssh-agent:me", str)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nothing"))
    with pytest.raises(PublishError, match="does not answer"):
        keys.public("ssh-agent:me", str)


def test_a_key_on_a_token_signs(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Through PKCS#11, as a YubiKey or an HSM would; SoftHSM stands for one."""
    pytest.importorskip("pkcs11", reason="LOUD SKIP: python-pkcs11 is not installed")
    library = "/usr/lib/softhsm/libsofthsm2.so"
    if not os.path.exists(library) or not shutil.which("softhsm2-util"):
        pytest.skip("LOUD SKIP: there is no SoftHSM here")
    (shell.folder / "tokens").mkdir()
    (shell.folder / "softhsm2.conf").write_text(f"directories.tokendir = {shell.folder}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(shell.folder / "softhsm2.conf"))
    monkeypatch.setenv("PYKCS11LIB", library)
    init = ["--init-token", "--free", "--label", "team", "--so-pin", PASSPHRASE, "--pin", PASSPHRASE]
    subprocess.run(["softhsm2-util", *init], check=True, capture_output=True)
    import pkcs11  # noqa: PLC0415

    token = pkcs11.lib(library).get_token(token_label="team")
    with token.open(user_pin=PASSPHRASE, rw=True) as session:
        curve = {pkcs11.Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters("secp256r1")}
        made = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        made.generate_keypair(store=True, id=b"\2", label="release")
    client = begun(shell)
    uri = "hsm:2?label=team"
    said = shell.repo("root", "export", "new", "--add", f"root={uri}")
    assert "services need the package cryptography" in said
    assert "services need the package cryptography" in shell.repo("rotate", "offline", "--new-key", uri)
    (shell.folder / "overseer-repo" / "keys" / "offline.key").unlink()
    shell.repo("publish", shell.release("1.1"))
    assert client.refresh() == {"1.0", "1.1"}
