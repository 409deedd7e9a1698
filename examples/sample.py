"""Images, and the same images again. `python examples/sample.py [URL]` writes digits.png."""

# %% Ask for one image of each label
import sys

import numpy as np

from app.client import Client, InvalidRequest, SampleRequest

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
client = Client(url)
request = SampleRequest(n=10, labels=range(10), sampler="ddim", steps=20)
digits = client.sample(request)
print(f"{len(digits.images)} images in {digits.compute_s:.2f} s, seed {digits.seed}")

# %% As pictures
digits.grid.save("digits.png")
print(f"digits.png: {digits.grid.size[0]}x{digits.grid.size[1]}")

# %% As an array, uint8 (n, height, width, channels)
print(f"{digits.array.shape}, mean {digits.array.mean():.1f}")

# %% The same seed gives the same images; each can be made alone
alone = SampleRequest(first_index=3, seed=digits.seed, labels=3, sampler="ddim", steps=20)
print("the same:", np.array_equal(client.sample(alone).array[0], digits.array[3]))

# %% A refusal names the field, the value and what is allowed
try:
    client.sample(SampleRequest(steps=0))
except InvalidRequest as error:
    print(error)
client.close()
