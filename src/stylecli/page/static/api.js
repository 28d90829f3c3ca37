// The server's answers: each error as one Problem, with the server's words and its hint.

export class Problem extends Error {
  constructor(message, hint = "") {
    super(message);
    this.hint = hint;
  }
}

const SILENT = new Problem("stylecli does not answer", "see whether it still runs in its terminal");

// By this the server tells one tab from another; a reload is another tab.
const tab = crypto.getRandomValues(new Uint32Array(4)).join("-");

export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw SILENT;
  }
  if (answer.ok) return answer;
  const { error, hint } = await answer.json().catch(() => ({}));
  throw new Problem(error ?? `stylecli answers with ${answer.status}`, hint);
}

export const askJson = async (path, options) => (await ask(path, options)).json();

export const state = askJson("/api/state");

export const post = (path, value) =>
  askJson(path, { method: "POST", headers: { "X-Tab": tab }, body: JSON.stringify(value) });

export const upload = (path, file) =>
  askJson(path, { method: "POST", headers: { "X-Tab": tab, "X-Name": encodeURIComponent(file.name) }, body: file });

// The server takes the end of this connection for the end of the tab, and the page takes it for the
// end of the server.
export const stayAlive = () => new EventSource(`/api/alive?tab=${tab}`);

// Calls show with the events of a job; resolves with the last one. A browser has six connections to
// a server, for all tabs together: none is kept open for a job.
export async function watchJob(job, show) {
  for (;;) {
    const event = await askEvent(`/api/jobs/${job}/events`);
    show(event);
    if (event.state === "failed") throw new Problem(event.error, event.hint);
    if (event.state === "done" || event.state === "stopped") return event;
    await new Promise((wake) => setTimeout(wake, 300));
  }
}

// The first event of a stream, which is the present state.
async function askEvent(path) {
  const reader = (await ask(path)).body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  while (!text.includes("\n\n")) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done) throw SILENT;
    text += decoder.decode(value, { stream: true });
  }
  reader.cancel();
  return JSON.parse(text.slice("data: ".length, text.indexOf("\n\n")));
}

// The name that the server gives to a download.
export function nameOf(answer, otherwise) {
  const said = answer.headers.get("Content-Disposition") ?? "";
  const encoded = said.match(/filename\*=utf-8''([^;]+)/i)?.[1];
  return encoded ? decodeURIComponent(encoded) : (said.match(/filename="?([^";]+)"?/)?.[1] ?? otherwise);
}
