"""Machines that hand a snapshot on to each other: what is let in, what is believed, and what is left when a peer
fails."""

import hashlib
import hmac
import json
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib

import pytest
from harness import digest

KEY = "0123456789abcdef"
SECRET = "5e" * 32
LARGE = 3 << 20
# So many that two processes write them.
COUNT = 5000
FILES = {"a.py": b"a = 1\n", "b/large.bin": bytes(range(256)) * (LARGE >> 8), "b/z.py": b"z = 1\n"}


class Snapshot:
    def __init__(self, files):
        records = [
            b"f %d %s %s\0" % (len(data), digest(data), path.encode()) for path, data in sorted(files.items())
        ]
        self.manifest = b"cloudist-manifest 2\n" + b"".join(records)
        self.id = hashlib.sha256(self.manifest).hexdigest()


SNAPSHOT = Snapshot(FILES)


def token(number):
    return hmac.new(bytes.fromhex(SECRET), b"%d" % number, hashlib.sha256).hexdigest()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Paths of a certificate and its key."""
    root = tmp_path_factory.mktemp("certificate")
    made, key = root / "certificate.pem", root / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -days 2"
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(made)], check=True, stderr=subprocess.PIPE
    )
    return made, key


@pytest.fixture
def pin(certificate):
    der = ssl.PEM_cert_to_DER_cert(certificate[0].read_text())
    return hashlib.sha256(der).hexdigest()


@pytest.fixture
def ask_to_seed(certificate):
    def ask(machine, snapshot=SNAPSHOT):
        certificate_, key = (path.read_text() for path in certificate)
        header = {"t": "seed", "id": snapshot.id, "secret": SECRET, "certificate": certificate_, "key": key}
        machine.send(dict(header, ports=[28100, 28164]))

    return ask


@pytest.fixture
def seed(boot, tmp_path, ask_to_seed):
    """A machine that has everything and serves it."""
    machine = boot(base=tmp_path / "seed")
    machine.tree = machine.snapshot(FILES)
    ask_to_seed(machine)
    machine.at = machine.wait("seeding")
    return machine


@pytest.fixture
def young_seed(boot, tmp_path, ask_to_seed):
    """A machine that serves a snapshot of which it has nothing yet."""

    def start(snapshot=SNAPSHOT):
        machine = boot(base=tmp_path / "seed")
        ask_to_seed(machine, snapshot)
        machine.send({"t": "snapshot", "id": snapshot.id, "key": KEY}, zlib.compress(snapshot.manifest))
        machine.at = machine.wait("seeding")
        return machine

    return start


@pytest.fixture
def fetch(boot, tmp_path, pin):
    """Has a new machine fetch from there; answers with it and what it said of the fetching."""

    def fetch(at, number=1, name="other", **other):
        machine = begin(at, number, name, **other)
        return machine, machine.wait("fetched-from")

    def begin(at, number=1, name="other", **other):
        machine = boot(base=tmp_path / name)
        header = {"t": "fetch-from", "id": SNAPSHOT.id, "key": KEY, "number": number, "token": token(number)}
        header.update({"address": at["address"], "port": at["port"], "pin": pin}, **other)
        machine.send(header)
        return machine

    fetch.begin = begin
    return fetch


class Impostor:
    """Listens with the right certificate, is asked for contents, and answers as it likes."""

    def __init__(self, certificate, answer, snapshot=SNAPSHOT):
        self._manifest = snapshot.manifest
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*map(str, certificate))
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.at = {"address": "127.0.0.1", "port": self._listener.getsockname()[1]}
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with self._listener, self._context.wrap_socket(self._listener.accept()[0], server_side=True) as line:
            said = line.makefile("rb")
            self._receive(said)
            self._receive(said)
            self.send(line, {"t": "manifest"}, zlib.compress(self._manifest))
            self._receive(said)
            self._answer(self.send, line)

    @staticmethod
    def _receive(said):
        return said.read(struct.unpack(">I", said.read(4))[0])

    @staticmethod
    def send(line, header, blob=b""):
        text = json.dumps(header).encode() + b"\n"
        line.sendall(struct.pack(">I", len(text) + len(blob)) + text + blob)

    def join(self):
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_everything_comes_from_the_other_machine(seed, fetch):
    machine, fetched = fetch(seed.at)
    assert fetched["failure"] is None and fetched["bytes"] > LARGE
    assert_whole(machine.wait("built")["tree"])
    assert 28100 <= seed.at["port"] < 28164 and seed.at["address"] == "127.0.0.1"


def assert_whole(tree):
    for path, data in FILES.items():
        with open(tree + "/" + path, "rb") as file:
            assert file.read() == data, path


def test_a_wrong_token_is_refused(seed, fetch):
    machine, fetched = fetch(seed.at, token="0" * 64)
    assert fetched["failure"] and fetched["bytes"] == 0
    assert machine.wait("need")["manifest"] is True
    machine, fetched = fetch(seed.at, number=2, token=token(1), name="third")
    assert fetched["failure"]


def test_a_token_opens_once(seed, fetch):
    assert fetch(seed.at)[1]["failure"] is None
    assert fetch(seed.at, name="third")[1]["failure"]
    assert fetch(seed.at, number=2, name="fourth")[1]["failure"] is None


def test_a_machine_with_another_certificate_is_not_spoken_to(seed, fetch):
    machine, fetched = fetch(seed.at, pin="0" * 64)
    assert "not of this run" in fetched["failure"]
    # The token was never sent, so it still opens.
    assert fetch(seed.at, name="third")[1]["failure"] is None


def test_nobody_listens(fetch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    machine, fetched = fetch({"address": "127.0.0.1", "port": port})
    assert "refused" in fetched["failure"].lower()
    assert machine.snapshot(FILES)


def test_what_tests_have_changed_is_not_handed_on(seed, fetch):
    with open(seed.tree + "/b/z.py", "r+b") as file:
        file.write(b"y")
    with open(seed.tree + "/b/large.bin", "r+b") as file:
        file.write(b"y")
    machine, fetched = fetch(seed.at)
    assert fetched["failure"] is None
    assert machine.wait("need").json()["files"] == [[1, 2]]


def test_damaged_contents_are_refused_and_can_come_from_elsewhere(seed, fetch, certificate, pin):
    def answer(send, line):
        send(line, {"t": "pack", "files": [0]}, FILES["a.py"])
        send(line, {"t": "pack", "files": [2]}, b"z = 2\n")
        send(line, {"t": "end"})

    impostor = Impostor(certificate, answer)
    machine, fetched = fetch(impostor.at)
    impostor.join()
    assert "damaged" in fetched["failure"]
    assert machine.wait("need").json()["files"] == [[1, 2]]
    header = dict(seed.at.header, t="fetch-from", id=SNAPSHOT.id, key=KEY, pin=pin)
    machine.send(dict(header, number=7, token=token(7)))
    assert_whole(machine.wait("built")["tree"])


def test_damage_that_shows_only_once_everything_has_come_is_the_peers(fetch, certificate):
    files = {"%04d.py" % number: b"n = %04d\n" % number for number in range(COUNT)}
    snapshot = Snapshot(files)
    contents = list(files.values())

    def answer(send, line):
        for begin in range(0, COUNT, 1000):
            data = b"".join(contents[begin : begin + 1000])
            damaged = begin + 1000 == COUNT
            send(
                line,
                {"t": "pack", "files": list(range(begin, begin + 1000))},
                data[:-2] + b"x\n" if damaged else data,
            )
        send(line, {"t": "end"})

    impostor = Impostor(certificate, answer, snapshot)
    machine, fetched = fetch(impostor.at, id=snapshot.id)
    impostor.join()
    assert "damaged" in fetched["failure"]
    assert machine.wait("need").json()["files"] == [[COUNT - 1, COUNT - 1]]


def test_a_peer_that_breaks_off_in_the_middle_is_gone_on_from(fetch, certificate):
    def answer(send, line):
        send(line, {"t": "pack", "files": [0]}, FILES["a.py"])
        send(line, {"t": "part", "file": 1, "offset": 0}, FILES["b/large.bin"][: 1 << 20])

    impostor = Impostor(certificate, answer)
    machine, fetched = fetch(impostor.at)
    impostor.join()
    assert fetched["failure"] and fetched["bytes"] > 1 << 20
    need = machine.wait("need").json()
    assert need == {"files": [[1, 2]], "arrived": {"1": 1 << 20}}
    machine.send({"t": "part", "file": 1, "offset": 1 << 20, "z": False}, FILES["b/large.bin"][1 << 20 :])
    machine.send({"t": "pack", "files": [2], "z": False}, FILES["b/z.py"])
    machine.send({"t": "build", "id": SNAPSHOT.id})
    assert_whole(machine.wait("built")["tree"])


@pytest.mark.parametrize(
    "garbage",
    [
        {"t": "failed", "message": "no", "slow": True},
        {"t": "pack", "files": [-1]},
        {"t": "pack", "files": ["x"]},
        {"t": "part"},
        {"t": "hello"},
        {"t": "pack", "files": [9]},
    ],
)
def test_a_peer_that_talks_nonsense(fetch, certificate, garbage):
    impostor = Impostor(certificate, lambda send, line: send(line, garbage, b"xyz"))
    machine, fetched = fetch(impostor.at)
    impostor.join()
    assert fetched["failure"]
    assert machine.wait("need").json()["files"] == [[0, 2]]


def test_the_listener_ends_with_its_runner(seed):
    seed.hang_up()
    with pytest.raises(OSError):
        socket.create_connection((seed.at["address"], seed.at["port"]), 2).close()


def until(what):
    """Waits for what another process does to files."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def arrived(machine):
    """How much of the large content has come to a machine, where it gathers them."""
    return sum(file.stat().st_size for file in machine.base.glob("trees/*.cloudist/incoming/*"))


