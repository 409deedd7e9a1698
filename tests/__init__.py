"""The tests, in the layout of the code: tests/app and tests/diffusion have one module for each.

tests/app/service asks a whole server over HTTP, tests/benchmarks and the modules beside this one
what is in no package.
"""

import os

# Threads that wait for others in PyTorch would spin, and so take the time of those that they wait
# for wherever more run than there are processors: tests beside other work were ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
