// The page: its tabs, and whether the server still runs.

import { state, stayAlive } from "./api.js";
import { $, complain } from "./ui.js";
import { loadStyles } from "./styles.js";
import "./paint.js";
import "./train.js";
import "./camera.js";
import "./compare.js";

// The names after # are not those of elements: to such a one, the browser would move the focus.
const tabs = [...document.querySelectorAll("[role=tab]")];

function showView() {
  const chosen = tabs.find((tab) => tab.id === `tab-${location.hash.slice(2)}`) ?? tabs[0];
  for (const tab of tabs) {
    const here = tab === chosen;
    tab.ariaSelected = here;
    tab.tabIndex = here ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !here;
  }
  const view = $(chosen.getAttribute("aria-controls"));
  if (view.querySelector(".side")) {
    view.querySelector(".side").append($("strip"));
    view.querySelector(".panel").prepend($("look"));
  }
  document.dispatchEvent(new Event("view"));
  document.title = `${chosen.textContent} · stylecli`;
}

for (const tab of tabs) {
  tab.onclick = () => (location.hash = `/${tab.getAttribute("aria-controls")}`);
  tab.onkeydown = (event) => {
    const here = tabs.indexOf(tab);
    const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = tabs.at(to % tabs.length);
    next.focus();
    next.click();
  };
}
addEventListener("hashchange", showView);
showView();

const STOPPED = "stylecli has stopped. Start it again in a terminal with: stylecli serve";
let lost = false;

function watchServer() {
  const alive = stayAlive();
  alive.onopen = () => lost && offerReload();
  alive.onclose = () => {
    lost = true;
    if ($("lost").textContent !== STOPPED) $("lost").textContent = STOPPED; // it is read out once
    setTimeout(watchServer, 1000);
  };
}

function offerReload() {
  const reload = document.createElement("button");
  reload.textContent = "Load this page again";
  reload.onclick = () => location.reload();
  $("lost").replaceChildren("stylecli runs again. ", reload);
}

watchServer();

try {
  const [{ version, device }] = await Promise.all([state, loadStyles()]);
  $("about").textContent = `stylecli ${version} on ${device}. Nothing leaves the computer where it runs.`;
} catch (error) {
  complain($("paint-problems"), error);
}
$("main").classList.add("ready");
document.addEventListener("visibilitychange", () => document.hidden || loadStyles().catch(() => {}));
