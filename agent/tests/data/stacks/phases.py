"""A server of one dialect that computes in a function of its own before the first chunk and in another between chunks."""
import http.server
import json
import time


def burn(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(500))


def burn_prefill():
    burn(0.5)


def burn_decode():
    burn(0.1)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def chunk(self, data):
        line = b"data: " + data + b"\n\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        burn_prefill()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for index in range(8):
            choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": None}
            chunk = {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
            self.chunk(json.dumps(chunk).encode())
            burn_decode()
        self.chunk(b"[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("up", server.server_port, flush=True)
server.serve_forever()
