"""What goes through `cloudist ssh-run`: output, errors and input, byte for byte or by prefixed lines."""

from __future__ import annotations

import random
import subprocess
import sys

EVERY_BYTE = bytes(range(256))
ECHO = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"


def test_output_of_one_worker_arrives_byte_for_byte(cloudist, project, place):
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 3); sys.stderr.buffer.write(bytes(range(255, -1, -1)))"
    done = cloudist("ssh-run", "-n1", *place.arguments, "--", "python3", "-c", code, cwd=project({})).check(0)
    assert done.raw_out == EVERY_BYTE * 3
    assert done.raw_err == EVERY_BYTE[::-1]


def test_much_output_arrives_whole(cloudist, project, place):
    block = random.Random(5).randbytes(1 << 20)
    root = project({"block": block})
    done = cloudist("ssh-run", "-n1", *place.arguments, "--", "cat", *["block"] * 5, cwd=root).check(0)
    assert len(done.raw_out) == 5 << 20
    assert done.raw_out == block * 5


def test_input_is_passed_on_byte_for_byte_to_its_end(cloudist, project, place):
    run = ("ssh-run", "-n1", *place.arguments, "--", "python3", "-c", ECHO)
    assert cloudist(*run, cwd=project({}), input=EVERY_BYTE).check(0).raw_out == EVERY_BYTE
    assert cloudist(*run, cwd=project({}), input=b"").check(0).raw_out == b""


def test_much_input_goes_through(cloudist, project, place):
    sent = random.Random(7).randbytes(16 << 20)
    run = ("ssh-run", "-n1", *place.arguments, "--", "sha256sum")
    done = cloudist(*run, cwd=project({}), input=sent).check(0)
    expected = subprocess.run(["sha256sum"], input=sent, stdout=subprocess.PIPE, check=True)
    assert done.raw_out == expected.stdout


def test_a_command_that_does_not_read_its_input_ends_all_the_same(cloudist, project, place):
    run = ("ssh-run", "-n1", *place.arguments, "--", "sh", "-c", "exec <&-; echo done")
    assert cloudist(*run, cwd=project({}), input=b"x" * (24 << 20)).check(0).out == "done\n"
    run = ("ssh-run", "-n1", *place.arguments, "--", "head", "-c", "3")
    assert cloudist(*run, cwd=project({}), input=b"abc" * (8 << 20)).check(0).out == "abc"


def test_the_command_ends_while_input_stays_open(cloudist, project, place):
    run = ("ssh-run", "-n1", *place.arguments, "--", "echo", "done")
    process = cloudist.start(*run, cwd=project({}), stdin=subprocess.PIPE)
    assert process.wait(60) == 0
    assert process.stdout.read() == b"done\n"
    process.communicate()


def test_input_that_nobody_reads_is_not_piled_up(cloudist, project):
    """A producer is held back by a slow command, as a pipe does, instead of filling memory here or there."""
    feeder = subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE)
    run = (
        "ssh-run",
        "-n1",
        "--provider=local",
        "--",
        "sh",
        "-c",
        "sleep 2; ps -o rss= -p $PPID; head -c 5 | wc -c",
    )
    process = cloudist.start(*run, cwd=project({}), stdin=feeder.stdout.fileno())
    feeder.stdout.close()
    done = cloudist.finish(process)
    feeder.kill()
    feeder.wait()
    resident, taken = done.check(0).out.split()
    assert taken == "5"
    assert int(resident) < 100_000, "the runner holds %s KiB" % resident


def test_several_workers_have_prefixed_lines_and_no_input(cloudist, project, place):
    line = 'echo "$CLOUDIST_WORKER_INDEX of $CLOUDIST_NUM_WORKERS"; echo oops >&2; cat; printf "no end"'
    done = cloudist("ssh-run", "-n3", *place.arguments, "--", line, cwd=project({}), input=b"unseen\n").check(
        0
    )
    expected = [f"[{n}] {line}" for n in range(3) for line in (f"{n} of 3", "no end")]
    assert sorted(done.out.splitlines()) == expected
    assert sorted(done.err.splitlines()) == [f"[{n}] oops" for n in range(3)]


def test_lines_of_several_workers_stay_whole(cloudist, project, place):
    code = "import sys\nfor n in range(3000): sys.stdout.write('%d ' % n + 'x' * 70 + '\\n')"
    done = cloudist("ssh-run", "-n2", *place.arguments, "--", "python3", "-c", code, cwd=project({})).check(0)
    for worker in (0, 1):
        lines = [line for line in done.out.splitlines() if line.startswith(f"[{worker}] ")]
        assert lines == [f"[{worker}] {n} {'x' * 70}" for n in range(3000)]


def test_words_are_passed_as_they_are_and_a_single_one_with_spaces_goes_to_the_shell(
    cloudist, project, place
):
    code = "import sys; print(sys.argv[1:])"
    words = ["a b", "", "$HOME", "'\"", "*", "ü", "-x", "--"]
    run = ("ssh-run", "-n1", *place.arguments, "--", "python3", "-c", code, *words)
    assert cloudist(*run, cwd=project({})).check(0).out == f"{words}\n"
    shell = ("ssh-run", "-n1", *place.arguments, "--", "echo $((6 * 7)) | tr 4 5")
    assert cloudist(*shell, cwd=project({})).check(0).out == "52\n"


def test_it_runs_where_the_user_is_in_the_project(cloudist, project, place):
    root = project({"lib/data.txt": "here", "top.txt": "above", "lib/mod.py": "value = 7"})
    run = ("ssh-run", "-n1", *place.arguments, "--", "sh", "-c", "cat data.txt ../top.txt; basename $PWD")
    assert cloudist(*run, cwd=root / "lib").check(0).out == "hereabovelib\n"
    run = ("ssh-run", "-n1", *place.arguments, "--", "python3", "-c", "import mod; print(mod.value)")
    assert cloudist(*run, cwd=root / "lib").check(0).out == "7\n"


def test_python_is_that_of_the_run(cloudist, project):
    run = ("ssh-run", "-n1", "--provider=local", "--", "python", "-c", "import sys; print(sys.prefix)")
    assert cloudist(*run, cwd=project({})).check(0).out.strip() == sys.prefix
