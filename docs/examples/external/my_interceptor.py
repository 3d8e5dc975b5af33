#!/usr/bin/env python3
"""An interceptor: sets the header `header` to `value`, and drops events whose body has the word `drop`."""
import json
import sys


def say(message):
    print(json.dumps(message), flush=True)


def main():
    settings = json.loads(sys.stdin.readline())["settings"]
    header, value = settings.get("header", "seen"), settings.get("value", "yes")
    word = settings.get("drop")
    say({"ready": 1})
    for line in sys.stdin:
        message = json.loads(line)
        if "stop" in message:
            break
        kept = []
        for event in message["events"]:
            # A body that is no text comes as body64, and goes on as it is.
            if word and word in event.get("body", ""):
                continue
            event["headers"][header] = value
            kept.append(event)
        say({"batch": message["batch"], "events": kept})
    return 0


if __name__ == "__main__":
    sys.exit(main())
