// What is on the screen as a curl command and a Python program.

import { copy, find, speak } from "./dom.js";
import { sampleBody, singleBody } from "./request.js";

// Snippets are copied and shared, so they name the variable that holds the key and not the key.
const CURL_KEY = ` \\\n  -H "Authorization: Bearer $DDPM_API_KEY"`;
const PYTHON_KEY = `"Authorization": f"Bearer {os.environ['DDPM_API_KEY']}"`;

/**
 * @param {string} view
 * @param {import("./address.js").Request} request
 * @param {any} model
 */
export function showSnippets(view, request, model) {
  const { needs_key } = model;
  find("#code").hidden = ["edit", "between"].includes(view); // until the pictures are known
  if (find("#code").hidden) return;
  if (view === "jobs") return show(job(sampleBody(request, model), needs_key));
  if (view === "generate") return show(images(sampleBody(request, model), needs_key));
  show(stream({ ...singleBody(request, model), ...(request.frames ? { frames: request.frames } : {}) }, needs_key));
}

/** The same for a body of /sample. @param {object} body @param {any} model */
export function showImages(body, model) {
  find("#code").hidden = false;
  show(images(body, model.needs_key));
}

/** @param {{curl: string, python: string}} snippets */
function show({ curl, python }) {
  find("#code-curl").textContent = curl;
  find("#code-python").textContent = python;
}

export function listenForCopies() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const { copy: name } = /** @type {HTMLElement} */ (button).dataset;
    button.addEventListener("click", async () => {
      await copy(find(`#code-${name}`).textContent);
      button.textContent = "Copied";
      speak("Copied");
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  }
}

/** @param {string} path */
function address(path) {
  return new URL(path, document.baseURI.split("?")[0]).href;
}

/** @param {object} body @param {boolean} needsKey */
function images(body, needsKey) {
  const json = JSON.stringify(body);
  return {
    curl: `curl -s ${address("sample")}${needsKey ? CURL_KEY : ""} \\
  -H 'Content-Type: application/json' -H 'Accept: image/png' \\
  -d '${json}' -o images.png`,
    python: `import base64${needsKey ? "\nimport os" : ""}
import pathlib

import httpx

${needsKey ? `headers = {${PYTHON_KEY}}\n` : ""}answer = httpx.post("${address("sample")}", json=${literal(body)}${needsKey ? ", headers=headers" : ""}, timeout=None)
answer.raise_for_status()
for sample in answer.json()["samples"]:
    path = pathlib.Path(f"{sample['index']:06d}.png")
    path.write_bytes(base64.b64decode(sample["png"]))`,
  };
}

/** @param {object} body @param {boolean} needsKey */
function job(body, needsKey) {
  const json = JSON.stringify(body);
  return {
    curl: `curl -si ${address("sample")} -H 'Prefer: respond-async'${needsKey ? CURL_KEY : ""} \\
  -H 'Content-Type: application/json' -d '${json}'`,
    python: `${needsKey ? "import os\n" : ""}import pathlib
import time

import httpx

body = ${literal(body)}
${needsKey ? `headers = {${PYTHON_KEY}}\n` : ""}with httpx.Client(base_url="${address("")}"${needsKey ? ", headers=headers" : ""}) as client:
    job = client.post("sample", json=body, headers={"Prefer": "respond-async"}).json()
    while (job := client.get(f"jobs/{job['id']}").json())["status"] in ("waiting", "running"):
        time.sleep(1)
    with client.stream("GET", f"jobs/{job['id']}/result", headers={"Accept": "application/zip"}) as zip:
        zip.raise_for_status()
        with pathlib.Path("images.zip").open("wb") as file:
            for block in zip.iter_bytes():
                file.write(block)`,
  };
}

/** @param {object} body @param {boolean} needsKey */
function stream(body, needsKey) {
  const json = JSON.stringify(body);
  return {
    curl: `curl -sN ${address("denoise-trajectory")}${needsKey ? CURL_KEY : ""} \\
  -H 'Content-Type: application/json' -H 'Accept: text/event-stream' \\
  -d '${json}'`,
    python: `import json${needsKey ? "\nimport os" : ""}

import httpx

body = ${literal(body)}
headers = {"Accept": "text/event-stream"${needsKey ? `, ${PYTHON_KEY}` : ""}}
with httpx.stream(
    "POST", "${address("denoise-trajectory")}", json=body, headers=headers, timeout=None
) as answer:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            frame = json.loads(line.removeprefix("data: "))
            print(frame.get("t"), frame.get("x0_hat", "")[:40])`,
  };
}

/** JSON without null, true and false is Python too. @param {object} body */
function literal(body) {
  return JSON.stringify(body).replace(/,"/g, ', "').replace(/":/g, '": ');
}
