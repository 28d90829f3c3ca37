// Compare: the paper's experiment, and its report in place.

import { post } from "./api.js";
import { paintingOf, styles } from "./styles.js";
import { $, complain, followJob, say } from "./ui.js";

const form = $("comparison");
const problems = $("compare-problems");

const chosen = (name) => [...form.querySelectorAll(`[name=${name}]:checked`)].map(({ value }) => value);

// The networks that are compared paint The Starry Night.
styles.addEventListener("change", () => ($("compare-hero").querySelector("img").src = paintingOf(styles.default)));

let running = false;

form.onchange = () =>
  ($("compare-start").disabled = running || !chosen("norms").length || !chosen("archs").length);

form.onsubmit = async (event) => {
  event.preventDefault();
  problems.replaceChildren();
  running = true;
  form.onchange();
  try {
    const { job } = await post("/api/comparisons", { norms: chosen("norms"), archs: chosen("archs") });
    const last = await followJob($("compare-jobs"), job, "The networks paint the same photos");
    if (last.state === "done") showReport(`/api/jobs/${job}/result`);
  } catch (error) {
    complain(problems, error);
  }
  running = false;
  form.onchange();
};

function showReport(address) {
  $("report").src = $("report-alone").href = address;
  $("compare-hero").hidden = true;
  $("report").hidden = $("report-alone").hidden = false;
  $("compare-stage").classList.add("reads");
  $("report-alone").focus();
  say("The report is there");
}
