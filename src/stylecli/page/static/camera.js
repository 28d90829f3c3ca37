// Camera: a few frames are at the server at a time, and the next one is the newest.

import { Problem, openSocket } from "./api.js";
import { $, clone, complain, say } from "./ui.js";
import { look } from "./paint.js";

const WIDTHS = [240, 320, 400, 480, 560, 640]; // px; each is compiled once by the server
const AT_ONCE = 2; // frames at the server, each painted on a core of its own
const SLOWEST = 85; // ms for a frame: more than 10 a second, with some air
const PATIENCE = 12; // frames at a width before another one is tried
const lens = $("lens");
const screen = $("screen");
const problems = $("camera-problems");
const capture = document.createElement("canvas");

let socket = null;
let fresh = false; // whether the camera has a frame that was not sent
let sent = []; // when the frames left that are at the server
let level = WIDTHS.indexOf(480);
let tooSlow = WIDTHS.length; // the last level that was
let times = []; // ms from frame to screen, at this width
let arrivals = []; // when the last frames came

function sendLook() {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ...look(), width: WIDTHS[level] }));
}

$("look").addEventListener("look", sendLook);

// From the camera to the server

$("camera-start").onclick = start;
$("camera-stop").onclick = () => stop();
$("device").onchange = start;

async function start() {
  problems.replaceChildren();
  try {
    await openLens();
  } catch (error) {
    stop();
    complain(problems, LENS_PROBLEMS[error.name] ?? error);
    return;
  }
  showLive(true);
  connect();
  lens.requestVideoFrameCallback(onFrame);
}

async function openLens() {
  closeLens();
  const chosen = $("device").value;
  const video = { width: { ideal: 1280 }, deviceId: chosen ? { exact: chosen } : undefined };
  if (!navigator.mediaDevices) throw ONLY_HERE;
  lens.srcObject = await navigator.mediaDevices.getUserMedia({ video });
  await lens.play();
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const now = lens.srcObject.getVideoTracks()[0].getSettings().deviceId;
  const option = ({ label, deviceId }) => new Option(label || "Camera", deviceId, false, deviceId === now);
  $("device").replaceChildren(...devices.map(option));
  $("which").hidden = devices.length < 2;
}

const ONLY_HERE = new Problem(
  "Browsers give cameras only to pages of the same computer.",
  "Open the page on the computer where stylecli runs.",
);
const LENS_PROBLEMS = {
  NotAllowedError: new Problem(
    "The browser does not let this page use the camera.",
    "Allow it beside the address, then start again.",
  ),
  NotFoundError: new Problem("There is no camera.", "Connect one, then start again."),
  NotReadableError: new Problem("The camera is busy.", "Close the program that uses it, then start again."),
};

function connect() {
  socket?.close();
  const here = (socket = openSocket("camera"));
  socket.binaryType = "blob";
  socket.onopen = () => {
    sent = [];
    sendLook();
    pump();
  };
  let turn = Promise.resolve(); // frames are shown in their order
  socket.onmessage = ({ data }) => {
    if (here === socket) turn = turn.then(() => (typeof data === "string" ? refuse : show)(data));
  };
  const ended = new Problem("The connection to stylecli has ended.", "See whether it still runs, then start again.");
  socket.onclose = () => here === socket && stop(ended);
}

function onFrame() {
  if (!lens.srcObject) return;
  fresh = true;
  pump();
  lens.requestVideoFrameCallback(onFrame);
}

function pump() {
  if (!fresh || socket?.readyState !== WebSocket.OPEN || sent.length === AT_ONCE || document.hidden) return;
  fresh = false;
  sent.push(performance.now());
  const width = WIDTHS[level];
  const height = Math.round((width * lens.videoHeight) / lens.videoWidth / 2) * 2;
  Object.assign(capture, { width, height });
  const pen = capture.getContext("2d");
  if ($("mirror").checked) pen.setTransform(-1, 0, 0, 1, width, 0);
  pen.drawImage(lens, 0, 0, width, height);
  capture.toBlob((blob) => socket?.readyState === WebSocket.OPEN && socket.send(blob), "image/jpeg", 0.9);
}

// From the server to the screen

async function show(data) {
  const picture = await createImageBitmap(data);
  if (!socket) return;
  if (screen.width !== picture.width || screen.height !== picture.height) {
    Object.assign(screen, { width: picture.width, height: picture.height });
    $("live").style.setProperty("--ratio", picture.width / picture.height);
  }
  screen.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
  const now = performance.now();
  times = [...times, now - (sent.shift() ?? now)].slice(-3 * PATIENCE);
  arrivals = [...arrivals, now].slice(-3 * PATIENCE);
  adapt();
  pump();
}

function refuse(text) {
  const { error, hint } = JSON.parse(text);
  problems.replaceChildren();
  complain(problems, new Problem(error, hint));
  sent.shift();
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

// A width that is too slow is left for the widest one that should be quick enough, and a wider one
// is tried where it should be. The first frames are not counted: some are of the width before, and
// the server compiles for the new one.
function adapt() {
  const counted = times.slice(2 * AT_ONCE);
  if (counted.length < PATIENCE && !(counted.length === 3 && Math.min(...counted) > 2 * AT_ONCE * SLOWEST)) return;
  const time = median(counted.slice(-PATIENCE)) / AT_ONCE;
  const expected = (to) => time * (WIDTHS[to] / WIDTHS[level]) ** 2;
  let to = level;
  if (time > SLOWEST) {
    tooSlow = level;
    while (to > 0 && expected(to) > 0.9 * SLOWEST) to -= 1;
  } else if (to + 1 < WIDTHS.length && expected(to + 1) < SLOWEST * (to + 1 < tooSlow ? 0.8 : 0.5)) to += 1;
  if (to !== level) resize(to);
}

function resize(to) {
  level = to;
  times = [];
  sendLook();
}

setInterval(() => {
  const recent = arrivals.filter((one) => one > performance.now() - 2000);
  if (!socket || recent.length < 2) return;
  const rate = (1000 * (recent.length - 1)) / (recent.at(-1) - recent[0]);
  const time = times.length ? Math.round(median(times.slice(-PATIENCE))) : 0;
  $("rate").textContent = `${rate.toFixed(rate < 10 ? 1 : 0)} frames a second · ${screen.width} × ${screen.height}`;
  Object.assign($("rate").dataset, { rate: rate.toFixed(1), time });
}, 500);

// The end, and what is kept

function closeLens() {
  for (const track of lens.srcObject?.getTracks() ?? []) track.stop();
  lens.srcObject = null;
}

function stop(problem) {
  const was = socket;
  socket = null;
  fresh = false;
  was?.close();
  closeLens();
  showLive(false);
  if (problem) complain(problems, problem);
}

function showLive(on) {
  times = [];
  arrivals = [];
  tooSlow = WIDTHS.length;
  $("rate").textContent = "";
  $("live").hidden = !on;
  $("camera-hero").hidden = on;
  $("still").disabled = $("camera-stop").disabled = !on;
  (on ? $("still") : $("camera-start")).focus();
}

document.addEventListener("view", () => socket && $("camera").hidden && stop());

$("still").onclick = () =>
  screen.toBlob((blob) => {
    const row = clone("kept");
    const link = row.querySelector("a");
    link.href = row.querySelector("img").src = URL.createObjectURL(blob);
    link.download = `still-${$("stills").childElementCount + 1}.png`;
    row.querySelector("img").alt = `Still ${$("stills").childElementCount + 1}`;
    $("stills").prepend(row);
    say("The still is kept below");
  });
