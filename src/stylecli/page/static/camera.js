// Camera: the server has at most two frames at a time; the next one that is sent is the newest.

import { Problem, openSocket } from "./api.js";
import { $, clone, complain, say } from "./ui.js";
import { look } from "./paint.js";

const WIDTHS = [240, 320, 400, 480, 560, 640]; // px; each is compiled once by the server
const AT_ONCE = 2; // frames at the server, each painted on a core of its own; as in camera.py
const SLOWEST = 85; // ms for a frame at most: about 12 frames a second
const PATIENCE = 12; // frames that are measured at a width before it may change
const lens = $("lens");
const screen = $("screen");
const problems = $("camera-problems");
const capture = document.createElement("canvas");

let starts = 0; // how often the camera was started or stopped: only the newest start goes on
let callback = 0; // the handle for the camera's next frame
let socket = null;
let fresh = false; // whether the camera has a frame that was not sent
let sent = []; // when the frames left that are at the server
let level = WIDTHS.indexOf(480);
let tooSlow = WIDTHS.length; // the last level that was too slow
let times = []; // ms from frame to screen, at this width
let arrivals = []; // when the last frames came

function sendLook() {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(look()));
}

$("look").addEventListener("look", sendLook);

// From the camera to the server

$("camera-start").onclick = start;
$("camera-stop").onclick = () => stop();
$("device").onchange = start;

async function start() {
  starts += 1;
  const own = starts;
  problems.replaceChildren();
  closeLens();
  try {
    const stream = await openCamera();
    if (own !== starts) return endStream(stream);
    await showStream(stream);
  } catch (error) {
    if (own === starts) stop(LENS_PROBLEMS[error.name] ?? error);
  }
  if (own !== starts) return;
  showLive(true);
  connect();
  callback = lens.requestVideoFrameCallback(onFrame);
}

async function openCamera() {
  if (!navigator.mediaDevices) throw ONLY_HERE;
  const deviceId = { ideal: $("device").value };
  return navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, deviceId } });
}

async function showStream(stream) {
  const [track] = stream.getVideoTracks();
  track.onended = () => lens.srcObject === stream && stop(LENS_PROBLEMS.NotFoundError);
  lens.srcObject = stream;
  await lens.play();
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const now = track.getSettings().deviceId;
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
  const take = (data) => here === socket && (typeof data === "string" ? refuse(data) : show(data, here));
  socket.onmessage = ({ data }) => {
    turn = turn.then(() => take(data)).catch((error) => here === socket && stop(error));
  };
  const ended = new Problem("The connection to stylecli has ended.", "See whether it still runs, then start again.");
  socket.onclose = () => here === socket && stop(ended);
}

function onFrame() {
  fresh = true;
  pump();
  callback = lens.requestVideoFrameCallback(onFrame);
}

function pump() {
  if (!fresh || !lens.videoWidth || sent.length === AT_ONCE || document.hidden) return;
  if (socket?.readyState !== WebSocket.OPEN) return;
  fresh = false;
  sent.push(performance.now());
  const width = WIDTHS[level];
  const height = Math.round((width * lens.videoHeight) / lens.videoWidth / 2) * 2;
  Object.assign(capture, { width, height });
  const pen = capture.getContext("2d");
  if ($("mirror").checked) pen.setTransform(-1, 0, 0, 1, width, 0);
  pen.drawImage(lens, 0, 0, width, height);
  const here = socket;
  const send = (blob) => {
    if (here !== socket || here.readyState !== WebSocket.OPEN) return;
    if (blob) here.send(blob);
    else sent.pop();
  };
  capture.toBlob(send, "image/jpeg", 0.9);
}

// From the server to the screen

async function show(data, from) {
  const picture = await createImageBitmap(data);
  if (from !== socket) return;
  $("still").disabled = false;
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
  if (to !== level) times = [];
  level = to;
}

setInterval(() => {
  const recent = arrivals.filter((one) => one > performance.now() - 2000);
  if (!socket || recent.length < 2) return;
  const rate = (1000 * (recent.length - 1)) / (recent.at(-1) - recent[0]);
  $("rate").textContent = `${rate.toFixed(rate < 10 ? 1 : 0)} frames a second · ${screen.width} × ${screen.height}`;
}, 500);

// The end, and what is kept

const endStream = (stream) => stream.getTracks().forEach((track) => track.stop());

function closeLens() {
  lens.cancelVideoFrameCallback(callback);
  fresh = false;
  if (lens.srcObject) endStream(lens.srcObject);
  lens.srcObject = null;
}

function stop(problem) {
  starts += 1;
  const was = socket;
  socket = null;
  was?.close();
  closeLens();
  showLive(false);
  if (problem) complain(problems, problem);
}

function showLive(on) {
  const changes = $("live").hidden === on;
  times = [];
  arrivals = [];
  tooSlow = WIDTHS.length;
  $("rate").textContent = "";
  $("live").hidden = !on;
  $("camera-hero").hidden = on;
  $("still").disabled = true; // until there is a picture
  $("camera-stop").disabled = !on;
  if (changes) (on ? $("camera-stop") : $("camera-start")).focus();
}

document.addEventListener("view", () => $("camera").hidden && stop());

let stills = 0; // kept so far, those that were removed too

$("still").onclick = () =>
  screen.toBlob((blob) => {
    stills += 1;
    const row = clone("kept");
    const [link, image, remove] = ["a", "img", "button"].map((name) => row.querySelector(name));
    link.href = image.src = URL.createObjectURL(blob);
    link.download = `still-${stills}.png`;
    image.alt = `Still ${stills}`;
    remove.ariaLabel = `Remove still ${stills}`;
    remove.onclick = () => {
      URL.revokeObjectURL(link.href);
      row.remove();
      // The focus goes to the last of these that can have it.
      for (const button of [$("camera-start"), $("still"), $("stills").querySelector("button")]) button?.focus();
    };
    $("stills").prepend(row);
    say("The still is kept below");
  });
