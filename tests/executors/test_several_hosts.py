"""Whole runs on hosts that share the bank and nothing else, some of which are lost.

Real ones are not at hand: here a host is a process with its own loopback address, home and
temporary folder, which finds the store's folder empty; or, besides, its own network.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading

import pytest
from clusters import DaskHosts, environment_of_runs
from golden_runs import arguments_of_run, run_files
from waiting import wait_until

from dotpe_exec import run, run_multicore

pytestmark = pytest.mark.slow


def test_run_that_loses_a_host_has_the_files_of_a_serial_one(tmp_path, golden, monkeypatch):
    given = arguments_of_run(golden, blocksize=16, single_detector_blocksize=16)
    expected = run_files(run(**given, rundir=tmp_path / "serial"))
    rundir = tmp_path / "hosts"
    with DaskHosts(tmp_path, tmp_path / "scratch") as hosts:
        monkeypatch.setenv("DOTPE_EXEC_SCRATCH", str(hosts.scratch))
        hosts.start("127.0.0.2")
        hosts.start("127.0.0.3")

        def lose_one():
            wait_until(lambda: list(rundir.glob("checkpoint/*")), 300)
            hosts.kill("127.0.0.2")

        killer = threading.Thread(target=lose_one, daemon=True)
        killer.start()
        run_multicore(**given, rundir=rundir, executor=str(hosts.file))
        killer.join()
        assert hosts.processes.keys() == {"scheduler", "127.0.0.3"}
    assert run_files(rundir) == expected


# Runs in a network and a mount namespace of its own, which end with it.
NETWORK = """
import subprocess, sys, threading
from pathlib import Path
from clusters import DaskHosts
from golden_runs import arguments_of_run, run_files
from waiting import wait_until
from dotpe_exec import run, run_multicore

def ip(command):
    subprocess.run(["ip", *command.split()], check=True)

ip("link set lo up")
ip("link add bridge0 type bridge")
ip("address add 10.0.0.1/24 dev bridge0")
ip("link set bridge0 up")
subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
for k in (2, 3):
    ip(f"netns add host{k}")
    ip(f"link add cable{k} type veth peer name eth0 netns host{k}")
    ip(f"link set cable{k} master bridge0 up")
    ip(f"-n host{k} address add 10.0.0.{k}/24 dev eth0")
    ip(f"-n host{k} link set eth0 up")
    ip(f"-n host{k} link set lo up")

class Hosts(DaskHosts):
    scheduler_host = "10.0.0.1"

    def start(self, address):
        number = address.split(".")[-1]
        super().start(address, ["ip", "netns", "exec", f"host{number}"])

folder, golden = map(Path, sys.argv[1:])
given = arguments_of_run(golden, blocksize=16, single_detector_blocksize=16)
expected = run_files(run(**given, rundir=folder / "serial"))
rundir = folder / "hosts"
with Hosts(folder, folder / "scratch") as hosts:
    hosts.start("10.0.0.2")
    hosts.start("10.0.0.3")

    def unplug():
        wait_until(lambda: list(rundir.glob("checkpoint/*")), 300)
        ip("link set cable2 down")
        print("unplugged", flush=True)

    threading.Thread(target=unplug, daemon=True).start()
    run_multicore(**given, rundir=rundir, executor=str(hosts.file))
assert run_files(rundir) == expected
print("same")
"""


def test_run_whose_host_is_unplugged_has_the_files_of_a_serial_one(tmp_path, golden):
    if not (shutil.which("ip") and shutil.which("unshare")):
        pytest.skip("no ip and unshare on the path")
    namespace = ["unshare", "--mount", "--net"]
    trial = "ip link add type bridge && ip link add type veth && mount -t tmpfs none /run"
    if subprocess.run([*namespace, "sh", "-c", trial], capture_output=True).returncode:
        pytest.skip("the system does not let tests make networks")
    script = tmp_path / "script.py"
    script.write_text(NETWORK)
    done = subprocess.run(
        [*namespace, sys.executable, str(script), str(tmp_path), str(golden)],
        env=environment_of_runs(
            DOTPE_EXEC_SCRATCH=str(tmp_path / "scratch"),
            DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP="12s",  # dask wants at least 11
        ),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["unplugged", "same"]
