// The server's answers: each error as one Problem, with the server's words and its hint.

export class Problem extends Error {
  constructor(message, hint = "") {
    super(message);
    this.hint = hint;
  }
}

// By this the server tells one tab from another; a reload is another tab.
const tab = crypto.getRandomValues(new Uint32Array(4)).join("-");

export async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("stylecli does not answer", "see whether it still runs in its terminal");
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

// Calls show with each event of a job; resolves with the last one.
export function watchJob(job, show) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(`/api/jobs/${job}/events`);
    const end = (settle, value) => {
      events.close();
      settle(value);
    };
    events.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      show(event);
      if (event.state === "failed") end(reject, new Problem(event.error, event.hint));
      else if (event.state === "done" || event.state === "stopped") end(resolve, event);
    };
    events.onerror = () => {
      if (events.readyState === EventSource.CLOSED) end(reject, new Problem("this work is lost", "start it again"));
    };
  });
}

// The name that the server gives to a download.
export function nameOf(answer, otherwise) {
  const said = answer.headers.get("Content-Disposition") ?? "";
  const encoded = said.match(/filename\*=utf-8''([^;]+)/i)?.[1];
  return encoded ? decodeURIComponent(encoded) : (said.match(/filename="?([^";]+)"?/)?.[1] ?? otherwise);
}
