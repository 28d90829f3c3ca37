// The server's answers: each error as one Problem, with the server's words and its hint.

export class Problem extends Error {
  constructor(message, hint = "") {
    super(message);
    this.hint = hint;
  }
}

export const SILENT = new Problem("stylecli does not answer", "see whether it still runs in its terminal");

// The name of this tab, by which the server knows its jobs. A page that is loaded again has a new one.
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

export async function upload(path, file) {
  const { most_bytes: most } = await state;
  if (file.size > most) {
    throw new Problem(`${file.name} has ${inMegabytes(file.size)}`, `at most ${inMegabytes(most)} are read`);
  }
  return askJson(path, { method: "POST", headers: { "X-Name": encodeURIComponent(file.name) }, body: file });
}

const inMegabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 1 : 0)} MB`;

// A browser opens at most six connections to a server, for all tabs together. WebSockets do not count.
export const openSocket = (path) => new WebSocket(`${location.origin.replace("http", "ws")}/api/${path}`);

// When this connection ends, the server knows that the tab is closed, or the page knows that the
// server has stopped.
export const stayAlive = () => openSocket(`tab?tab=${tab}`);
