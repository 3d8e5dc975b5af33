#!/usr/bin/env python3
"""A source: the rows of a MySQL or MariaDB table, as they are added, each once.

The Java class of Flume's tutorials that is often called SQLSource, as a process of a millpond agent. It
runs the command line client (`mariadb` or `mysql`), so it needs nothing but Python's own library.

Settings, with the class's names: connection.url (jdbc:mysql://HOST:PORT/DATABASE), connection.user,
connection.password, table, columns.to.select (*), custom.query, start.from (0), run.query.delay (10000
milliseconds), and incremental.column.name (id), a column that only grows. A row that is committed after
one with a larger id was read is not seen, as with every source that goes by an id.

Where it stands is the id of the last row. With file channels the agent keeps it together with the
rows. With others it stands in the table flume_meta, as for the class:

    CREATE TABLE flume_meta (source_tab varchar(255) NOT NULL, currentIndex varchar(255) NOT NULL,
                             PRIMARY KEY (source_tab));
"""
import html
import json
import os
import re
import select
import shutil
import subprocess
import sys

# Not buffered, so that select() tells whether the agent has said something.
AGENT = open(0, "rb", buffering=0)


def say(message):
    print(json.dumps(message), flush=True)


def heard():
    """The agent's next line; at the end of the input it is gone, which means the same as stop."""
    return json.loads(AGENT.readline() or b'{"stop":true}')


def is_stopped_within(seconds):
    """Waits, unless the agent says something meanwhile; between batches that can only be stop."""
    return bool(select.select([AGENT], [], [], seconds)[0])


class Table:
    """The table that is read."""

    def __init__(self, settings):
        for key in ("connection.url", "connection.user", "connection.password", "table"):
            if not settings.get(key):
                raise ValueError(f"{key} is not set")
        url = re.match(r"jdbc:(?:mysql|mariadb)://([^:/?]+)(?::(\d+))?/([^?]+)", settings["connection.url"])
        if not url:
            raise ValueError("connection.url is not jdbc:mysql://HOST:PORT/DATABASE")
        client = shutil.which("mariadb") or shutil.which("mysql")
        if not client:
            raise ValueError("there is neither mariadb nor mysql, the command line client, in PATH")
        host, port, database = url.groups()
        self.command = [
            client, "--batch", "--xml", "--default-character-set=utf8mb4", "--connect-timeout=10",
            f"--host={host}", f"--port={port or 3306}", "--protocol=tcp",
            f"--user={settings['connection.user']}", database,
        ]
        # Not on the command line, which all users of the machine can see.
        self.environment = {**os.environ, "MYSQL_PWD": settings["connection.password"]}
        self.name = settings["table"]
        self.id = settings.get("incremental.column.name", "id")
        columns = settings.get("columns.to.select", "*")
        self.rows = settings.get("custom.query") or f"SELECT {columns} FROM {self.name}"
        self.start = int(settings.get("start.from", "0"))

    def query(self, sql):
        """Rows as dictionaries; None is NULL."""
        done = subprocess.run(self.command, input=sql.encode(), env=self.environment, capture_output=True)
        if done.returncode != 0:
            raise OSError(done.stderr.decode("utf-8", "replace").strip())
        # The client escapes & < > and quotes, and nothing else: what is no XML is found all the same.
        field = r'<field name="([^"]*)"(?: xsi:nil="true" />|>([^<]*)</field>)'
        rows = []
        for row in re.findall(r"<row>(.*?)</row>", done.stdout.decode("utf-8", "replace"), re.S):
            fields = re.finditer(field, row)
            rows.append({html.unescape(f[1]): None if f[2] is None else html.unescape(f[2]) for f in fields})
        return rows

    def behind(self, last, most):
        """At most so many rows whose id is above `last`, in order; and the id of the last of them."""
        rows = self.query(
            f"SELECT * FROM ({self.rows}) AS all_rows WHERE {self.id} > {last} ORDER BY {self.id} LIMIT {most}"
        )
        if rows and self.id not in rows[0]:
            raise ValueError(f"columns.to.select has no {self.id}")
        return rows, int(rows[-1][self.id]) if rows else last

    def quoted_name(self):
        return "'" + self.name.replace("\\", "\\\\").replace("'", "''") + "'"

    def noted(self):
        """The id in flume_meta; None where there is none."""
        try:
            rows = self.query(f"SELECT currentIndex FROM flume_meta WHERE source_tab = {self.quoted_name()}")
        except OSError as error:
            if "1146" in str(error):  # no such table
                return None
            raise
        return int(rows[0]["currentIndex"]) if rows else None

    def note(self, last):
        self.query(
            f"INSERT INTO flume_meta (source_tab, currentIndex) VALUES ({self.quoted_name()}, '{last}')"
            f" ON DUPLICATE KEY UPDATE currentIndex = '{last}'"
        )


def text(row):
    """The values with a comma behind each, as the class writes them."""
    return "".join(("" if value is None else value) + "," for value in row.values())


def first(table, greeting):
    """The id to go on behind, as soon as the server tells; None at a stop."""
    if greeting["position"] is not None:
        return int(greeting["position"])
    while True:
        try:
            noted = table.noted()
            return table.start if noted is None else noted
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
        if is_stopped_within(1):
            return None


def main():
    greeting = heard()
    try:
        table = Table(greeting["settings"])
        delay = int(greeting["settings"].get("run.query.delay", "10000")) / 1000
    except ValueError as error:
        say({"error": str(error)})
        return 1
    say({"ready": 1})
    last = first(table, greeting)
    # A batch that only some of the source's channels have is given again as it was.
    most = greeting.get("repeat", {}).get("events", greeting["batch"])
    batch = 0
    while last is not None:
        try:
            rows, end = table.behind(last, most)
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
            rows = []
        except ValueError as error:
            say({"error": str(error)})
            return 1
        if rows:
            batch += 1
            events = [{"headers": {}, "body": text(row)} for row in rows]
            say({"batch": batch, "events": events, "position": str(end)})
            answer = heard()
            stops = "stop" in answer
            if stops:
                answer = heard()  # the word on the batch comes all the same
            if "ok" in answer:
                last, most = end, greeting["batch"]
                if not greeting["durable"]:
                    table.note(last)
            if stops:
                break
            if "ok" in answer:
                continue
            # The same rows come again, and nothing is lost.
            print(f"not taken: {answer['why']}", file=sys.stderr, flush=True)
        if is_stopped_within(delay):
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
