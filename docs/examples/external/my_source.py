#!/usr/bin/env python3
"""A source: five events in turn, `field` and a number, with `delay` milliseconds behind each.

The Java class of Flume's tutorials that is often called MySource, as a process of a millpond agent.
"""
import json
import sys
import time


def say(message):
    print(json.dumps(message), flush=True)


def heard():
    """The agent's next line; at the end of the input it is gone, which means the same as stop."""
    return json.loads(sys.stdin.readline() or '{"stop":true}')


def main():
    settings = heard()["settings"]
    field = settings.get("field", "Hello!")
    try:
        delay = int(settings["delay"]) / 1000
    except (KeyError, ValueError):
        say({"error": "delay is not set, or no number of milliseconds"})
        return 1
    say({"ready": 1})
    batch = 0
    while True:
        for number in range(5):
            batch += 1
            say({"batch": batch, "events": [{"headers": {}, "body": f"{field}{number}"}]})
            answer = heard()
            while "failed" in answer:
                # It is never lost: the same again, as another batch.
                print(f"not taken: {answer['why']}", file=sys.stderr, flush=True)
                time.sleep(1)
                batch += 1
                say({"batch": batch, "events": [{"headers": {}, "body": f"{field}{number}"}]})
                answer = heard()
            if "stop" in answer:
                return 0
            time.sleep(delay)


if __name__ == "__main__":
    sys.exit(main())
