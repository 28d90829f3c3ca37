// Train: a painting becomes a style, before one's eyes.

import { Problem, SILENT, ask, upload } from "./api.js";
import { $, clone, complain, followJob, say, takeFiles } from "./ui.js";
import { findStyle, loadStyles, paintingOf, styles } from "./styles.js";
import { chooseStyle } from "./paint.js";

const problems = $("train-problems");
let painting = null;
let trained = "";
let uploading = false;

takeFiles($("train"), [$("train-file"), $("other-file")], ([file]) => {
  if (uploading || $("training").hidden) return;
  painting = file;
  problems.replaceChildren();
  const image = $("model-painting").querySelector("img");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  image.alt = file.name;
  image.onerror = () => image.removeAttribute("src");
  $("train-name").value = file.name.replace(/\.[^.]*$/, "").replace(/[-_]+/g, " ");
  showStage(true);
  $("train-start").focus();
});

function showStage(chosen) {
  $("train-hero").hidden = chosen;
  $("model-painting").hidden = !chosen;
  $("train-start").disabled = !chosen;
  $("train-other").hidden = !chosen;
}

$("training").onsubmit = async (event) => {
  event.preventDefault();
  problems.replaceChildren();
  const name = $("train-name").value;
  const minutes = $("training").elements.minutes.value;
  const address = `/api/trainings?${new URLSearchParams({ minutes, name })}`;
  $("train-start").disabled = uploading = true;
  try {
    const { job } = await upload(address, painting).finally(() => (uploading = false));
    sessionStorage.training = JSON.stringify({ job, name });
    await follow(job, name);
  } catch (error) {
    fail(error);
  }
};

function fail(error) {
  if (error !== SILENT) delete sessionStorage.training; // else it may still run: a reload finds it
  showTraining(false);
  showStage(painting !== null);
  complain(problems, error);
}

function showTraining(running) {
  $("training").hidden = running;
  $("learning").hidden = !running;
  $("trained").hidden = true;
  $("preview").hidden = !running;
  $("preview").querySelector("img").removeAttribute("src");
  $("preview").querySelector("figcaption").textContent = "The first picture comes soon";
}

async function follow(job, name) {
  showTraining(true);
  $("learning-title").textContent = `Learning ${name}`;
  const curve = [];
  const last = await followJob($("train-jobs"), job, "Training", {
    cancelWord: "Stop and use what is there",
    more: (event) => showEvent(job, event, curve),
  });
  if (!last.style) throw new Problem("The training was stopped before there was anything to use.", "");
  delete sessionStorage.training;
  await loadStyles();
  trained = last.style;
  const { title } = findStyle(trained);
  $("learning-title").textContent = `${title} is among your styles`;
  $("trained").hidden = false;
  $("paint-with-it").focus();
  say(`${title} is trained`);
}

let newest = -1;

async function showEvent(job, { step, objective, preview }, curve) {
  if (objective > 0 && step !== curve.at(-1)?.step) drawCurve(curve, { step, objective });
  if (preview == null || preview === newest) return;
  newest = preview;
  const image = new Image();
  image.src = `/api/jobs/${job}/preview?k=${preview}`;
  await image.decode().catch(() => {});
  if (newest !== preview) return;
  const shown = $("preview").querySelector("img");
  shown.src = image.src;
  shown.alt = "A photo, painted with what the network has learned so far";
  $("preview").querySelector("figcaption").textContent = "What it has learned so far";
}

// The objective over the steps, on a scale of logarithms, 300 by 120; each point is a mean of the
// steps around it, as the steps see different photos.
function drawCurve(curve, point) {
  curve.push({ ...point, log: Math.log(point.objective) });
  const reach = Math.floor(curve.length / 20);
  const means = curve.map((_, k) => {
    const near = curve.slice(Math.max(0, k - reach), k + reach + 1);
    return near.reduce((sum, { log }) => sum + log, 0) / near.length;
  });
  const [low, high, first] = [Math.min(...means), Math.max(...means), curve[0].step];
  const x = ({ step }) => (300 * (step - first)) / Math.max(1, point.step - first);
  const y = (mean) => 115 - (110 * (mean - low)) / Math.max(1e-9, high - low);
  const points = curve.map((one, k) => `${x(one).toFixed(1)},${y(means[k]).toFixed(1)}`);
  $("curve").firstElementChild.setAttribute("points", points.join(" "));
  const share = Math.round(100 * Math.exp(means.at(-1) - means[0]));
  $("curve").ariaLabel = `The error after ${point.step} steps: ${share} % of the first`;
}

$("train-again").onclick = () => {
  showTraining(false);
  showStage(false);
  painting = null;
  $("train-name").value = "";
  $("train-file").focus();
};

$("paint-with-it").onclick = () => chooseStyle(trained);

// A training goes on when its tab is loaded again.
if (sessionStorage.training) {
  const { job, name } = JSON.parse(sessionStorage.training);
  $("train-hero").hidden = true; // the painting is not known any more
  follow(job, name).catch(fail);
}

// Your styles

const ownProblems = $("own-problems");

styles.addEventListener("change", () => {
  const own = styles.list.filter((style) => style.own);
  const models = own.filter(({ model }, k) => own.findIndex((one) => one.model === model) === k);
  $("own").replaceChildren(...models.map(card));
  $("no-own").hidden = own.length > 0;
  $("train-hero").querySelector("img").src = paintingOf(styles.list.findLast((style) => !style.own).id);
});

function card({ id, model_title: title }) {
  const row = clone("own-style");
  row.querySelector("img").src = paintingOf(id);
  row.querySelector("h3").textContent = title;
  for (const button of row.querySelectorAll(".actions > *")) button.ariaLabel = `${button.textContent} (${title})`;
  row.querySelector(".use").onclick = () => chooseStyle(id);
  row.querySelector("a").href = `/api/styles/${encodeURIComponent(id)}/file`;
  row.querySelector("a").download = "";
  row.querySelector(".rename").onclick = () => openRename(id, title);
  row.querySelector(".remove").onclick = () => openRemove(id, title);
  return row;
}

function openRename(id, title) {
  $("new-name").value = title;
  open($("rename"), () => change(id, { method: "PATCH", body: JSON.stringify({ name: $("new-name").value }) }));
}

function openRemove(id, title) {
  $("remove-title").textContent = `Remove ${title}?`;
  open($("remove"), () => change(id, { method: "DELETE" }));
}

function open(dialog, act) {
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue && act();
  dialog.showModal();
}

async function change(id, options) {
  ownProblems.replaceChildren();
  await ask(`/api/styles/${encodeURIComponent(id)}`, options).catch((error) => complain(ownProblems, error));
  await loadStyles().catch((error) => complain(ownProblems, error));
  if (document.activeElement === document.body) ($("own").querySelector("button") ?? $("tab-train")).focus();
}
