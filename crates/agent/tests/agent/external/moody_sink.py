# A sink that delivers into a file, refuses some batches, dies in some and hangs in some. It says ok
# only when what it wrote is safe.
import json
import os
import sys
import time

print(json.dumps({"ready": 1})) if sys.stdin.readline() else sys.exit(1)
sys.stdout.flush()
with open("sink.pid", "w") as file:
    file.write(str(os.getpid()))
turns = len(open("turns").read()) if os.path.exists("turns") else 0
for line in sys.stdin:
    message = json.loads(line)
    if "stop" in message:
        break
    turns += 1
    with open("turns", "a") as file:
        file.write("x")
    if turns % 7 == 3:
        answer = {"failed": message["batch"], "why": "in a mood"}
    else:
        with open("delivered", "a") as file:
            for event in message["events"]:
                file.write(event["body"] + "\n")
            file.flush()
            os.fsync(file.fileno())
        answer = {"ok": message["batch"]}
    if turns % 7 == 5:
        os._exit(3)
    if turns % 14 == 13:
        time.sleep(1000)
    print(json.dumps(answer), flush=True)
