#!/usr/bin/env python3
"""meson_tests.py BUILD SUITE...: the tests of a build in these suites: name, seconds, command; tabs between.

TEST_WRAP is put in front of each command; TEST_ONLY and TEST_EXCEPT are patterns of whole names."""
import json
import os
import re
import subprocess
import sys

build, suites = sys.argv[1], {f"pgoverlay:{s}" for s in sys.argv[2:]}
only, but = (os.environ.get(v, d) for v, d in (("TEST_ONLY", ".*"), ("TEST_EXCEPT", "")))
found = json.loads(subprocess.check_output(["meson", "introspect", "--tests", build]))
for test in found:
    name = test["name"]
    if not suites & set(test["suite"]) or not re.fullmatch(only, name) or re.fullmatch(but, name):
        continue
    env = [f"{k}={v}" for k, v in test["env"].items()]
    wrap = os.environ.get("TEST_WRAP", "").split()
    words = (["env"] + env if env else []) + wrap + test["cmd"]
    print(name, max(300, int(test["timeout"])), " ".join(words), sep="\t")
