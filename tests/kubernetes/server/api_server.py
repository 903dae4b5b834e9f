"""A server in Python that looks like vLLM's from outside: its module's name, its package, its dialect of chat completions.

Standard library only. Tokens take a few milliseconds of work each, in functions that a profile can name.
"""

import argparse
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN_SECONDS = 0.004


def decode_next_token(number):
    """Work, as a model has it, and a word."""
    end = time.perf_counter() + TOKEN_SECONDS
    value = number
    while time.perf_counter() < end:
        value = (value * 1103515245 + 12345) % 2147483648
    return f"w{value % 1000} "


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(200, "text/plain", b"ok")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        tokens = int(asked.get("max_tokens", 8))
        for number in range(tokens):
            self.event(asked, [{"index": 0, "delta": {"content": decode_next_token(number)}, "finish_reason": None}])
        usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
        self.event(asked, [{"index": 0, "delta": {}, "finish_reason": "stop"}], usage)
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, asked, choices, usage=None):
        body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
        body |= {"choices": choices} | ({"usage": usage} if usage else {})
        self.chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    ThreadingHTTPServer(("0.0.0.0", given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
