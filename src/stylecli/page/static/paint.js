// Paint: photos and films, one look for all of them.

import { Problem, ask, post, upload } from "./api.js";
import { $, clone, complain, followJob, linkTo, say, takeFiles } from "./ui.js";
import { Strip, findStyle, showChosen, styles } from "./styles.js";

const form = $("look");
const problems = $("paint-problems");
let items = []; // {id, kind, name, width, height, row, strip: Map(style -> blob URL)}
let current = null;

// What is chosen

const strip = new Strip((style) => {
  showChosen(style);
  offerBlends(style);
  changeLook();
});

function offerBlends(style) {
  const others = styles.list.filter((one) => one.model === style.model && one.id !== style.id);
  const before = $("blend").value;
  $("blend").replaceChildren(
    new Option(others.length ? "nothing" : "nothing: it is a network of its own", ""),
    ...others.map((one) => new Option(one.title, one.id, false, one.id === before)),
  );
  $("blend").disabled = !others.length;
}

function blendOf() {
  const share = $("share").value / 100;
  const other = $("blend").value;
  return other ? `${strip.chosen}:${(1 - share).toFixed(2)},${other}:${share.toFixed(2)}` : strip.chosen;
}

// Settings at their default are left out: a picture's metadata note only what differs.
export function look() {
  const chosen = { style: blendOf() };
  const add = (id, name, value) => $(id).value !== $(id).defaultValue && (chosen[name] = value);
  add("layers", "layers", Number($("layers").value));
  add("strokes", "stroke_size", 2 ** $("strokes").value);
  add("strength", "strength", $("strength").value / 100);
  if ($("colors").checked) chosen.preserve_color = true;
  return chosen;
}

function strokesInWords(value) {
  const times = `${Number((2 ** value).toFixed(2))}×`;
  return value == 0 ? "normal" : value < 0 ? `finer, ${times}` : `broader, ${times}`;
}

function showValues() {
  const share = $("share").value;
  $("share-row").hidden = !$("blend").value;
  $("share-value").textContent = `${share} %`;
  $("strokes-value").textContent = strokesInWords($("strokes").value);
  $("strokes").ariaValueText = $("strokes-value").textContent;
  $("layers-value").textContent = $("layers").value;
  $("strength-value").textContent = `${$("strength").value} %`;
}

function changeLook() {
  showValues();
  showFilm(null);
  follow();
  form.dispatchEvent(new Event("look"));
}

form.oninput = changeLook;
form.onsubmit = (event) => event.preventDefault();
form.onreset = () => setTimeout(changeLook);

// The picture at screen size: while one is painted, only the newest look waits.

let shown = "";
let underway = null;
let fault = null; // the error of the last picture that could not be painted

function address(item, size, chosen = look()) {
  return `/api/photos/${item.id}/painted?${new URLSearchParams({ ...chosen, size })}`;
}

async function follow() {
  if (underway || $("paint").hidden) return;
  $("frame").ariaBusy = true;
  while (current && strip.chosen && shown !== address(current, "screen")) {
    underway = new AbortController();
    await paintScreen(current, address(current, "screen"), underway.signal);
  }
  underway = null;
  $("frame").ariaBusy = false;
}

