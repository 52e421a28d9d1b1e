"""`make links`: what it asks, and what it makes of an answer; a server of our own is the network here."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from runpy import run_path

LINKS = run_path(str(Path(__file__).parents[2] / "book" / "links.py"))


def test_both_papers_are_linked_from_the_landing_page():
    found = LINKS["addresses"]()
    for number in ("2605.07333", "2605.05755"):
        assert {"intro.md", "references.bib"} <= set(found[f"https://arxiv.org/abs/{number}"])


def test_gone_is_seen():
    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/here" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    assert [LINKS["answer"](f"{address}/{page}") for page in ("here", "gone")] == [200, 404]
    server.shutdown()
    server.server_close()
    assert "refused" in LINKS["answer"](f"{address}/here").lower()
