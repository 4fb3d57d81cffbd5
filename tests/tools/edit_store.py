#!/usr/bin/env python3
"""edit_store.py STORE INSTANCE BACKUP ACTION PATH [FILE]: changes a plain file of a pg_probackup backup as if it had been so.

  append PATH FILE   the file's content (of the nearest backup that has it) and that of FILE behind it
  put PATH FILE      the content of FILE; the file may be new
  remove PATH        the file is in no list of the backup

The entry in the list (size, crc) and the list's own sum in backup.control are those pg_probackup would have written."""
import json
import os
import re
import sys

from add_relation import crc32c


class Backup:
    def __init__(self, instance_dir, name):
        self.dir = os.path.join(instance_dir, name)
        with open(os.path.join(self.dir, "backup.control"), encoding="utf-8") as f:
            self.control = f.read()
        with open(os.path.join(self.dir, "backup_content.control"), encoding="utf-8") as f:
            self.entries = [json.loads(line) for line in f if line.strip()]
        found = re.search(r"^parent-backup-id = '(\w+)'", self.control, re.M)
        self.parent = Backup(instance_dir, found.group(1)) if found else None

    def entry(self, path):
        for e in self.entries:
            if e["path"] == path and e.get("external_dir_num", "0") == "0":
                return e
        return None

    def read(self, path):
        e = self.entry(path)
        if e is not None and e["is_datafile"] != "0":
            sys.exit(f"edit_store: {path} is no plain file")
        if e is None or int(e["size"]) < 0:
            if self.parent is None:
                sys.exit(f"edit_store: no backup has {path}")
            return self.parent.read(path)
        if int(e["size"]) == 0:
            return b""
        with open(os.path.join(self.dir, "database", path), "rb") as f:
            return f.read()

    def put(self, path, data):
        e = self.entry(path)
        if e is None:
            e = {"path": path, "size": "0", "mode": "33152", "is_datafile": "0", "is_cfs": "0", "crc": "0",
                 "compress_alg": "none", "external_dir_num": "0", "dbOid": "0"}
            self.entries.append(e)
        e.pop("full_size", None)
        e["size"], e["crc"] = str(len(data)), str(crc32c(data))
        target = os.path.join(self.dir, "database", path)
        with open(target, "wb") as f:
            f.write(data)
        owner = os.stat(self.dir)
        os.chown(target, owner.st_uid, owner.st_gid)

    def remove(self, path):
        self.entries.remove(self.entry(path))

    def write(self):
        lines = []
        for e in self.entries:
            lines.append("{" + ", ".join(f'"{k}":"{v}"' for k, v in e.items()) + "}\n")
        text = "".join(lines).encode()
        with open(os.path.join(self.dir, "backup_content.control"), "wb") as f:
            f.write(text)
        control = re.sub(r"^content-crc = \d+", f"content-crc = {crc32c(text)}", self.control, flags=re.M)
        with open(os.path.join(self.dir, "backup.control"), "w", encoding="utf-8") as f:
            f.write(control)


def main():
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    store, instance, name, action, path = sys.argv[1:6]
    backup = Backup(os.path.join(store, "backups", instance), name)
    data = b""
    if len(sys.argv) == 7:
        with open(sys.argv[6], "rb") as f:
            data = f.read()
    if action == "append":
        backup.put(path, backup.read(path) + data)
    elif action == "put":
        backup.put(path, data)
    elif action == "remove":
        backup.remove(path)
    else:
        sys.exit(__doc__)
    backup.write()


if __name__ == "__main__":
    main()
