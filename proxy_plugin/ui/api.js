// The gateway's routes, asked with the caller's key. The key is in this module's memory and nowhere else.

import { say } from "./dom.js";

const BASE = new URL("../v1/", document.baseURI);
let key = "";

export const remember = (given) => (key = given.trim());
export const forget = () => (key = "");

export class Refused extends Error {
  constructor(status, told) {
    super(told.message || `The gateway answered ${status}.`);
    this.status = status;
    this.code = told.code || null;
    this.param = told.param || null;
  }
}

const headers = (more) => (key ? { "x-portkey-api-key": key, ...more } : { ...more });

function address(path, query) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query || {})) {
    for (const each of [value].flat()) if (each !== null && each !== undefined && each !== "") url.searchParams.append(name, each);
  }
  return url;
}

async function refusal(status, text) {
  try {
    return new Refused(status, JSON.parse(text).error || {});
  } catch {
    return new Refused(status, {});
  }
}

export async function ask(method, path, { query, body, more, signal } = {}) {
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const kind = body === undefined ? {} : { "content-type": "application/json" };
  let answer;
  try {
    answer = await fetch(address(path, query), { method, headers: headers({ ...kind, ...more }), signal, cache: "no-store", credentials: "omit", redirect: "error", ...sent });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: "The gateway cannot be reached." });
  }
  if (!answer.ok) throw await refusal(answer.status, await answer.text());
  return answer;
}

export const get = async (path, query, signal) => (await ask("GET", path, { query, signal })).json();
export const post = async (path, body, more) => (await ask("POST", path, { body, more })).json();
export const remove = async (path) => (await ask("DELETE", path)).json();
export const lines = async (path, query) =>
  (await (await ask("GET", path, { query })).text()).split("\n").filter(Boolean).map((each) => JSON.parse(each));

// `seen` is told of the share that has gone. fetch cannot tell how much of a body was sent; XMLHttpRequest can.
export function upload(file, seen, signal) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("purpose", "batch");
    form.append("file", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", address("files"));
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && seen(event.loaded / event.total);
    request.onload = async () =>
      request.status === 200 ? resolve(JSON.parse(request.responseText)) : reject(await refusal(request.status, request.responseText));
    request.onerror = () => reject(new Refused(0, { message: "The upload was cut off." }));
    request.onabort = () => reject(new Refused(0, { message: "The upload was stopped." }));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

const LARGE = 64 * 1024 * 1024;
export async function save(path, name, size = 0, query = {}) {
  const straight = size > LARGE && window.showSaveFilePicker;
  const target = straight ? await (await window.showSaveFilePicker({ suggestedName: name })).createWritable() : null;
  const answer = await ask("GET", path, { query });
  if (target) return answer.body.pipeTo(target); // so that it is never in memory as a whole
  const url = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  return null;
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const found = { event: "message", data: "" };
      for (const line of block.split("\n")) {
        const [name, rest] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()];
        if (name) found[name] = name === "data" ? found.data + rest : rest;
      }
      if (found.data) yield found;
    }
  }
}

const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()));
  });

const shown = (signal) =>
  new Promise((resolve) => {
    if (!document.hidden) return resolve();
    document.addEventListener("visibilitychange", () => document.hidden || resolve(), { signal });
    return signal.addEventListener("abort", resolve);
  });

// A page that nobody sees has no stream: browsers open six connections to one host, over all tabs.
function whileShown(signal) {
  const stop = new AbortController();
  const end = () => document.hidden && stop.abort();
  document.addEventListener("visibilitychange", end, { signal: AbortSignal.any([signal, stop.signal]) });
  signal.addEventListener("abort", () => stop.abort());
  return stop.signal;
}

// Tell `seen(event, data)` of every event until the stream says `end`; connect again when it breaks.
export async function follow(path, query, seen, signal) {
  let last = "";
  let wait = 1000;
  let away = false;
  while (!signal.aborted) {
    await shown(signal);
    if (signal.aborted) return;
    try {
      const answer = await ask("GET", path, { query, more: last ? { "last-event-id": last } : {}, signal: whileShown(signal) });
      if (away) say("The gateway is there again.");
      away = false;
      for await (const each of events(answer.body)) {
        wait = 1000;
        if (each.id) last = each.id;
        if (each.event === "end") return;
        seen(each.event, JSON.parse(each.data));
      }
    } catch (error) {
      if (error instanceof Refused && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
      if (error instanceof Refused) {
        away = true;
        say(error.status ? error.message : "The gateway cannot be reached: what you see is as it was. It is asked again.", true);
      }
    }
    await pause(wait, signal);
    wait = Math.min(wait * 2, 30000);
  }
}

// Call again and again while the page is seen.
export async function again(work, milliseconds, signal) {
  while (!signal.aborted) {
    await pause(milliseconds, signal);
    await shown(signal);
    if (!signal.aborted) await work();
  }
}
