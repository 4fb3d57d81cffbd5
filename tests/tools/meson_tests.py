#!/usr/bin/env python3
"""meson_tests.py BUILD FOLDER: the tests of a build whose program lies below FOLDER: name, seconds, command; tabs between.

TEST_WRAP is put in front of each command; tests whose name matches TEST_EXCEPT are left out."""
import json
import os
import re
import subprocess
import sys

build, folder = os.path.abspath(sys.argv[1]), sys.argv[2]
found = json.loads(subprocess.check_output(["meson", "introspect", "--tests", build]))
for test in found:
    if not os.path.relpath(test["cmd"][0], build).startswith(folder + os.sep):
        continue
    if re.fullmatch(os.environ.get("TEST_EXCEPT", ""), test["name"]):
        continue
    env = [f"{k}={v}" for k, v in test["env"].items()]
    wrap = os.environ.get("TEST_WRAP", "").split()
    words = (["env"] + env if env else []) + wrap + test["cmd"]
    print(test["name"], max(300, int(test["timeout"])), " ".join(words), sep="\t")
