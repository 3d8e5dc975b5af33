# A source of numbers, in batches of changing sizes, from behind the position that it is told on.
import json
import os
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
while True:
    batch += 1
    size = repeat["events"] if repeat else 1 + number % 7
    repeat = None
    events = [{"body": f"event {n}"} for n in range(number, number + size)]
    say({"batch": batch, "events": events, "position": str(number + size)})
    answer = json.loads(sys.stdin.readline() or '{"stop":true}')
    if "stop" in answer:
        break
    if "ok" in answer:
        number += size
