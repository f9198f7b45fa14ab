"""Stages in containers for real: images without a registry, `dvc repro` of every stage in them, the bytes as without.

Needs podman, runc, debootstrap and root, as Debian has them; left out elsewhere. Where images were built before, layers
come from podman's cache.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from clones import command, documented, made_clone, make_clone, output, stages_run, start
from narrow import keep_rows
from PIL import Image

MISSING = [name for name in ("podman", "runc", "debootstrap", "newuidmap") if shutil.which(name) is None]
MISSING += [] if os.geteuid() == 0 else ["root"]

pytestmark = [
    pytest.mark.containers,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(MISSING), reason=f"containers are not run: no {', '.join(MISSING)}"),
]

FAMILIES = ("vision", "reid", "report")
PODMAN = {"DLCR_ENGINE": "podman"}
USER = "dlcr-test"


@pytest.fixture(scope="module", autouse=True)
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Podman with what a machine without systemd and with bounded limits needs."""
    settings = tmp_path_factory.mktemp("podman") / "containers.conf"
    limits = ", ".join(f'"{name}=1024:1024"' for name in ("nofile", "nproc"))
    settings.write_text(f'[containers]\ndefault_ulimits = [{limits}]\n[engine]\nruntime = "runc"\n')
    settings.parent.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(settings))
        yield


@pytest.fixture(scope="module")
def clone(repository: Path, podman: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, profile smoke with few items for each stage, whose images are recorded, after `dvc repro` in them."""
    clone = narrowed(make_clone(repository, tmp_path_factory.mktemp("contained") / "dlcr"))
    make_images(repository, clone)
    command(clone, "dvc", "repro", **PODMAN)
    command(clone, "git", "add", "--all")
    command(clone, "git", "commit", "--quiet", "--message", "smoke, in containers")
    return clone


def narrowed(clone: Path) -> Path:
    params = yaml.safe_load((clone / "params.yaml").read_text())
    keep_rows(params, ["1", "6"], ["guided", "oracle"], ["geff"])
    (clone / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return clone


@pytest.fixture
def copy(clone: Path, tmp_path: Path) -> Path:
    return shutil.copytree(clone, tmp_path / "dlcr", symlinks=True)


def make_images(repository: Path, clone: Path) -> str:
    """Builds as docs/containers.md says; returns what that printed."""
    lines = documented(repository, "Without a registry", page="containers.md")
    return command(clone, "bash", "-ec", "\n".join(lines))


def images(clone: Path) -> dict[str, str]:
    return yaml.safe_load((clone / "containers" / "images.yaml").read_text())


def lock(clone: Path) -> dict[str, dict]:
    return yaml.safe_load((clone / "dvc.lock").read_text())["stages"]


def running() -> set[str]:
    """The containers that run now, with what they run: other work on this machine may have its own."""
    words = ["podman", "ps", "--format", "{{.ID}} {{.Command}}"]
    return set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines())


def in_container(clone: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [clone / "containers" / "run", *words],
        cwd=clone, env={**os.environ, **PODMAN, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_every_output_has_the_bytes_of_engine_none(
    clone: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    uncontained = narrowed(made_clone(repository, tmp_path_factory, "uncontained"))
    assert stages_run(command(uncontained, "dvc", "repro")) == {"survey", "report"}
    contained, without = lock(clone), lock(uncontained)
    ran = set()
    for name, stage in contained.items():  # dvc.lock also names other profiles' stages
        recorded = stage.get("params", {}).get("containers/images.yaml", {})
        if recorded.items() <= images(clone).items() and None not in recorded.values() and recorded:
            assert stage["outs"] == without[name]["outs"], name
            ran.add(name)
    stages = set(command(clone, "dvc", "stage", "list", "--name-only").split())
    assert ran == stages - {"pretrain"}  # which is frozen: MiniCC's weights are in git
    every = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"].keys()
    assert {name.partition("@")[0] for name in stages} == {name for name in every if not name.startswith("private-")}


def test_nothing_is_left_to_do_whatever_the_engine(clone: Path) -> None:
    """Where a stage ran is not part of its hash; the image that is recorded for it is."""
    assert "up to date" in command(clone, "dvc", "status", DLCR_ENGINE="none")
    assert "up to date" in command(clone, "dvc", "status", **PODMAN)


def test_files_belong_to_the_caller(clone: Path) -> None:
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in clone.rglob("*")}
    assert owners == {(os.getuid(), os.getgid())}


def test_provenance_and_times_know_the_engine(clone: Path) -> None:
    entry = json.loads((clone / "reports" / "provenance.json").read_text())["evaluations"]["progressive"]
    assert entry["state"] == "complete"
    assert entry["images"] == {family: images(clone)[family] for family in ("vision", "reid")}
    assert entry["stages"]["train@progressive"]["machine"]["engine"] == "podman"


def test_what_images_hold(clone: Path) -> None:
    for family in FAMILIES:
        (found,) = json.loads(command(clone, "podman", "image", "inspect", images(clone)[family]))
        assert found["User"] == "dlcr"
        assert found["Labels"]["org.opencontainers.image.title"] == f"dlcr-{family}"
        assert found["Labels"]["org.opencontainers.image.revision"]
        told = json.dumps([found["Config"], found["History"]])
        for name in ("PIP_CERT", "PIP_FIND_LINKS"):
            assert not os.environ.get(name) or os.environ[name] not in told
        words = "find /mnt /tmp /var/cache /var/log /var/lib/apt/lists /root -xdev -type f; command -v dlcr"
        left = in_container(clone, family, "sh", "-c", words).stdout.split()
        assert [path for path in left if not path.startswith("/root/.")] == []  # Debian's .bashrc and .profile


def test_a_change_of_code_builds_and_runs_nothing_anew(repository: Path, copy: Path) -> None:
    recorded = (copy / "containers" / "images.yaml").read_bytes()
    with (copy / "dlcr" / "reporting" / "page.py").open("a") as file:
        file.write("\n# changed\n")
    printed = make_images(repository, copy)
    assert (copy / "containers" / "images.yaml").read_bytes() == recorded
    assert [line for line in printed.splitlines() if "the same files as" in line] == [
        f"{family}: the same files as {images(copy)[family]}" for family in FAMILIES
    ]
    changed = command(copy, "dvc", "status")
    assert "report" in changed
    assert "train@" not in changed


def test_no_network_but_where_it_is_asked_for(clone: Path) -> None:
    """A server on this machine's loopback stands for the world."""
    code = "import socket; socket.create_connection(('127.0.0.1', {}), 5).close()"
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=server.accept, daemon=True).start()
        connect = code.format(server.getsockname()[1])
        refused = in_container(clone, "vision", "python", "-c", connect)
        assert refused.returncode == 1
        assert "refused" in refused.stderr
        assert in_container(clone, "--network", "vision", "python", "-c", connect).returncode == 0
    devices = in_container(clone, "vision", "sh", "-c", "ls /sys/class/net").stdout.split()
    assert devices == ["lo"]


