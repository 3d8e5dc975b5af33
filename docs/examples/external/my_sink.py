#!/usr/bin/env python3
"""A sink: logs each event between `prefix` and `suffix`.

The Java class of Flume's tutorials that is often called MySink, as a process of a millpond agent. What
goes to stderr stands in the agent's log; a sink that writes elsewhere says ok when it is safe there.
"""
import base64
import json
import sys


def say(message):
    print(json.dumps(message), flush=True)


def body(event):
    if "body64" in event:
        return base64.b64decode(event["body64"]).decode("utf-8", "replace")
    return event["body"]


def main():
    settings = json.loads(sys.stdin.readline())["settings"]
    prefix, suffix = settings.get("prefix", "hello:"), settings.get("suffix", "")
    say({"ready": 1})
    for line in sys.stdin:
        message = json.loads(line)
        if "stop" in message:
            break
        try:
            for event in message["events"]:
                print(f"{prefix}{body(event)}{suffix}", file=sys.stderr, flush=True)
            say({"ok": message["batch"]})
        except OSError as error:
            # Rolled back: the batch comes again.
            say({"failed": message["batch"], "why": str(error)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
