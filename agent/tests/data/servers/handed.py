"""A server whose first process accepts and hands each connection to one of two workers, which listen on nothing, as Node's
clusters do."""
import http.server
import json
import os
import socket


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        name = f"handed-{os.getpid()}-{self.client_address[1]}"
        answer = {"id": name, "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def work(connections):
    while True:
        _, received, _, _ = socket.recv_fds(connections, 1, 1)
        if not received:
            os._exit(0)
        (connection,) = received
        with socket.socket(fileno=connection) as client:
            Handler(client, client.getpeername(), None)


listener = socket.create_server(("127.0.0.1", 0))
ours = []
for _ in range(2):
    here, there = socket.socketpair()
    if os.fork() == 0:
        listener.close()
        here.close()
        for other in ours:
            other.close()
        work(there)
    there.close()
    ours.append(here)
print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
turn = 0
while True:
    client, _ = listener.accept()
    socket.send_fds(ours[turn % 2], [b"x"], [client.fileno()])
    client.close()
    turn += 1
