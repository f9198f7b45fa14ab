"""Runs stages one after the other in this process, as each line of the input names one: STAGE ARGUMENTS...

    python in_one_process.py < stages.txt  # stages.parse prcc

What DVC runs as `python -m STAGE ARGUMENTS...` takes seconds of imports in a process of its own. The first stage that
fails ends it.
"""

import runpy
import sys
import time

sys.path.insert(0, "")  # as `python -m` has it
for line in sys.stdin:
    start = time.monotonic()
    module, *sys.argv[1:] = line.split()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line.strip()}: exit code {end.code}")
    print(f"{line.strip()}: {time.monotonic() - start:.1f} s", flush=True)
