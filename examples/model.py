"""What a server serves, and what it allows. `python examples/model.py [URL]` prints it."""

# %% Ask
import sys

from app.client import Client

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
with Client(url) as client:
    model = client.model()

# %% The model
channels, height, width = model.image_shape
print(f"{model.name}: {width}x{height}x{channels}, {model.parameters:,} parameters")
print(f"labels: {', '.join(model.classes) or 'none'}; with none of them: {model.null_label}")
print(f"weights: {model.sha256}")

# %% Its schedule: how much of the image is left in x_t (eq. 4)
for t in (0, model.num_timesteps // 2, model.num_timesteps):
    print(f"alpha_bar at t = {t}: {model.alpha_bar[t]:.6f}")

# %% How the model runs, and what a request may ask for
print(f"{model.runtime}, {model.precision}, on {model.device}")
print(f"same bytes whatever else is running: {model.batch_invariant}")
limits = model.limits
print(f"images: {limits['max_samples']} in a request, {limits['max_job_samples']} in a job")