async function paintScreen(item, wanted, signal) {
  let unused = ""; // the URL of a picture that is not shown
  try {
    const picture = new Image();
    unused = picture.src = URL.createObjectURL(await (await ask(wanted, { signal })).blob());
    await picture.decode();
    fault?.remove();
    if (item !== current) return;
    unused = $("after").src;
    $("after").src = picture.src;
    $("after").alt = `${item.name}, painted as ${titleOf()}`;
    $("frame").classList.add("painted");
    say(`${item.name} is painted as ${titleOf()}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    fault?.remove();
    fault = complain(problems, error);
  } finally {
    URL.revokeObjectURL(unused);
  }
  if (item === current) shown = wanted; // a failure, too, is not tried again at once
}

function titleOf() {
  const other = findStyle($("blend").value);
  return findStyle(strip.chosen).title + (other ? ` and ${other.title}` : "");
}

document.addEventListener("view", follow);

// The strip: the chosen photo small in each style, two at a time.

let strips = new AbortController();

async function paintStrip() {
  strips.abort();
  const { signal } = (strips = new AbortController());
  const item = current;
  for (const { id } of styles.list) strip.show(id, item?.strip.get(id));
  const waiting = item ? styles.list.filter(({ id }) => !item.strip.has(id)) : [];
  const work = async () => {
    for (let style; (style = waiting.shift()) && !signal.aborted; ) await paintTile(item, style.id, signal);
  };
  await Promise.all([work(), work()]);
}

async function paintTile(item, style, signal) {
  try {
    const picture = await (await ask(address(item, "strip", { style }), { signal })).blob();
    if (!items.includes(item)) return;
    item.strip.set(style, URL.createObjectURL(picture));
    if (item === current) strip.show(style, item.strip.get(style));
  } catch {
    // The tile keeps the painting; when the style is chosen, the picture says why.
  }
}

styles.addEventListener("change", paintStrip);

// Photos

takeFiles($("paint"), [$("paint-files"), $("more-files")], async (files) => {
  problems.replaceChildren();
  for (const item of files.map(addRow)) await send(item);
});

function addRow(file) {
  const row = clone("photo");
  const item = { file, name: file.name, row, strip: new Map() };
  const [thumb, remove] = row.querySelectorAll("button");
  thumb.ariaLabel = file.name;
  thumb.onclick = () => item.id && choose(item);
  remove.ariaLabel = `Remove ${file.name}`;
  remove.onclick = () => drop(item);
  $("photos").append(row);
  items.push(item);
  showShelf();
  return item;
}

async function send(item) {
  if (!items.includes(item)) return; // removed before its turn
  try {
    Object.assign(item, await upload("/api/photos", item.file));
    delete item.file;
    item.row.querySelector("img").src = `/api/photos/${item.id}/screen`;
    item.row.classList.add("here");
    if (!items.includes(item)) remove(item);
    else if (!current) choose(item);
  } catch (error) {
    complain(problems, error);
    drop(item);
  }
  showShelf();
}

function choose(item) {
  current = item;
  shown = "";
  underway?.abort();
  for (const one of items) one.row.querySelector(".thumb").setAttribute("aria-current", one === item);
  $("frame").classList.remove("painted");
  $("before").src = item ? `/api/photos/${item.id}/screen` : "";
  $("before").alt = item?.name ?? "";
  if (item) $("frame").style.setProperty("--ratio", item.width / item.height);
  showShelf();
  showFilm(null);
  paintStrip();
  follow();
}

function drop(item) {
  const place = items.indexOf(item);
  if (place < 0) return;
  items.splice(place, 1);
  const focused = item.row.contains(document.activeElement);
  item.row.remove();
  remove(item);
  const next = items[Math.min(place, items.length - 1)];
  if (item === current) choose(next?.id ? next : (items.find(({ id }) => id) ?? null));
  showShelf();
  if (focused) (next?.row.querySelector(".thumb") ?? $("paint-files")).focus();
}

function remove(item) {
  for (const url of item.strip.values()) URL.revokeObjectURL(url);
  if (item.id) ask(`/api/photos/${item.id}`, { method: "DELETE" }).catch(() => {});
}

// The server keeps no photo of a tab that is closed.
addEventListener("pagehide", () => {
  for (const { id } of items) if (id) fetch(`/api/photos/${id}`, { method: "DELETE", keepalive: true });
});

// A page that the browser kept when it was left has lost its photos.
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

function showShelf() {
  const focused = document.activeElement === $("paint-files");
  $("paint-hero").hidden = items.length > 0;
  $("download").disabled = !current;
  $("download").hidden = current?.kind === "film";
  $("paint-film").hidden = current?.kind !== "film";
  $("download-all").disabled = photosOf().length < 2;
  if (focused && items.length) $("more-files").focus();
}

const photosOf = () => items.filter(({ kind }) => kind === "photo");

const moveWipe = () => $("frame").style.setProperty("--at", `${$("wipe").value}%`);
$("wipe").oninput = moveWipe;
moveWipe();

// Downloads: the picture at full size, all as a ZIP, a film

const jobs = $("paint-jobs");

// Does what a button asks for; what goes wrong is shown below it.
function onClick(button, act) {
  $(button).onclick = async () => {
    $("look-problems").replaceChildren();
    await act(current).catch((error) => complain($("look-problems"), error));
  };
}

// Resolves with a link to what was painted, or with nothing if that was cancelled.
async function paintFull(photos, what) {
  const { job } = await post("/api/paintings", { photos: photos.map(({ id }) => id), look: look() });
  const { state, name, error } = await followJob(jobs, job, what);
  if (error) complain($("look-problems"), new Problem(`Left out: ${error}`));
  if (state !== "done") return null;
  say(`${name} is painted`);
  return linkTo(`/api/jobs/${job}/result`, name);
}

onClick("download", async (item) => {
  const link = await paintFull([item], `Paints ${item.name} at full size`);
  link?.click();
});

onClick("download-all", async () => {
  const photos = photosOf();
  const link = await paintFull(photos, `Paints ${photos.length} photos at full size`);
  if (!link) return;
  jobs.append(link);
  link.click();
});

onClick("paint-film", async (item) => {
  const chosen = address(item, "screen");
  const link = await paintFull([item], `Paints ${item.name}`);
  if (!link) return;
  jobs.append(link);
  if (item === current && chosen === address(item, "screen")) showFilm(link.href, link.download);
});

const film = $("film");
film.onerror = () => showFilm(null); // the browser cannot play this format
document.addEventListener("view", () => $("paint").hidden && film.pause());

// A painted film plays in place of the picture until another look or photo is chosen.
function showFilm(result, name = "") {
  const moving = /\.(mp4|mov|m4v|mkv|webm)$/i.test(name);
  film.pause();
  film.hidden = !moving;
  if (moving) film.src = result;
  else if (film.hasAttribute("src")) {
    film.removeAttribute("src");
    film.load(); // without it, the film would play on
  }
  if (result && !moving) {
    URL.revokeObjectURL($("after").src);
    $("after").src = result;
  }
  $("frame").hidden = !current || moving;
}

// Other views send their visitors here.
export function chooseStyle(id) {
  strip.select(id);
  location.hash = "/paint";
}