def test_no_privileges(clone: Path) -> None:
    status = in_container(clone, "reid", "cat", "/proc/self/status").stdout
    fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"


def test_exit_codes_pass_through(clone: Path) -> None:
    assert in_container(clone, "reid", "sh", "-c", "exit 7").returncode == 7
    failed = in_container(clone, "reid", "python", "-m", "stages.train", "nothing")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: params.yaml: runs has no 'nothing'")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 3), (signal.SIGTERM, 4)])
def test_signals_pass_through_and_end_the_container(clone: Path, sent: int, code: int) -> None:
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(3))\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))\n"
        "print('ready', flush=True)\n"
        "time.sleep(100)\n"
    )
    others = running()
    process = start(clone, "containers/run", "reid", "python", "-c", program, **PODMAN)
    assert process.stdout.readline() == "ready\n"
    assert len(running() - others) == 1
    process.send_signal(sent)
    assert process.wait(20) == code
    assert running() - others == set()


def test_ctrl_c_stops_a_stage_which_goes_on_where_it_was(copy: Path) -> None:
    before = (copy / "dvc.lock").read_bytes()
    shutil.rmtree(copy / ".dlcr" / "store")
    shutil.rmtree(copy / ".dvc" / "cache")  # nothing can be taken from there either
    words = ("dvc", "repro", "--force", "--single-item", "inpaint@inpainting")
    folder = copy / "generated" / "inpainting"
    shutil.rmtree(folder)
    others = running()
    process = start(copy, "setsid", *words, **PODMAN)  # a terminal's Ctrl-C is for a group: here, for this one
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(folder.glob("variant-000-*.arrow")):
        time.sleep(0.1)
    assert running() - others
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0, printed
    assert running() - others == set()
    again = command(copy, *words, **PODMAN)
    assert " 0 taken from the store" not in again
    assert (copy / "dvc.lock").read_bytes() == before


def test_an_experiment_of_its_own_folder_takes_what_dvc_kept(copy: Path) -> None:
    """`--temp` runs within the repository; without the store the first variants are those that DVC kept."""
    shutil.rmtree(copy / ".dlcr" / "store")
    printed = command(copy, "dvc", "exp", "run", "--temp", "-S", "k=3", "inpaint@oracle", **PODMAN)
    assert "36 made, 72 taken" in printed


