#!/usr/bin/env python3
"""edit_page.py STORE INSTANCE BACKUP tuple|key [PATH]: damages a page as a disk or memory had before the backup was made.

  tuple   the first tuple of a heap page says that its data begins elsewhere
  key     the first entry of a B-tree leaf has another key

of PATH, or of the first file of a user's relation that has such a page. Record, header map, list and their sums are those
pg_probackup would have written (and the page's checksum, where the cluster has them), so that nothing but PostgreSQL
itself can tell. Prints file and block."""
import json
import os
import re
import struct
import sys
import zlib

from add_relation import BLCKSZ, checksum, crc32c

MAP_ENTRY = struct.Struct("<QiiH6x")


def pages(directory, entry):
    """Block and page of each record, with what the header map says of it."""
    with open(os.path.join(directory, "page_header_map"), "rb") as f:
        f.seek(int(entry["hdr_off"]))
        headers = zlib.decompress(f.read(int(entry["hdr_size"])))
    with open(os.path.join(directory, "database", entry["path"]), "rb") as f:
        data = f.read()
    for n in range(int(entry["n_headers"])):
        lsn, block, pos, _ = MAP_ENTRY.unpack_from(headers, n * MAP_ENTRY.size)
        number, size = struct.unpack_from("<Ii", data, pos)
        if number != block:
            sys.exit(f"edit_page: record {n} of {entry['path']} is of block {number}")
        stored = data[pos + 8:pos + 8 + size]
        yield lsn, block, bytearray(stored if size == BLCKSZ else zlib.decompress(stored))


def first_item(page, index):
    """Offset of the first item: of a heap page, or of a B-tree leaf, of which it is no high key."""
    lower, _, special = struct.unpack_from("<HHH", page, 12)
    if index != (special == BLCKSZ - 16) or (not index and special != BLCKSZ):
        return 0
    first = 24
    if index:
        _, right, level, flags = struct.unpack_from("<IIIH", page, special)
        if level != 0 or flags & 0x01 == 0 or flags & 0x0C != 0:
            return 0
        first += 4 if right != 0 else 0
    if first + 4 > lower:
        return 0
    item = struct.unpack_from("<I", page, first)[0]
    return item & 0x7FFF if (item >> 15) & 3 == 1 else 0


def damage(page, index):
    at = first_item(page, index)
    if at == 0 or (index and struct.unpack_from("<H", page, at + 6)[0] & 0xE000 != 0):
        return False
    if index:
        page[at + 8] ^= 0x40
    else:
        page[at + 22] = 200
    return True


def write(directory, entry, all_pages, with_checksums):
    stream, headers = bytearray(), bytearray()
    segment = int(entry.get("segno", "0")) * 131072
    for lsn, block, page in all_pages:
        struct.pack_into("<H", page, 8, 0)
        total = checksum(bytes(page), segment + block)
        if with_checksums:
            struct.pack_into("<H", page, 8, total)
        stored = zlib.compress(bytes(page), 1)
        if len(stored) >= BLCKSZ or entry["compress_alg"] != "zlib":
            stored = bytes(page)
        headers += MAP_ENTRY.pack(lsn, block, len(stream), total)
        stream += struct.pack("<Ii", block, len(stored)) + stored
    headers += MAP_ENTRY.pack(0, 0, len(stream), 0)
    with open(os.path.join(directory, "database", entry["path"]), "r+b") as f:
        f.truncate(0)
        f.write(stream)
    blob = zlib.compress(bytes(headers), 1)
    with open(os.path.join(directory, "page_header_map"), "ab") as f:
        entry["hdr_off"] = str(f.tell())
        f.write(blob)
    entry.update(size=str(len(stream)), crc=str(crc32c(stream)), hdr_crc=str(crc32c(headers)), hdr_size=str(len(blob)))


def write_list(directory, entries, control):
    text = "".join("{" + ", ".join(f'"{k}":"{v}"' for k, v in e.items()) + "}\n" for e in entries).encode()
    with open(os.path.join(directory, "backup_content.control"), "wb") as f:
        f.write(text)
    with open(os.path.join(directory, "backup.control"), "w", encoding="utf-8") as f:
        f.write(re.sub(r"(?m)^content-crc = \d+", f"content-crc = {crc32c(text)}", control))


def main():
    if len(sys.argv) not in (5, 6) or sys.argv[4] not in ("tuple", "key"):
        sys.exit(__doc__)
    directory = os.path.join(sys.argv[1], "backups", sys.argv[2], sys.argv[3])
    with open(os.path.join(directory, "backup.control"), encoding="utf-8") as f:
        control = f.read()
    with open(os.path.join(directory, "backup_content.control"), encoding="utf-8") as f:
        entries = [json.loads(line) for line in f if line.strip()]
    sums = re.search(r"(?m)^checksum-version = [1-9]", control) is not None
    for entry in entries:
        name = re.fullmatch(r"base/\d+/(\d+)", entry["path"])
        if int(entry.get("n_headers", "0")) < 1 or not name or int(name.group(1)) < 16384:
            continue
        if len(sys.argv) == 6 and entry["path"] != sys.argv[5]:
            continue
        all_pages = list(pages(directory, entry))
        for _, block, page in all_pages:
            if damage(page, sys.argv[4] == "key"):
                write(directory, entry, all_pages, sums)
                write_list(directory, entries, control)
                print(entry["path"], block)
                return 0
    sys.exit("edit_page: there is no such page")


if __name__ == "__main__":
    sys.exit(main())
