#!/usr/bin/env python3
"""check_facts.py FACTS INSTANCE BACKUP --host DIR --port P [--user U]: compares a running server with the facts recorded at the
moment of a backup (facts.tsv of a fixture). Prints the facts that hold not, and how many were compared; every database of the
server must be among them too."""
import argparse
import csv
import sys

from pgwire import Connection, ServerError

SUM = "select count(*), md5(coalesce(string_agg(md5(t::text), '' order by t::text collate \"C\"), '')) from {} t"


class Server:
    def __init__(self, args):
        self.args, self.connections = args, {}

    def query(self, database, text):
        if database not in self.connections:
            self.connections[database] = Connection(self.args.host, self.args.port, database, self.args.user)
            self.connections[database].query("set timezone = 'UTC'")
        return self.connections[database].query(text)

    def first(self, database, text):
        rows = self.query(database, text)
        return rows[0] if rows else None


def literal(text):
    return "'" + text.replace("'", "''") + "'"


def fact(server, row):
    """What the server says now, as (count, value)."""
    kind, name, database = row["kind"], row["object"], row["database"]
    if kind in ("table", "matview", "partitioned"):
        return server.first(database, SUM.format(name))
    if kind == "sequence":
        return server.first(database, f"select last_value, is_called::text from {name}")
    if kind == "largeobject":
        return server.first(database, f"select length(lo_get({name})), md5(lo_get({name}))")
    if kind == "database":
        return server.first("template1", "select 1, t.spcname from pg_database d join pg_tablespace t "
                            f"on t.oid = d.dattablespace where datname = {literal(name)}")
    if kind == "setting":
        return server.first("template1", f"select 1, setting from pg_settings where name = {literal(name)}")
    if kind == "role":
        return server.first("template1", f"select 1, case when rolcanlogin then 't' else 'f' end from pg_roles "
                            f"where rolname = {literal(name)}")
    if kind == "prepared_xact":
        return server.first("template1", f"select count(*), '' from pg_prepared_xacts where gid = {literal(name)}")
    raise ValueError(f"a fact of an unknown kind: {kind}")


def rows_of(args):
    with open(args.facts, encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["instance"] == args.instance and row["backup_id"] == args.backup:
                yield row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("facts")
    parser.add_argument("instance")
    parser.add_argument("backup")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--user", default="postgres")
    args = parser.parse_args()
    server, wrong, count, databases = Server(args), 0, 0, set()
    for row in rows_of(args):
        count += 1
        wanted = (row["count"], row["md5_or_value"])
        if row["kind"] == "database":
            databases.add(row["object"])
        try:
            got = fact(server, row)
        except (ServerError, ValueError) as e:
            got = (str(e), "")
        if got is None or tuple(str(x) for x in got) != wanted:
            wrong += 1
            print(f"{row['kind']} {row['database']} {row['object']}: {got}, recorded were {wanted}")
    there = {r[0] for r in server.query("template1", "select datname from pg_database")}
    if databases and "template0" in databases and there != databases:
        wrong += 1
        print(f"databases: {sorted(there)}, recorded were {sorted(databases)}")
    print(f"{count} facts, {wrong} wrong")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