def test_a_linked_cache_elsewhere(copy: Path, tmp_path: Path) -> None:
    before = (copy / "dvc.lock").read_bytes()
    (copy / ".dvc" / "cache").rename(tmp_path / "cache")
    command(copy, "dvc", "config", "--local", "cache.dir", str(tmp_path / "cache"))
    command(copy, "dvc", "config", "--local", "cache.type", "symlink")
    command(copy, "dvc", "checkout", "--relink")
    assert (copy / "data" / "minicc" / "manifest.parquet").is_symlink()
    command(copy, "dvc", "repro", "--force", "--single-item", "parse@minicc", **PODMAN)
    assert (copy / "dvc.lock").read_bytes() == before


def test_a_linked_dataset(copy: Path, tmp_path: Path) -> None:
    mine = tmp_path / "disk" / "mine"
    mine.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (24, 48), (60 * number, 90, 120)).save(mine / f"{number}.jpg")
    (mine / "manifest.csv").write_text(
        "image,subject,clothes,camera,split\n0.jpg,s0,s0-0,c0,train\n1.jpg,s1,s1-0,c0,train\n"
    )
    (copy / "datasets").mkdir()
    (copy / "datasets" / "mine").symlink_to(mine)
    params = copy / "params.yaml"
    line = "datasets:\n  mine: {reader: folder, source: datasets/mine}\n"
    params.write_text(params.read_text().replace("datasets:\n", line))
    assert "Updating lock file" in command(copy, "dvc", "repro", "prepare@mine", **PODMAN)


def test_several_processes_and_ray_within_one_container(copy: Path) -> None:
    """Both speak through loopback, which is there without a network."""
    before = lock(copy)
    settings = {"DLCR_PROCESSES": "2", "RAY_AUTH_MODE": "disabled", **PODMAN}
    command(copy, "dvc", "repro", "--force", "--single-item", "train@baseline", **settings)
    assert (copy / "runs" / "baseline" / "seed-0" / "model.safetensors").is_file()
    shutil.rmtree(copy / ".dlcr")
    command(copy, "dvc", "repro", "--force", "--single-item", "describe@minicc", DLCR_EXECUTOR="ray", **settings)
    assert lock(copy)["describe@minicc"] == before["describe@minicc"]


def test_doctor_finds_all_well(clone: Path) -> None:
    printed = command(clone, "dlcr", "doctor", **PODMAN)
    for family in FAMILIES:
        assert f"image {family}" in printed
    assert printed.count(" starts in ") == len(FAMILIES)
    assert "problem" not in printed


def test_a_caller_who_is_not_root(repository: Path, clone: Path) -> None:
    """Rootless podman, with Debian's base alone as the image, brought there as docs/containers.md says."""
    if subprocess.run(["id", USER], capture_output=True, check=False).returncode != 0:
        subprocess.run(["useradd", "--create-home", USER], check=True)
    base = command(clone, "containers/debian-base", **PODMAN).splitlines()[-1]
    folder = Path(tempfile.mkdtemp())  # not below pytest's, which is closed to others
    instead = {"$(sed -n 's/^vision: //p' containers/images.yaml)": base, "vision.tar": f"{folder}/base.tar"}
    save, load = documented(repository, "Sharing images", instead, page="containers.md")
    command(folder, *shlex.split(save))
    shutil.copytree(clone / "containers", folder / "dlcr" / "containers")
    shutil.copy(os.environ["CONTAINERS_CONF"], folder)
    command(folder, "chown", "--recursive", f"{USER}:{USER}", str(folder))

    def as_user(line: str) -> str:
        settings = f"export CONTAINERS_CONF={folder}/containers.conf DLCR_ENGINE=podman; cd {folder}/dlcr"
        return output(start(folder, "su", "--login", USER, "--command", f"{settings}; {line}"))

    try:
        as_user(load.partition("#")[0])
        image = as_user(f"podman image inspect --format '{{{{.Id}}}}' {base}").split()[-1]
        as_user(f"sed --in-place 's/^report:.*/report: sha256:{image}/' containers/images.yaml")
        as_user("containers/run report sh -c 'id -un > made; touch /etc/made 2> refused || true'")
        made = folder / "dlcr" / "made"
        assert made.owner() == USER
        assert made.read_text() == f"{USER}\n"
        assert "Permission denied" in (folder / "dlcr" / "refused").read_text()
    finally:
        as_user("podman system reset --force")
        shutil.rmtree(folder)


def test_the_dev_container_has_what_make_needs(repository: Path) -> None:
    """docs/install.md's build; podman's cache makes it a matter of seconds after the first time."""
    lines = documented(repository, "A dev container", {"podman build": "podman build --network host"}, "install.md")
    command(repository, "bash", "-ec", "\n".join(lines))
    inside = "make --version && git --version && python3 -m venv /tmp/venv && /tmp/venv/bin/python --version"
    printed = command(repository, "podman", "run", "--rm", "--user", "dlcr", "dlcr-dev", "sh", "-ec", inside)
    version = re.search(r"Python 3\.(\d+)", printed)
    assert version
    assert int(version[1]) >= 11
