"""Two threads that want the GIL all the time, and one that never does; until a line comes."""
import os
import sys
import threading


def inner_work(count):
    total = 0
    for number in range(count):
        total += number * number
    return total


def spin():
    while True:
        inner_work(300)


def stands_still():
    threading.Event().wait()


for target in (spin, spin, stands_still):
    threading.Thread(target=target, daemon=True).start()
print("up", flush=True)
sys.stdin.readline()
os._exit(0)