def send_large(machine, first, last):
    """Sends pieces of the large content."""
    for offset in range(first << 20, last << 20, 1 << 20):
        piece = FILES["b/large.bin"][offset : offset + (1 << 20)]
        machine.send({"t": "part", "file": 1, "offset": offset, "z": False}, piece)


def send_small(machine):
    machine.send({"t": "pack", "files": [0, 2], "z": False}, FILES["a.py"] + FILES["b/z.py"])


def test_what_comes_is_handed_on_as_it_comes(young_seed, fetch, ask_to_seed):
    first = young_seed()
    second = fetch.begin(first.at)
    ask_to_seed(second)
    second.at = second.wait("seeding")
    third = fetch.begin(second.at, name="third")
    send_large(first, 0, 1)
    until(lambda: arrived(third) == 1 << 20)
    send_small(first)
    until(lambda: list(third.base.glob("trees/*/b/z.py")))
    assert not list(first.base.glob("trees/*/b/large.bin"))
    send_large(first, 1, LARGE >> 20)
    first.send({"t": "build", "id": SNAPSHOT.id})
    assert_whole(first.wait("built")["tree"])
    for machine in (second, third):
        assert machine.wait("fetched-from")["failure"] is None
        assert_whole(machine.wait("built")["tree"])


def test_a_seed_that_goes_before_it_is_whole_leaves_what_it_had(young_seed, fetch):
    first = young_seed()
    second = fetch.begin(first.at)
    send_large(first, 0, 2)
    until(lambda: arrived(second) == 2 << 20)
    first.hang_up()
    assert second.wait("fetched-from")["failure"]
    assert second.wait("need").json() == {"files": [[0, 2]], "arrived": {"1": 2 << 20}}


