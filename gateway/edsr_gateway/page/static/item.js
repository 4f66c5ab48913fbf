// One picture or video on its way: upload, job, result. What it is at is `phase`; every change is told to `changed`.

import * as api from "./api.js";
import { extension } from "./format.js";
import { forgetFile, keepFile } from "./keep.js";

const VIDEO = ["mp4", "m4v", "mkv", "mov", "webm", "avi"];
const FINAL = ["done", "failed", "cancelled", "lost"];
export const ACTIVE = ["uploading", "queued", "standing", "working", "receiving", "held", "offline"];

export class Item {
  // file is null for a job that a reload found again and whose original is gone.
  constructor({ file, name, job = null, fields = {} }, changed) {
    this.file = file;
    this.name = name;
    this.job = job;
    this.fields = fields;
    this.isVideo = Boolean(file?.type.startsWith("video/")) || VIDEO.includes(extension(name));
    this.kind = (extension(name) || file?.type.split("/")[1] || "").toUpperCase();
    this.phase = "waiting";
    this.progress = { done: 0, total: null, unit: "bytes" };
    this.result = null;
    this.blob = null;
    this.problem = null;
    this.madeAsPng = false;
    this.fullOf = "";
    this.isHurried = false;
    this.changed = () => changed(this);
    this.control = new AbortController();
  }

  #to(phase, progress = { done: 0, total: null, unit: "bytes" }) {
    this.phase = phase;
    this.progress = progress;
    this.changed();
  }

  // { url, width, height } of the original where this browser can show it; null where not.
  async original() {
    this.shown ??= this.file && !this.isVideo ? show(this.file) : Promise.resolve(null);
    return this.shown;
  }

  // Ends early when the item is cancelled or hurried, and when the network comes back.
  #pause(ms, signal) {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        window.removeEventListener("online", end);
        if (signal.aborted) reject(new DOMException("cancelled", "AbortError"));
        else resolve();
      };
      const timer = setTimeout(end, ms);
      this.wake = end;
      signal.addEventListener("abort", end, { once: true });
      window.addEventListener("online", end);
      if (signal.aborted) end();
    });
  }

  // What the server would refuse after minutes of uploading.
  refuseAbove({ upload_bytes: picture, video_bytes: video }) {
    const limit = this.isVideo ? video : picture;
    if (!(this.file.size > limit)) return;
    this.problem = new api.Problem(413, { limit_bytes: limit, bytes: this.file.size });
    this.phase = "failed";
  }

  async run() {
    this.control = new AbortController();
    this.phase = "queued";
    const { signal } = this.control;
    try {
      if (!this.job) await this.#patiently(() => this.#upload(signal), signal);
      await this.#follow(signal);
      const receive = (done, total) => this.#to("receiving", { done, total: total ?? this.result?.bytes, unit: "bytes" });
      receive(0, null);
      this.blob = await this.#patiently(() => api.result(this.job, receive, signal), signal);
      this.#to("done");
    } catch (error) {
      if (this.control.signal !== signal) return; // it runs anew already
      if (error.name === "AbortError") return this.#to("cancelled");
      this.problem = error instanceof api.Problem || error.kind ? error : { kind: "Other" };
      this.#to(error.status === 401 ? "locked" : "failed");
    }
  }

  async #upload(signal) {
    this.#to("uploading", { done: 0, total: this.file.size, unit: "bytes" });
    try {
      // A file that was moved since it was chosen would look like a lost connection.
      await this.file.slice(0, 1).arrayBuffer();
    } catch {
      throw { kind: "Unreadable" };
    }
    const { model } = this.fields;
    // A video is made in its own format and size, whatever is chosen for pictures.
    const fields = this.isVideo ? { ...(model && { model }) } : { ...this.fields };
    if (!this.isVideo && !fields.format && !(await this.original())) {
      fields.format = "png";
      this.madeAsPng = this.kind !== "PNG";
    }
    const onUpload = (done, total) => this.#to("uploading", { done, total, unit: "bytes" });
    this.job = await api.submit(this.file, this.name, fields, onUpload, signal);
    keepFile(this.job, this.file, Date.now() + 24 * 3600e3);
    this.#to("queued");
  }

  // The server is full: wait as long as it says, then ask again.
  async #patiently(step, signal) {
    for (;;) {
      try {
        return await step();
      } catch (error) {
        if (error.status !== 429) throw error;
        this.fullOf = error.body.limit || "";
        this.isHurried = false;
        for (let left = Math.max(1, error.retryAfter || 2); left > 0 && !this.isHurried; left--) {
          this.#to("held", { done: 0, total: null, unit: "seconds", left });
          if (!this.isHurried) await this.#pause(1000, signal);
        }
      }
    }
  }

  // There may be room now: do not wait for the whole time.
  hurry() {
    this.isHurried = true;
    this.wake?.();
  }

  async #follow(signal) {
    for (let tries = 0; ; tries++) {
      try {
        for await (const status of api.events(this.job, signal)) {
          tries = 0;
          if (FINAL.includes(status.status)) return this.#finish(status);
          this.#to(status.status === "running" ? "working" : status.note ? "standing" : "queued", status);
        }
      } catch (error) {
        const mayPass = [0, 429, 502, 503, 504].includes(error.status);
        if (!mayPass || error.name === "AbortError") throw error;
      }
      // The stream broke off: the connection, a proxy's patience, or the gateway is being started again.
      this.#to("offline");
      await this.#pause(Math.min(500 * 2 ** tries, 10000), signal);
    }
  }

  #finish(status) {
    if (status.status === "done") {
      this.result = status.result;
      return;
    }
    if (status.status === "cancelled") throw new DOMException("cancelled", "AbortError");
    if (status.status === "lost") throw { kind: "Lost" };
    const body = status.problem || {};
    throw new api.Problem(body.status || 500, body);
  }

  // Stops and leaves nothing on the server.
  async cancel() {
    this.control.abort();
    if (ACTIVE.includes(this.phase) || this.phase === "waiting") this.#to("cancelled");
    await this.forget();
  }

  async forget() {
    const { job } = this;
    this.job = null;
    if (!job) return;
    forgetFile(job);
    await api.remove(job).catch(() => {}); // it expires there by itself
  }

  // Memory that nobody needs any more.
  release() {
    this.shown?.then((original) => original && URL.revokeObjectURL(original.url));
  }

  // Ready to run once more; only a result that is there already is not made again.
  async again(fields = this.fields) {
    const isReceived = this.phase !== "done" && this.result;
    if (!isReceived || fields !== this.fields) {
      await this.forget();
      this.result = this.blob = null;
    }
    this.fields = fields;
    this.problem = null;
    this.madeAsPng = false;
    this.#to("waiting");
  }
}

function show(file) {
  const url = URL.createObjectURL(file);
  const image = new Image();
  return new Promise((resolve) => {
    image.onload = () => resolve({ url, file, width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => {
      URL.revokeObjectURL(url);
      resolve(null);
    };
    image.src = url;
  });
}
