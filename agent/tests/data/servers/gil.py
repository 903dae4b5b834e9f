"""A server that sleeps 100 times for each answer, and so has to have the interpreter back 100 times. The first argument says
what another of its threads does meanwhile: `holds` the interpreter as long as it may, or `polls` each 5 ms for something
that never comes."""
import http.server
import json
import sys
import threading
import time

polled = threading.Event()


def holds():
    while True:
        sum(range(300))


def polls():
    never, rounds = threading.Event(), 0
    while not never.wait(0.005):
        rounds += 1
        if rounds == 250:
            polled.set()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, answer):
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        polled.wait()
        self.answer({})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        for _ in range(100):
            time.sleep(0.001)
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        self.answer({"id": "gil-1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target={"holds": holds, "polls": polls}[sys.argv[1]], daemon=True).start()
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
