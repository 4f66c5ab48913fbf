// The gateway's API: information, jobs, events, results. Addresses are relative, so that a path in front of them works.

const KEY = "edsr-key";

// What the gateway answered instead of what was asked for; status 0 when nothing came at all.
export class Problem extends Error {
  constructor(status, body = {}, retryAfter = 0) {
    super(body.detail || "");
    this.status = status;
    this.body = body;
    this.retryAfter = retryAfter;
  }
}

let held = "";
try {
  held = sessionStorage.getItem(KEY) || "";
} catch {
  // Storage can be forbidden: the key then lasts as long as the page.
}

export const key = {
  get: () => held,
  set: (value) => {
    held = value;
    try {
      if (value) sessionStorage.setItem(KEY, value);
      else sessionStorage.removeItem(KEY);
    } catch {
      // As above.
    }
  },
};

const headers = () => (key.get() ? { Authorization: `Bearer ${key.get()}` } : {});

function problem(status, text, retryAfter) {
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    // A proxy in front answers in HTML of its own; the status says enough.
  }
  return new Problem(status, body && typeof body === "object" ? body : {}, Number(retryAfter) || 0);
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers }, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0);
  }
  if (!answer.ok) throw problem(answer.status, await answer.text(), answer.headers.get("Retry-After"));
  return answer;
}

export const info = async () => (await ask("v1/info")).json();

// Whether a picture sent now would be upscaled.
export const isReady = () => ask("readyz").then(() => true, () => false);

// Whether the key opens the door; throws the 401 if not.
export const knock = () => ask("v1/jobs");

// fetch cannot say how much of an upload is done.
function transfer(method, path, { body = null, type = "", onUpload, onDownload, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    const end = (settle, value) => {
      signal.removeEventListener("abort", abort);
      settle(value);
    };
    request.open(method, path);
    request.responseType = type;
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    if (onUpload) request.upload.onprogress = (event) => onUpload(event.loaded, event.total);
    if (onDownload) request.onprogress = (event) => onDownload(event.loaded, event.lengthComputable ? event.total : null);
    request.onerror = () => end(reject, new Problem(0));
    request.onabort = () => end(reject, new DOMException("cancelled", "AbortError"));
    request.onload = async () => {
      if (request.status >= 200 && request.status < 300) return end(resolve, request.response);
      const text = type === "blob" ? await request.response.text() : request.responseText;
      end(reject, problem(request.status, text, request.getResponseHeader("Retry-After")));
    };
    signal.addEventListener("abort", abort);
    if (signal.aborted) return end(reject, new DOMException("cancelled", "AbortError"));
    request.send(body);
  });
}

// Sends a file; answers the job's id.
export async function submit(file, name, fields, onUpload, signal) {
  const body = new FormData();
  for (const [field, value] of Object.entries(fields)) body.append(field, value);
  body.append("file", file, name);
  return JSON.parse(await transfer("POST", "v1/jobs", { body, onUpload, signal })).id;
}

export const result = (id, onDownload, signal) =>
  transfer("GET", `v1/jobs/${id}/result`, { type: "blob", onDownload, signal });

export async function remove(id) {
  await ask(`v1/jobs/${id}`, { method: "DELETE", keepalive: true });
}

// The job's states as they come, until the last one. EventSource would not send the key.
export async function* events(id, signal) {
  const answer = await ask(`v1/jobs/${id}/events`, { headers: { Accept: "text/event-stream" }, signal });
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text = (text + decoder.decode(value, { stream: true })).replaceAll("\r\n", "\n");
      const messages = text.split("\n\n");
      text = messages.pop();
      for (const message of messages) {
        const lines = message.split("\n").filter((line) => line.startsWith("data:"));
        const data = lines.map((line) => line.slice(5).trimStart()).join("\n");
        if (data) yield JSON.parse(data);
      }
    }
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem(0);
  } finally {
    reader.cancel().catch(() => {});
  }
}
