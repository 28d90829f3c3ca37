// What all views share: words, problems, files that are dropped, jobs.

import { Problem, ask, askJson } from "./api.js";

export const $ = (id) => document.getElementById(id);

export const clone = (template) => $(template).content.firstElementChild.cloneNode(true);

// Tells a screen reader.
export const say = (text) => ($("announcement").textContent = text);

// Returns the line that it shows.
export function complain(place, error) {
  if (error.name === "AbortError") return null;
  if (!(error instanceof Problem)) console.error(error);
  const line = clone("problem");
  line.querySelector("strong").textContent = error.message;
  line.querySelector("span").append(error.hint ? ` ${error.hint}` : "");
  line.querySelector("button").onclick = () => line.remove();
  place.append(line);
  return line;
}

// A file that no view takes must not replace the page.
for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => {
    if (event.dataTransfer.types.includes("Files")) event.preventDefault();
  });
}

// Files come from the inputs, from a drop or a paste anywhere on the page while the view is shown.
export function takeFiles(view, inputs, take) {
  const given = (files) => files.length && take([...files]);
  for (const input of inputs) {
    input.onchange = () => {
      given(input.files);
      input.value = "";
    };
  }
  const onPage = (name, act) =>
    addEventListener(name, (event) => {
      if (!view.hidden) act(event);
    });
  onPage("dragover", () => view.classList.add("dropping"));
  onPage("dragleave", (event) => event.relatedTarget || view.classList.remove("dropping"));
  onPage("drop", (event) => {
    view.classList.remove("dropping");
    given(event.dataTransfer.files);
  });
  onPage("paste", (event) => given(event.clipboardData.files));
}

function inWords(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s left`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min left` : `${(seconds / 3600).toFixed(1)} h left`;
}

// A button that downloads a file.
export const linkTo = (href, download) =>
  Object.assign(document.createElement("a"), { href, download, className: "button", textContent: `Save ${download}` });

// Shows a job until its end, with a bar and a button that stops it; resolves with its last event.
export async function followJob(place, job, what, { cancelWord = "Cancel", more = () => {} } = {}) {
  const block = clone("job");
  const [bar, left, button] = ["progress", ".left", "button"].map((name) => block.querySelector(name));
  block.querySelector(".what").textContent = bar.ariaLabel = what;
  button.textContent = cancelWord;
  button.onclick = async () => {
    button.disabled = true;
    button.textContent = "Stopping";
    try {
      await ask(`/api/jobs/${job}/stop`, { method: "POST" });
    } catch (error) {
      complain(place, error);
      button.disabled = false;
      button.textContent = cancelWord;
    }
  };
  place.append(block);
  try {
    for (;;) {
      const event = await askJson(`/api/jobs/${job}`);
      const { state, done, total, seconds_left: seconds, note } = event;
      if (total) bar.value = done / total;
      const known = [note, seconds == null ? "" : inWords(seconds)].filter(Boolean).join(" · ");
      left.textContent = state === "waiting" ? "Waits for other jobs" : known || "\u00a0";
      more(event);
      if (state === "failed") throw new Problem(event.error, event.hint);
      if (state === "done" || state === "stopped") return event;
      await new Promise((wake) => setTimeout(wake, 200));
    }
  } finally {
    block.remove();
  }
}