def test_a_seed_that_gets_nothing_is_left_in_time(young_seed, fetch):
    machine, fetched = fetch(young_seed().at, patience=0.5)
    assert fetched["failure"] and fetched["slow"]
    assert machine.wait("need").json()["files"] == [[0, 2]]


def test_what_a_seed_throws_away_is_not_gone_on_with(young_seed, fetch):
    first = young_seed()
    second = fetch.begin(first.at)
    send_large(first, 0, 2)
    until(lambda: arrived(second) == 2 << 20)
    first.send({"t": "part", "file": 1, "offset": 2 << 20, "z": False}, bytes(1 << 20))
    assert first.wait("error")["kind"] == "corrupt"
    fetched = second.wait("fetched-from")
    assert fetched["failure"] and not fetched["slow"]


def test_what_a_seed_finds_on_its_own_machine_is_handed_on(boot, tmp_path, young_seed, fetch):
    earlier = boot(base=tmp_path / "seed")
    earlier.snapshot({"elsewhere.bin": FILES["b/large.bin"]})
    earlier.hang_up()
    first = young_seed()
    second = fetch.begin(first.at)
    send_small(first)
    first.send({"t": "build", "id": SNAPSHOT.id})
    assert second.wait("fetched-from")["failure"] is None
    for machine in (first, second):
        assert_whole(machine.wait("built")["tree"])


def test_many_small_contents_don_t_wait_for_a_large_one(young_seed, fetch):
    """Two processes write them; what the second one has written is told before there is a next portion for it."""
    files = {"%04d.py" % number: b"n = %04d\n" % number for number in range(COUNT)}
    snapshot = Snapshot({**files, "z.bin": FILES["b/large.bin"]})
    first = young_seed(snapshot)
    second = fetch.begin(first.at, id=snapshot.id)
    for begin in range(0, COUNT, 1000):
        numbers = range(begin, begin + 1000)
        data = b"".join(files["%04d.py" % number] for number in numbers)
        first.send({"t": "pack", "files": list(numbers), "z": False}, data)
    offset = 0
    while len(list(second.base.glob("trees/*/*.py"))) < COUNT:
        assert offset < LARGE - (1 << 10), "they wait for the large one"
        piece = FILES["b/large.bin"][offset : offset + 1024]
        first.send({"t": "part", "file": COUNT, "offset": offset, "z": False}, piece)
        offset += len(piece)
        time.sleep(0.01)
    assert not list(first.base.glob("trees/*/z.bin"))
    first.send({"t": "part", "file": COUNT, "offset": offset, "z": False}, FILES["b/large.bin"][offset:])
    first.send({"t": "build", "id": snapshot.id})
    assert second.wait("fetched-from")["failure"] is None
