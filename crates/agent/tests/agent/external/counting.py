# A source of numbers, in batches of changing sizes, starting after the position that it is given.
# One time in `mischief` it violates the protocol, or dies, instead of a batch or after it.
import json
import os
import random
import sys


def say(message):
    print(json.dumps(message), flush=True)


greeting = json.loads(sys.stdin.readline())
with open("source.pid", "w") as file:
    file.write(str(os.getpid()))
number = int(greeting["position"] or 0)
repeat = greeting.get("repeat")
if repeat:
    with open("repeats", "a") as file:
        file.write("x")
say({"ready": 1})
batch = 0
mischief = int(greeting["settings"]["mischief"])


def misbehave(message):
    """Writes something else than `message`, and ends or goes on as if nothing had been."""
    with open("mischiefs", "a") as file:
        file.write("x")
    line = json.dumps(message)
    kind = random.randrange(9)
    if kind == 0:
        print("no JSON", flush=True)
    elif kind == 1:
        say({**message, "batch": message["batch"] + 1})
    elif kind == 2:
        print(line[: len(line) // 2], end="", flush=True)
        sys.exit(1)
    elif kind == 3:
        print("x" * 70000, flush=True)
    elif kind == 4:
        say({**message, "events": message["events"] + [{"bodi": "misspelt"}]})
    elif kind == 5:
        say(message)
        os._exit(2)  # without waiting for the answer
    elif kind == 6:
        say({"error": "in a mood"})
    elif kind == 7:
        say({**message, "events": message["events"] * 200})
    else:
        say(message)
        say(message)  # the same once more, with the same number


while True:
    batch += 1
    size = repeat["events"] if repeat else 1 + number % 7
    repeat = None
    events = [{"body": f"event {n}"} for n in range(number, number + size)]
    message = {"batch": batch, "events": events, "position": str(number + size)}
    if random.randrange(mischief) == 0:
        misbehave(message)
    else:
        say(message)
    answer = json.loads(sys.stdin.readline() or '{"stop":true}')
    if "stop" in answer:
        break
    if "ok" in answer:
        number += size
