import functools
import hashlib
import http.server
import json
import threading

import pytest

from sublim_jax.data import download
from sublim_jax.data.reasoning import WordProblem, download_gsm8k, grade_school, gsm8k
from sublim_jax.errors import InputError

ROW = {
    "question": "Pia has 3 bags of 4 rolls. How many rolls has she?",
    "answer": "She has 3*4 = <<3*4=12>>12 rolls.\nSo it is 12.\n#### 12",
}


@pytest.fixture
def write(tmp_path):
    """Write rows, each an object or a line, into a file."""

    def written(*rows):
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path = tmp_path / "rows.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return written


def refusal(call):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert not message.endswith(".")
    return message


def test_a_row_is_read(write):
    solution = ("She has 3*4 = 12 rolls.", "So it is 12.")
    assert gsm8k(write(ROW, b"", ROW)) == [WordProblem(ROW["question"], 12, solution)] * 2
    assert gsm8k(str(write(ROW))) == [WordProblem(ROW["question"], 12, solution)]


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("#### 72", 72),
        ("So.\n#### 109,200,000", 109_200_000),
        ("#### -10", -10),
        ("####5\n", 5),
        ("a #### 3\n#### 4 ", 4),
    ],
)
def test_the_number_stands_at_the_end(write, answer, number):
    assert gsm8k(write({**ROW, "answer": answer}))[0].answer == number


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"{", "line 2 of .* is not JSON .*; expected an object"),
        (b'{"question": "\xff"}', "line 2 of .* is not JSON .*; expected an object"),
        (b"[1]", r"line 2 of .* is \[1\]; expected a JSON object"),
        ({"answer": "#### 1"}, "line 2 of .* has no question; expected one"),
        ({"question": "How many?"}, "line 2 of .* has no answer; expected one"),
        ({**ROW, "question": " "}, "line 2 of .*: question is ' '; expected text"),
        ({**ROW, "answer": 12}, "line 2 of .*: answer is 12; expected text"),
        ({**ROW, "answer": "It is 12."}, "line 2 of .*: answer ends in 'It is 12.'; expected ####"),
        ({**ROW, "answer": "#### 1.5"}, "line 2 of .*: answer ends in '#### 1.5'; expected ####"),
        ({**ROW, "answer": "#### ٣"}, "line 2 of .*: answer ends in .*; expected ####"),
        ({**ROW, "answer": "#### " + "1" * 9_000}, "line 2 of .*: answer ends in .*; expected"),
    ],
)
def test_a_row_in_another_format_is_refused(write, row, message):
    path = write(ROW, row)
    with pytest.raises(InputError, match=message):
        gsm8k(path)


def test_a_file_without_rows_is_refused(write, tmp_path):
    assert refusal(lambda: gsm8k(write(b""))).endswith("has no line; expected at least one problem")
    assert "cannot be read (No such file or directory)" in refusal(lambda: gsm8k(tmp_path / "no"))
    assert "cannot be read (Is a directory)" in refusal(lambda: gsm8k(tmp_path))


CONTENT = json.dumps(ROW).encode() + b"\n"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server that has the training rows, in place of the real one; what is in its folder."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SUBLIM_JAX_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(CONTENT)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if (folder / "cut").exists():  # announces more than it sends
                self.send_response(200)
                self.send_header("Content-Length", "1000000")
                self.end_headers()
                self.wfile.write(CONTENT)
            else:
                super().do_GET()

        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        address = f"http://127.0.0.1:{running.server_port}/"
        monkeypatch.setattr(grade_school, "ADDRESS", address)
        monkeypatch.setitem(grade_school.SHA256, "train", hashlib.sha256(CONTENT).hexdigest())
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield folder
        running.shutdown()
        thread.join()


def test_what_is_downloaded_is_read_and_kept(server, tmp_path, capfd):
    file = download_gsm8k("train")
    assert file == tmp_path / "cache" / "gsm8k" / "train.jsonl"
    assert gsm8k(file)[0].answer == 12
    (server / "train.jsonl").unlink()
    assert download_gsm8k("train") == file
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_is_downloaded_again(server):
    file = download_gsm8k("train")
    file.write_bytes(CONTENT[:-9])
    assert download_gsm8k("train").read_bytes() == CONTENT


def test_another_file_than_the_right_one_is_refused(server, tmp_path):
    (server / "train.jsonl").write_bytes(b"{}")
    message = refusal(download_gsm8k)
    assert "127.0.0.1" in message
    assert "sent train.jsonl with SHA-256" in message
    assert not (tmp_path / "cache" / "gsm8k" / "train.jsonl").exists()


def test_a_file_that_is_not_there_is_refused(server):
    (server / "train.jsonl").unlink()
    assert "answered '404 Client Error: File not found' for train.jsonl" in refusal(download_gsm8k)


def test_a_download_that_breaks_off_is_refused(server, tmp_path):
    (server / "cut").touch()
    assert "broke off at train.jsonl); expected a network" in refusal(download_gsm8k)
    assert not (tmp_path / "cache" / "gsm8k" / "train.jsonl").exists()


def test_a_cache_that_cannot_be_written_is_refused(server, tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    assert "cannot be written" in refusal(download_gsm8k)


def test_without_a_network_it_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "answering", lambda *addresses: ())
    message = refusal(lambda: download_gsm8k("test", cache_dir=tmp_path))
    assert message == (
        f"GSM8K is not in {tmp_path / 'gsm8k'} (no answer from raw.githubusercontent.com); "
        "expected a network that reaches it, or a file for `gsm8k`"
    )


def test_another_split_is_refused():
    with pytest.raises(InputError, match="split is 'dev'; expected train or test"):
        download_gsm8k("dev")
