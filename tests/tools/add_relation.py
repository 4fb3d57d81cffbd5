#!/usr/bin/env python3
"""add_relation.py STORE INSTANCE PATH BLOCKS [--compress]: adds a relation to a whole chain of a pg_probackup store.

The FULL gets BLOCKS pages under PATH (as base/5/999999), every increment lists the file as unchanged. The lists, the header
map and their sums are those pg_probackup would have written. Page n begins with n in its LSN field and is otherwise
filled from n, so that a reader can tell every page: see page()."""
import argparse
import os
import re
import struct
import sys
import zlib

BLCKSZ = 8192


def crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = crc32c_table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def checksum(data, block):
    """PostgreSQL's page checksum: 32 parallel FNV-1a sums."""
    mask, prime = 0xFFFFFFFF, 16777619
    offsets = [0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
               0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
               0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
               0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756]
    words = struct.unpack("<2048I", data)
    for row in range(0, 2048, 32):
        for i in range(32):
            t = offsets[i] ^ words[row + i]
            offsets[i] = (t * prime & mask) ^ (t >> 17)
    for _ in range(2):
        for i in range(32):
            offsets[i] = (offsets[i] * prime & mask) ^ (offsets[i] >> 17)
    result = 0
    for o in offsets:
        result ^= o
    return (result ^ block) % 65535 + 1


def page(block, with_checksum):
    """A valid empty heap page but for its special area, which is filled with the block number."""
    head = struct.pack("<IIHHHHHHI", 0, block + 1, 0, 4, 24, 4096, 4096, BLCKSZ | 4, 0)
    data = head + bytes(4096 - len(head)) + struct.pack("<I", block) * 1024
    if with_checksum:
        data = data[:8] + struct.pack("<H", checksum(data, block)) + data[10:]
    return data


def write_full(directory, path, blocks, compress, with_checksum):
    """The page stream and its entry in the header map: the line for the list."""
    stream, headers = bytearray(), bytearray()
    for block in range(blocks):
        data = page(block, with_checksum)
        stored = zlib.compress(data, 1) if compress else data
        if len(stored) >= BLCKSZ:
            stored = data
        headers += struct.pack("<QiiH6x", block + 1, block, len(stream), struct.unpack_from("<H", data, 8)[0])
        stream += struct.pack("<Ii", block, len(stored)) + stored
    headers += struct.pack("<QiiH6x", 0, 0, len(stream), 0)
    with open(os.path.join(directory, "database", path), "wb") as f:
        f.write(stream)
    os.chmod(f.name, 0o600)
    blob = zlib.compress(bytes(headers), 1)
    with open(os.path.join(directory, "page_header_map"), "ab") as f:
        offset = f.tell()
        f.write(blob)
    algorithm = "zlib" if compress else "none"
    # The stream's own sum is not checked by a reader of single pages; computing it here would take a minute.
    return (f'{{"path":"{path}", "size":"{len(stream)}", "mode":"33152", "is_datafile":"1", "is_cfs":"0", "crc":"0", '
            f'"compress_alg":"{algorithm}", "external_dir_num":"0", "dbOid":"0", "full_size":"{blocks * BLCKSZ}", '
            f'"segno":"0", "n_blocks":"{blocks}", "n_headers":"{blocks}", "hdr_crc":"{crc32c(headers)}", '
            f'"hdr_off":"{offset}", "hdr_size":"{len(blob)}"}}\n')


def append_line(directory, line):
    name = os.path.join(directory, "backup_content.control")
    with open(name, "ab") as f:
        f.write(line.encode())
    with open(name, "rb") as f:
        crc = crc32c(f.read())
    control = os.path.join(directory, "backup.control")
    with open(control, encoding="utf-8") as f:
        text = re.sub(r"(?m)^content-crc = \d+$", f"content-crc = {crc}", f.read())
    with open(control, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("instance")
    parser.add_argument("path")
    parser.add_argument("blocks", type=int)
    parser.add_argument("--compress", action="store_true")
    args = parser.parse_args()
    root = os.path.join(args.store, "backups", args.instance)
    for backup in sorted(os.listdir(root)):
        directory = os.path.join(root, backup)
        control = os.path.join(directory, "backup.control")
        if not os.path.isfile(control):
            continue
        with open(control, encoding="utf-8") as f:
            text = f.read()
        if re.search(r"(?m)^backup-mode = FULL$", text):
            sums = bool(re.search(r"(?m)^checksum-version = [1-9]", text))
            line = write_full(directory, args.path, args.blocks, args.compress, sums)
        else:
            line = (f'{{"path":"{args.path}", "size":"-1", "mode":"33152", "is_datafile":"1", "is_cfs":"0", "crc":"0", '
                    f'"compress_alg":"none", "external_dir_num":"0", "dbOid":"0", "segno":"0", '
                    f'"n_blocks":"{args.blocks}"}}\n')
        append_line(directory, line)
        print(f"{backup}: {args.path}, {args.blocks} blocks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
