"""The way of an image from noise. `python examples/trajectory.py [URL]` writes way.gif."""

# %% Frames as the server makes them: the state x_t, and the image expected from it, x0_hat
import sys

import numpy as np

from app.client import Client, TrajectoryRequest

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
client = Client(url)
request = TrajectoryRequest(labels=3, seed=1, steps=50, frames=11)
for frame in client.stream(request):
    print(f"t = {frame.t}: the mean of x0_hat is {np.asarray(frame.x0_hat).mean():.1f}")

# %% All of it, as float32 arrays (n, frames, channels, height, width)
way = client.trajectory(request)
print(f"x_t {way.x_t.shape} at t = {way.t.tolist()}")
print(f"the noise has standard deviation {way.x_t[0, 0].std():.2f}")

# %% As an animation
first, *rest = way.images[0]
first.save("way.gif", save_all=True, append_images=rest, duration=120)
print(f"way.gif: {1 + len(rest)} frames")
client.close()
